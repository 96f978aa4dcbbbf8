/**
 * The search for a linearization of one key's operations, after Wing and Gong with Lowe's cache ("Testing for linearizability", 2016): calls and
 * returns stand in a linked list by time; a call whose output fits the state is taken out and the search begins anew from the front; at a
 * return whose call was not taken the last choice is undone. A set of taken operations with a state that was seen before is not tried again.
 * It runs in slices, so that many keys can be searched in turn.
 */
import { must } from '../../base/assert.ts'
import type { Operation } from './history.ts'
import { impossible, type Model } from './model.ts'

/** A call or a return. */
interface Entry {
  /** The operation's index. */
  readonly index: number
  /** Of a call, its return; undefined for an open operation. Of a return: itself. */
  match: Entry | undefined
  readonly isCall: boolean
  previous: Entry | undefined
  next: Entry | undefined
}

interface Choice<State> {
  readonly entry: Entry
  /** Before it. */
  readonly state: State
}

/** Exactly what was seen: hashes only say where to look. */
interface Seen<State> {
  /** Operations below are all taken. */
  readonly from: number
  /** Which from there on are, 16 to a character. */
  readonly taken: string
  readonly state: State
  readonly next: Seen<State> | undefined
}

export type SearchOutcome = 'linearizable' | 'refuted' | 'undecided'

export class KeySearch<State, Input, Output> {
  readonly key: string
  /** In the order of their calls. */
  readonly operations: readonly Operation<Input, Output>[]
  /** Steps so far: how often a list entry was looked at. */
  steps = 0
  /** States remembered. */
  seenCount = 0
  /** The longest order that fitted, as far as the search had to turn back. */
  longest: readonly number[] = []
  readonly #model: Model<State, Input, Output>
  readonly #head: Entry = { index: -1, match: undefined, isCall: false, previous: undefined, next: undefined }
  readonly #taken: Uint16Array
  /** Random numbers for the operations, two of 32 bits each. */
  readonly #salt: Uint32Array
  readonly #seen = new Map<number, Seen<State>>()
  readonly #choices: Choice<State>[] = []
  #state: State
  /** XOR of the salts of what is taken. */
  #hashA = 0
  #hashB = 0
  /** Operations with a return that are not taken. */
  #left = 0
  #entry: Entry | undefined

  constructor(model: Model<State, Input, Output>, key: string, operations: readonly Operation<Input, Output>[]) {
    this.#model = model
    this.key = key
    this.operations = operations.toSorted((a, b) => a.called - b.called)
    this.#taken = new Uint16Array(Math.ceil(operations.length / 16))
    this.#salt = saltOf(operations.length)
    this.#state = model.init()
    this.#link()
    this.#entry = this.#head.next
  }

  /** Goes on for at most `budget` steps. */
  run(budget: number): SearchOutcome {
    const end = this.steps + budget
    while (this.#left > 0) {
      if (this.steps >= end) return 'undecided'
      this.steps++
      const entry = must(this.#entry, 'a return ends the list while operations are left')
      if (entry.isCall) this.#entry = this.#tryToTake(entry) ? this.#head.next : entry.next
      else if (!this.#undo()) return 'refuted'
    }
    return 'linearizable'
  }

  #tryToTake(entry: Entry): boolean {
    const { input, output } = must(this.operations[entry.index], 'an operation')
    const next = this.#model.step(this.#state, input, output)
    if (next === impossible) return false
    this.#flip(entry.index)
    if (!this.#remember(next)) {
      this.#flip(entry.index)
      return false
    }
    this.#choices.push({ entry, state: this.#state })
    this.#state = next
    takeOut(entry)
    if (entry.match !== undefined) {
      takeOut(entry.match)
      this.#left--
    }
    return true
  }

  /** Takes the last choice back and goes on behind it; false when there is none. */
  #undo(): boolean {
    if (this.#choices.length > this.longest.length) this.longest = this.#choices.map((choice) => choice.entry.index)
    const choice = this.#choices.pop()
    if (choice === undefined) return false
    const { entry } = choice
    if (entry.match !== undefined) {
      putBack(entry.match)
      this.#left++
    }
    putBack(entry)
    this.#flip(entry.index)
    this.#state = choice.state
    this.#entry = entry.next
    return true
  }

  #flip(index: number): void {
    const word = index >> 4
    this.#taken[word] = (this.#taken[word] as number) ^ (1 << (index & 15))
    this.#hashA ^= this.#salt[2 * index] as number
    this.#hashB ^= this.#salt[2 * index + 1] as number
  }

  /** False if this set of taken operations was here before with an equal state. */
  #remember(state: State): boolean {
    const hash = ((this.#hashA ^ Math.imul(this.#model.hash(state), 0x9e3779b1)) >>> 0) + (this.#hashB & 0x1fffff) * 2 ** 32
    const taken = this.#taken
    let from = 0
    while (taken[from] === 0xffff) from++
    let to = taken.length
    while (to > from && taken[to - 1] === 0) to--
    let text = ''
    for (let word = from; word < to; word++) text += String.fromCharCode(taken[word] as number)
    const first = this.#seen.get(hash)
    for (let seen = first; seen !== undefined; seen = seen.next) {
      if (seen.from === from && seen.taken === text && this.#model.equal(seen.state, state)) return false
    }
    this.#seen.set(hash, { from, taken: text, state, next: first })
    this.seenCount++
    return true
  }

  #link(): void {
    const events: { at: number; entry: Entry }[] = []
    for (const [index, operation] of this.operations.entries()) {
      const call: Entry = { index, match: undefined, isCall: true, previous: undefined, next: undefined }
      events.push({ at: operation.called, entry: call })
      if (operation.returned === Number.POSITIVE_INFINITY) continue
      call.match = { index, match: undefined, isCall: false, previous: undefined, next: undefined }
      events.push({ at: operation.returned, entry: call.match })
      this.#left++
    }
    // What touches counts as concurrent.
    events.sort((a, b) => a.at - b.at || Number(b.entry.isCall) - Number(a.entry.isCall))
    let last = this.#head
    for (const { entry } of events) {
      last.next = entry
      entry.previous = last
      last = entry
    }
  }
}

function takeOut(entry: Entry): void {
  if (entry.previous !== undefined) entry.previous.next = entry.next
  if (entry.next !== undefined) entry.next.previous = entry.previous
}

function putBack(entry: Entry): void {
  if (entry.previous !== undefined) entry.previous.next = entry
  if (entry.next !== undefined) entry.next.previous = entry
}

/** splitmix32: well spread, and the same in every run. */
function saltOf(count: number): Uint32Array {
  const salt = new Uint32Array(2 * count)
  let state = 0
  for (let i = 0; i < salt.length; i++) {
    state = (state + 0x9e3779b9) | 0
    let word = Math.imul(state ^ (state >>> 16), 0x21f0aaad)
    word = Math.imul(word ^ (word >>> 15), 0x735a2d97)
    salt[i] = word ^ (word >>> 15)
  }
  return salt
}
