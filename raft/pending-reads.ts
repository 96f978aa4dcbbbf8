import type { ReadOutcome } from './state-machine.ts'

type Done = (outcome: ReadOutcome) => void

/** Rounds under way at once: reads that come while so many are out wait for the next one, so that a busy leader sends few rounds. */
const roundsMax = 2

/**
 * The reads of one replica: what queued in a turn shares a round; a confirmed round waits until its index is applied. A round confirms only
 * reads that arrived before it was sent.
 */
export class PendingReads {
  #queued: Done[] = []
  readonly #rounds = new Map<number, Done[]>()
  #waiting: { readonly index: number; readonly dones: readonly Done[] }[] = []
  #context = 0

  /** Reads wait for a round to begin. */
  get hasQueued(): boolean {
    return this.#queued.length > 0 && this.#rounds.size < roundsMax
  }

  queue(done: Done): void {
    this.#queued.push(done)
  }

  submit(readIndex: (context: number) => boolean, leader: number): void {
    if (!this.hasQueued) return
    const dones = this.#queued
    this.#queued = []
    const context = ++this.#context
    this.#rounds.set(context, dones)
    if (readIndex(context)) return
    this.lost(context, leader)
  }

  confirmed(context: number, index: number): void {
    const dones = this.#rounds.get(context)
    if (dones === undefined) return
    this.#rounds.delete(context)
    this.#waiting.push({ index, dones })
  }

  lost(context: number, leader: number): void {
    const dones = this.#rounds.get(context) ?? []
    this.#rounds.delete(context)
    for (const done of dones) done({ kind: 'refused', reason: 'not-leader', leader })
  }

  /** A round that was lost: its reads join the next one, or are refused with what is queued. */
  requeue(context: number): void {
    const dones = this.#rounds.get(context) ?? []
    this.#rounds.delete(context)
    this.#queued.unshift(...dones)
  }

  /** Everything up to `applied` is applied: reads that waited for it go on now, in this turn. */
  release(applied: number): void {
    if (this.#waiting.length === 0) return
    const ready = this.#waiting.filter(({ index }) => index <= applied)
    if (ready.length === 0) return
    this.#waiting = this.#waiting.filter(({ index }) => index > applied)
    for (const { dones } of ready) for (const done of dones) done({ kind: 'ready' })
  }

  refuseAll(reason: 'not-leader' | 'stopped', leader: number): void {
    const dones = [...this.#queued, ...[...this.#rounds.values()].flat(), ...this.#waiting.flatMap((round) => round.dones)]
    this.#queued = []
    this.#rounds.clear()
    this.#waiting = []
    for (const done of dones) done({ kind: 'refused', reason, leader })
  }
}
