import { type Client, connect } from '../../client/index.ts'

/** Longer than an election, so that no call may fail because a leader was killed. */
const DEADLINE_MS = 30_000
const PAGE = 500

/** Clients on the host that write a new key each time, one after the other; what was acknowledged is remembered and can be asked for later. */
export class AcknowledgedWrites {
  readonly failures: string[] = []
  readonly #acknowledged = new Map<string, string>()
  readonly #loops: Promise<void>[] = []
  readonly #db: Client
  #stopped = false
  #slowestMs = 0

  private constructor(db: Client) {
    this.#db = db
  }

  static async start(controllers: readonly string[], writers: number): Promise<AcknowledgedWrites> {
    const writes = new AcknowledgedWrites(await connect({ controllers: [...controllers], deadlineMs: DEADLINE_MS }))
    for (let writer = 0; writer < writers; writer++) writes.#loops.push(writes.#write(writer))
    return writes
  }

  get count(): number {
    return this.#acknowledged.size
  }

  /** Milliseconds of the slowest put acknowledged since the last time that this was asked. */
  takeSlowestMs(): number {
    const slowest = this.#slowestMs
    this.#slowestMs = 0
    return Math.round(slowest)
  }

  /** Puts a new key of `group`. */
  async probe(group: string): Promise<void> {
    await this.#put(await this.#keyOf(group), `probe after ${this.count} writes`)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#loops)
    await this.#db.close()
  }

  /** Reads every acknowledged write back; resolves with those that are not there, or hold something else. */
  async missing(controllers: readonly string[]): Promise<string[]> {
    const missing: string[] = []
    const expected = [...this.#acknowledged]
    const db = await connect({ controllers: [...controllers], deadlineMs: DEADLINE_MS })
    try {
      for (let at = 0; at < expected.length; at += PAGE) {
        const page = expected.slice(at, at + PAGE)
        const found = await db.getMany(page.map(([key]) => key))
        for (const [i, [key, value]] of page.entries()) if (found[i]?.value.toString() !== value) missing.push(key)
      }
    } finally {
      await db.close()
    }
    return missing
  }

  async #write(writer: number): Promise<void> {
    for (let n = 0; !this.#stopped; n++) {
      try {
        await this.#put(`compose:${writer}:${n}`, `value ${n} of writer ${writer}`)
      } catch (error) {
        this.failures.push(error instanceof Error ? error.message : String(error))
      }
    }
  }

  async #put(key: string, value: string): Promise<void> {
    const startMs = performance.now()
    await this.#db.put(key, value)
    this.#slowestMs = Math.max(this.#slowestMs, performance.now() - startMs)
    this.#acknowledged.set(key, value)
  }

  async #keyOf(group: string): Promise<string> {
    for (let i = 0; ; i++) {
      const key = `compose:probe:${group}:${i}`
      if ((await this.#db.explain(key)).group === group) return key
    }
  }
}
