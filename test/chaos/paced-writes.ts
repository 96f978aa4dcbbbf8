/** Writes at a fixed rate, whether or not those before were answered, each as late as it is answered after it was due: what clients of a rate of their own see. */
import type { Client } from '../../client/index.ts'

interface Acknowledged {
  readonly dueMs: number
  readonly ackedMs: number
}

export interface Pace {
  /** Acknowledged in the time, in a second. */
  readonly perSecond: number
  /** Of the writes that were due in it, from then to their acknowledgement. */
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
}

export class PacedWrites {
  failed = 0
  lastError = ''
  readonly #db: Client
  readonly #keys: readonly string[]
  readonly #everyMs: number
  readonly #acknowledged: Acknowledged[] = []
  readonly #pending = new Set<Promise<void>>()
  readonly #timer: NodeJS.Timeout
  #nextMs = performance.now()
  #count = 0

  /** `keys`: written in turn. Begins at once. */
  constructor(db: Client, keys: readonly string[], perSecond: number) {
    this.#db = db
    this.#keys = keys
    this.#everyMs = 1000 / perSecond
    this.#timer = setInterval(() => this.#writeDue(), Math.max(1, Math.floor(this.#everyMs)))
  }

  /** What became of it from `fromMs` to `toMs`. */
  between(fromMs: number, toMs: number): Pace {
    const acked = this.#acknowledged.filter(({ ackedMs }) => ackedMs >= fromMs && ackedMs < toMs)
    const due = this.#acknowledged.filter(({ dueMs }) => dueMs >= fromMs && dueMs < toMs)
    const tookMs = due.map(({ dueMs, ackedMs }) => ackedMs - dueMs).sort((a, b) => a - b)
    const at = (share: number) => Math.round(10 * (tookMs[Math.min(tookMs.length - 1, Math.floor(tookMs.length * share))] ?? 0)) / 10
    return { perSecond: Math.round((acked.length * 1000) / (toMs - fromMs)), p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) }
  }

  /** Issues no more. */
  end(): void {
    clearInterval(this.#timer)
  }

  /** Issues no more, and waits for those under way. */
  async stop(): Promise<void> {
    this.end()
    await Promise.all(this.#pending)
  }

  #writeDue(): void {
    for (const nowMs = performance.now(); this.#nextMs <= nowMs; this.#nextMs += this.#everyMs) {
      const write = this.#write(this.#nextMs).finally(() => this.#pending.delete(write))
      this.#pending.add(write)
    }
  }

  async #write(dueMs: number): Promise<void> {
    const count = ++this.#count
    try {
      await this.#db.put(this.#keys[count % this.#keys.length] ?? '', `${count}`.padEnd(128, '.'))
      this.#acknowledged.push({ dueMs, ackedMs: performance.now() })
    } catch (error) {
      this.failed++
      this.lastError = error instanceof Error ? error.message : String(error)
    }
  }
}
