/**
 * Every fault of a run has a name that follows from the seed: a letter for who injects it and a number. The journal says which may happen and
 * notes those that did. A run with some faults left out is how a failure's schedule is made smaller (`shrink.ts`).
 */
import type { World } from './world.ts'

export interface JournalEntry {
  /** Such as n12. */
  readonly id: string
  readonly atMs: number
  /** For people. */
  readonly what: string
}

export class FaultJournal {
  readonly entries: JournalEntry[] = []
  /** Told of each fault that happens. */
  onEntry: ((entry: JournalEntry) => void) | undefined
  readonly #world: World
  readonly #only: ReadonlySet<string> | undefined

  /** `only`: the faults that may happen; all if not given. */
  constructor(world: World, only?: ReadonlySet<string>) {
    this.#world = world
    this.#only = only
  }

  admits(id: string): boolean {
    return this.#only === undefined || this.#only.has(id)
  }

  note(id: string, what: string): void {
    const entry = { id, atMs: this.#world.nowMs, what }
    this.entries.push(entry)
    this.onEntry?.(entry)
  }
}

/** n1, n2, n3, s2 is n1-3,s2: short enough for a command line. 'none' for none. */
export function encodeFaults(ids: Iterable<string>): string {
  const byLetter = new Map<string, number[]>()
  for (const id of ids) {
    const letter = id.slice(0, 1)
    byLetter.set(letter, [...(byLetter.get(letter) ?? []), Number(id.slice(1))])
  }
  const ranges: string[] = []
  for (const [letter, numbers] of byLetter) {
    numbers.sort((a, b) => a - b)
    for (let from = 0; from < numbers.length; ) {
      let to = from
      while (numbers[to + 1] === (numbers[to] ?? 0) + 1) to++
      ranges.push(from === to ? `${letter}${numbers[from]}` : `${letter}${numbers[from]}-${numbers[to]}`)
      from = to + 1
    }
  }
  return ranges.length === 0 ? 'none' : ranges.join(',')
}

/** Throws an Error that says what is wrong with `text`. */
export function parseFaults(text: string): Set<string> {
  const ids = new Set<string>()
  if (text === 'none') return ids
  for (const range of text.split(',')) {
    const found = /^([a-z])(\d+)(?:-(\d+))?$/.exec(range)
    if (found === null) throw new Error(`${range} is no fault or range of faults, such as n12 or n3-7`)
    const [, letter = '', first = '', last = first] = found
    for (let number = Number(first); number <= Number(last); number++) ids.add(letter + number)
  }
  return ids
}
