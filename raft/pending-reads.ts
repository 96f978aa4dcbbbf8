import type { ReadKind, ReadOutcome, Refused } from './state-machine.ts'

type Done = (outcome: ReadOutcome) => void

interface Read {
  readonly done: Done
  /** Another's word on where to read will do. */
  readonly mayForward: boolean
}

/** Reads that were asked for together. */
interface Round {
  readonly reads: readonly Read[]
  /** Monotonic time before it was asked. */
  readonly askedMs: number
}

/** The core, as far as reads go. */
export interface ReadAsker {
  readIndex(context: number): boolean
  forwardReadIndex(context: number): boolean
}

/** Rounds under way at once: reads that come while so many are out wait for the next one, so that a busy leader sends few rounds. */
const roundsMax = 2

/**
 * The reads of one replica: what queued in a turn shares a round; a confirmed round waits until its index is applied. A round confirms only
 * reads that arrived before it was sent.
 */
export class PendingReads {
  #queued: Read[] = []
  /** Reads for which a lease will do. */
  #leased: Done[] = []
  readonly #rounds = new Map<number, Round>()
  #waiting: (Round & { readonly index: number })[] = []
  #context = 0
  #freshAsOfMs = Number.NEGATIVE_INFINITY

  /** Reads wait for a round to begin. */
  get hasQueued(): boolean {
    return this.#queued.length > 0 && this.#rounds.size < roundsMax
  }

  /** All that the group acknowledged before this monotonic time is applied here: when the newest round that was released was asked for. */
  get freshAsOfMs(): number {
    return this.#freshAsOfMs
  }

  queue(done: Done, kind: ReadKind): void {
    if (kind === 'lease') this.#leased.push(done)
    else this.#queued.push({ done, mayForward: kind === 'follower' })
  }

  /** There is a lease now, under which reads may be served at `index`; undefined: there is none, and those that rely on it join the next round. */
  submitLeased(index: number | undefined, nowMs: number): void {
    if (this.#leased.length === 0) return
    const reads = this.#leased.map((done) => ({ done, mayForward: false }))
    this.#leased = []
    if (index === undefined) this.#queued.push(...reads)
    else this.#waiting.push({ index, reads, askedMs: nowMs })
  }

  submit(core: ReadAsker, leader: number, nowMs: number): void {
    if (!this.hasQueued) return
    const reads = this.#queued
    this.#queued = []
    const context = ++this.#context
    if (core.readIndex(context)) {
      this.#rounds.set(context, { reads, askedMs: nowMs })
      return
    }
    const forwarded = reads.filter(({ mayForward }) => mayForward)
    const isAsked = forwarded.length > 0 && core.forwardReadIndex(context)
    if (isAsked) this.#rounds.set(context, { reads: forwarded, askedMs: nowMs })
    for (const { done, mayForward } of reads) if (!isAsked || !mayForward) done({ kind: 'refused', reason: 'not-leader', leader })
  }

  confirmed(context: number, index: number): void {
    const round = this.#rounds.get(context)
    if (round === undefined) return
    this.#rounds.delete(context)
    this.#waiting.push({ ...round, index })
  }

  lost(context: number, leader: number): void {
    for (const { done } of this.#take(context)) done({ kind: 'refused', reason: 'not-leader', leader })
  }

  /** A round that was lost: its reads join the next one, or are refused with what is queued. */
  requeue(context: number): void {
    this.#queued.unshift(...this.#take(context))
  }

  /** Everything up to `applied` is applied: reads that waited for it go on now, in this turn. */
  release(applied: number): void {
    if (this.#waiting.length === 0) return
    const ready = this.#waiting.filter(({ index }) => index <= applied)
    if (ready.length === 0) return
    this.#waiting = this.#waiting.filter(({ index }) => index > applied)
    for (const { askedMs } of ready) this.#freshAsOfMs = Math.max(this.#freshAsOfMs, askedMs)
    for (const { reads } of ready) for (const { done } of reads) done({ kind: 'ready' })
  }

  /** Those that are in no round yet. */
  refuseQueued(outcome: Refused): void {
    const dones = [...this.#leased, ...this.#queued.map(({ done }) => done)]
    this.#leased = []
    this.#queued = []
    for (const done of dones) done(outcome)
  }

  refuseAll(outcome: Refused): void {
    const asked = [...this.#rounds.values(), ...this.#waiting]
    this.#rounds.clear()
    this.#waiting = []
    this.refuseQueued(outcome)
    for (const { reads } of asked) for (const { done } of reads) done(outcome)
  }

  #take(context: number): readonly Read[] {
    const reads = this.#rounds.get(context)?.reads ?? []
    this.#rounds.delete(context)
    return reads
  }
}
