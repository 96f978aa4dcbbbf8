/** Small writes to every group all the time, and when they were acknowledged: how long a group took no writes. */
import type { Client } from '../../client/index.ts'

interface Acknowledged {
  readonly issuedMs: number
  readonly ackedMs: number
}

/** Between two writes to a group where nothing else is asked for. A write is issued whether or not those before it were answered. */
const usualEveryMs = 20
/** Unanswered writes of a group beyond which none is added. */
const outstandingMax = 2000
/** Calls on one key wait for one another; the writes of a group go to so many keys in turn. */
const keysOfGroup = 64

export interface Outage {
  /** From the given time to the first acknowledgement of a write that was issued after it, ms. */
  readonly resumeMs: number
  /** The longest time without an acknowledgement from the given time on, ms; at least `resumeMs`. */
  readonly silenceMs: number
}

export class Prober {
  failed = 0
  readonly #db: Client
  readonly #acknowledged = new Map<string, Acknowledged[]>()
  readonly #keys: ReadonlyMap<string, readonly string[]>
  readonly #outstanding = new Map<string, number>()
  readonly #pending = new Set<Promise<void>>()
  readonly #onAcknowledged = new Set<() => void>()
  #count = 0
  #timer: NodeJS.Timeout | undefined

  private constructor(db: Client, keys: ReadonlyMap<string, readonly string[]>) {
    this.#db = db
    this.#keys = keys
  }

  static async start(db: Client, groups: readonly string[], everyMs = usualEveryMs): Promise<Prober> {
    const keys = new Map(groups.map((group) => [group, [] as string[]]))
    for (let i = 0; [...keys.values()].some(({ length }) => length < keysOfGroup); i++) {
      const key = `probe-${i}`
      const found = keys.get((await db.explain(key)).group ?? '')
      if (found !== undefined && found.length < keysOfGroup) found.push(key)
    }
    const prober = new Prober(db, keys)
    prober.#timer = setInterval(() => prober.#writeAll(), everyMs)
    return prober
  }

  /** What became of writes to `group` from `fromMs` on, until now. undefined: none issued after it is acknowledged yet. */
  outageSince(group: string, fromMs: number): Outage | undefined {
    const since = (this.#acknowledged.get(group) ?? []).filter(({ issuedMs }) => issuedMs >= fromMs).map(({ ackedMs }) => ackedMs)
    since.sort((a, b) => a - b)
    const [first] = since
    if (first === undefined) return undefined
    let silenceMs = first - fromMs
    for (const [i, ackedMs] of since.entries()) silenceMs = Math.max(silenceMs, ackedMs - (since[i - 1] ?? fromMs))
    return { resumeMs: first - fromMs, silenceMs }
  }

  /** Resolves once `group` has acknowledged a write that was issued after `fromMs`. Rejects after `withinMs`. */
  async resumed(group: string, fromMs: number, withinMs: number): Promise<void> {
    const endMs = performance.now() + withinMs
    while (this.outageSince(group, fromMs) === undefined) {
      const leftMs = endMs - performance.now()
      if (leftMs <= 0) throw new Error(`${group} took no write for ${withinMs} ms`)
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>((resolve) => {
        this.#onAcknowledged.add(resolve)
        timer = setTimeout(resolve, leftMs)
      })
      clearTimeout(timer)
    }
  }

  /** What was acknowledged before is of no interest any more. */
  forgetBefore(ms: number): void {
    for (const [group, acknowledged] of this.#acknowledged) {
      this.#acknowledged.set(
        group,
        acknowledged.filter(({ ackedMs }) => ackedMs >= ms),
      )
    }
  }

  /** Issues no more, and waits for those under way. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await Promise.all(this.#pending)
  }

  #writeAll(): void {
    this.#count++
    for (const [group, keys] of this.#keys) {
      if ((this.#outstanding.get(group) ?? 0) >= outstandingMax) continue
      const write = this.#write(group, keys[this.#count % keysOfGroup] ?? '').finally(() => this.#pending.delete(write))
      this.#pending.add(write)
    }
  }

  async #write(group: string, key: string): Promise<void> {
    const issuedMs = performance.now()
    this.#outstanding.set(group, (this.#outstanding.get(group) ?? 0) + 1)
    try {
      await this.#db.put(key, String(this.#count))
      const acknowledged = this.#acknowledged.get(group) ?? []
      this.#acknowledged.set(group, acknowledged)
      acknowledged.push({ issuedMs, ackedMs: performance.now() })
      for (const tell of this.#onAcknowledged) tell()
      this.#onAcknowledged.clear()
    } catch {
      this.failed++
    } finally {
      this.#outstanding.set(group, (this.#outstanding.get(group) ?? 1) - 1)
    }
  }
}
