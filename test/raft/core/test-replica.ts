import { must } from '../../../base/assert.ts'
import { SeededRandom } from '../../../base/random.ts'
import { decodeConfChange } from '../../../raft/core/conf-change-codec.ts'
import { initialConf } from '../../../raft/core/membership.ts'
import { Raft } from '../../../raft/core/raft.ts'
import {
  type ConfState,
  type CoreOptions,
  type Entry,
  EntryKind,
  type HardState,
  type Message,
  type ReadState,
  type Ready,
  type SnapshotMeta,
} from '../../../raft/core/types.ts'
import { MemoryLog } from './memory-log.ts'

export function conf(voters: readonly number[], learners: readonly number[] = [], votersOutgoing: readonly number[] = []): ConfState {
  return { ...initialConf(voters), votersOutgoing, learners }
}

export function entry(index: number, term: number, text = ''): Entry {
  return { index, term, kind: 0, data: bytes(text) }
}

export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

export function text(data: Uint8Array): string {
  return new TextDecoder().decode(data)
}

/** Entries 1, 2, … of the given terms. */
export function logOf(...terms: number[]): Entry[] {
  return terms.map((term, i) => entry(i + 1, term, `${term}/${i + 1}`))
}

/** What the state machine of a test holds: where it stands, and a digest of all that it applied. */
export interface Store {
  readonly index: number
  readonly term: number
  readonly digest: number
  readonly conf: ConfState
}

export interface ReplicaSetup {
  readonly conf?: ConfState
  readonly entries?: readonly Entry[]
  readonly hardState?: HardState
  readonly base?: { index: number; term: number }
  readonly options?: Partial<CoreOptions>
  /** What is committed is applied when the test says so, not when a Ready is taken. */
  readonly lazy?: boolean
}

const DEFAULTS = {
  electionTicks: 10,
  heartbeatTicks: 1,
  preVote: true,
  checkQuorum: true,
  stepDownOnRemoval: true,
  maxInflightBytes: 1 << 20,
  maxAppendBytes: 1 << 16,
  maxUncommittedBytes: 1 << 20,
} as const

/** A core with a driver that keeps the contract of `raft/README.md`, each of whose steps the test takes by hand. */
export class TestReplica {
  readonly id: number
  raft: Raft
  log: MemoryLog
  /** Durable. */
  store: Store
  /** In memory: the state machine as applied. */
  applied: Store
  readonly committed: Entry[] = []
  readStates: ReadState[] = []
  lostReads: number[] = []
  offered: SnapshotMeta | undefined
  /** Hooks of checkers. */
  onReady: ((ready: Ready) => void) | undefined
  onApply: ((store: Store) => void) | undefined
  readonly #options: Partial<CoreOptions>
  readonly #lazy: boolean
  #commit = 0
  #waiting: Ready[] = []

  constructor(id: number, setup: ReplicaSetup = {}) {
    this.id = id
    const base = setup.base ?? { index: 0, term: 0 }
    this.log = new MemoryLog(setup.entries, setup.hardState, base)
    this.store = { ...base, digest: 0, conf: setup.conf ?? conf([1, 2, 3]) }
    this.applied = this.store
    this.#options = setup.options ?? {}
    this.#lazy = setup.lazy ?? false
    this.raft = this.#start(this.log.hardState)
  }

  #start(hardState: HardState): Raft {
    return new Raft({
      ...DEFAULTS,
      random: new SeededRandom(this.id),
      ...this.#options,
      self: this.id,
      conf: this.store.conf,
      hardState,
      applied: this.store.index,
      log: this.log,
    })
  }

  /** Takes a Ready, gives it to the log, applies; returns what leaves at once. */
  takeReady(): readonly Message[] {
    const ready = this.raft.ready()
    this.onReady?.(ready)
    this.log.submit({ hardState: ready.hardState, entries: ready.entries, reset: undefined })
    this.#waiting.push(ready)
    this.#commit = ready.commit
    if (ready.snapshot !== undefined) this.offered = ready.snapshot
    this.readStates.push(...ready.readStates)
    this.lostReads.push(...ready.lostReads)
    if (!this.#lazy) this.apply()
    return ready.messages
  }

  /** Applies what is committed, at most `limit` entries of it. */
  apply(limit = Number.POSITIVE_INFINITY): void {
    const last = Math.min(this.#commit, this.applied.index + limit)
    for (let index = this.applied.index + 1; index <= last; index++) {
      const next = this.log.entry(index)
      if (next === undefined) throw new Error(`replica ${this.id}: entry ${index} to apply is not in the log`)
      const { conf } = next.kind === EntryKind.ConfChange ? { conf: this.#changeConf(next.data) } : this.applied
      this.applied = { index, term: next.term, digest: mix(this.applied.digest, next), conf }
      this.committed.push(next)
      this.onApply?.(this.applied)
    }
    this.raft.applied(this.applied.index)
  }

  #changeConf(data: Uint8Array): ConfState {
    return this.raft.applyConfChange(must(decodeConfChange(data), 'a membership change').change)
  }

  get unpersisted(): number {
    return this.#waiting.length
  }

  /** The oldest Ready becomes durable; returns the messages that waited for it. */
  persistOne(): readonly Message[] {
    const ready = this.#waiting.shift()
    if (ready === undefined) return []
    this.log.persist()
    const last = ready.entries.at(-1)
    if (last !== undefined) this.raft.appended(last.term, last.index)
    for (const message of ready.messagesAfterAppend) if (message.to === this.id) this.raft.step(message)
    return ready.messagesAfterAppend.filter((message) => message.to !== this.id)
  }

  /** Everything taken, everything durable; returns all messages to others. */
  drain(): Message[] {
    const messages: Message[] = []
    while (this.raft.hasReady() || this.#waiting.length > 0 || (this.#lazy && this.applied.index < this.#commit)) {
      if (this.raft.hasReady()) messages.push(...this.takeReady())
      else if (this.#waiting.length > 0) messages.push(...this.persistOne())
      else this.apply()
    }
    return messages
  }

  step(message: Message): Message[] {
    this.raft.step(message)
    return this.drain()
  }

  tick(count = 1): Message[] {
    const messages: Message[] = []
    for (let i = 0; i < count; i++) {
      this.raft.tick()
      messages.push(...this.drain())
    }
    return messages
  }

  /** Flushes the state machine and truncates the log up to `index`, at most to what is durable and applied. */
  compact(index: number): void {
    const to = Math.min(index, this.applied.index, this.raft.stableIndex)
    if (to < this.applied.index || to > this.log.durableIndex) return
    this.store = this.applied
    this.log.truncateFront(to)
  }

  /** Installs what another replica has applied. */
  install(from: Store): void {
    const meta = { index: from.index, term: from.term, conf: from.conf }
    this.offered = undefined
    if (from.index <= this.applied.index) {
      this.raft.snapshotFailed()
      return
    }
    this.store = from
    this.applied = from
    this.onApply?.(from)
    const reset = this.raft.snapshotInstalled(meta)
    if (!reset) return
    this.log.submit({ hardState: undefined, entries: [], reset: meta })
    this.#waiting.push({ ...EMPTY_READY, commit: from.index })
  }

  /** Keeps what is durable and the first `written` of the writes on their way. */
  restart(written = 0, forget: (hardState: HardState) => HardState = (hardState) => hardState): void {
    for (let i = 0; i < written && this.log.writeCount > 0; i++) this.log.persist()
    this.log = this.log.afterCrash(this.store)
    this.applied = this.store
    this.#waiting = []
    this.#commit = this.store.index
    this.offered = undefined
    this.raft = this.#start(forget(this.log.hardState))
  }

  texts(): string[] {
    return this.committed.filter((e) => e.kind === EntryKind.Normal && e.data.length > 0).map((e) => text(e.data))
  }
}

const EMPTY_READY: Ready = {
  messages: [],
  messagesAfterAppend: [],
  hardState: undefined,
  mustSync: false,
  entries: [],
  snapshot: undefined,
  commit: 0,
  readStates: [],
  lostReads: [],
  softState: undefined,
}

function mix(digest: number, applied: Entry): number {
  let value = Math.imul(digest ^ applied.term, 0x9e3779b1) ^ applied.index
  for (const byte of applied.data) value = Math.imul(value ^ byte, 0x01000193)
  return value >>> 0
}
