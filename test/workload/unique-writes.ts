/** A client that writes a value of its own each time, as long as it is let, and afterwards reads back that every acknowledged write is there. */
import type { Client } from '../../client/client.ts'
import { OstrakaError } from '../../proto/errors.ts'

interface Written {
  /** The newest acknowledged value. */
  acknowledged: string | undefined
  /** Written later, and it is not known whether they took effect. */
  unknown: string[]
}

export class UniqueWrites {
  acknowledged = 0
  failed = 0
  lastError = ''
  /** Longest time between two acknowledged writes one after the other, ms. */
  longestGapMs = 0
  readonly #name: string
  readonly #keys: number
  readonly #nowMs: () => number
  readonly #written = new Map<string, Written>()
  #lastMs: number | undefined
  #count = 0

  /** `keys`: how many keys it writes in turn. */
  constructor(name: string, keys: number, nowMs: () => number) {
    this.#name = name
    this.#keys = keys
    this.#nowMs = nowMs
  }

  /** One write. */
  async one(db: Client): Promise<void> {
    const number = ++this.#count
    const key = `${this.#name}-${number % this.#keys}`
    const value = `${this.#name}:${number}`
    let written = this.#written.get(key)
    if (written === undefined) this.#written.set(key, (written = { acknowledged: undefined, unknown: [] }))
    try {
      await db.put(key, value)
    } catch (error) {
      if (!(error instanceof OstrakaError)) throw error
      this.failed++
      this.lastError = `${error.code} ${error.message}`
      if (!error.definite) written.unknown.push(value)
      return
    }
    written.acknowledged = value
    written.unknown = []
    this.acknowledged++
    const nowMs = this.#nowMs()
    if (this.#lastMs !== undefined) this.longestGapMs = Math.max(this.longestGapMs, nowMs - this.#lastMs)
    this.#lastMs = nowMs
  }

  /** Reads every key. Throws where an acknowledged write is lost; returns how many keys were read. */
  async readBack(db: Client): Promise<number> {
    const entries = [...this.#written]
    for (let at = 0; at < entries.length; at += 100) {
      const some = entries.slice(at, at + 100)
      const found = await db.getMany(some.map(([key]) => key))
      for (const [i, [key, { acknowledged, unknown }]] of some.entries()) {
        const value = found[i]?.value.toString('utf8')
        const isThere = value === acknowledged || (value !== undefined && unknown.includes(value))
        if (!isThere)
          throw new Error(`${key} is ${value}; ${acknowledged} was acknowledged${unknown.length > 0 ? `, ${unknown} perhaps` : ''}`)
      }
    }
    return entries.length
  }
}
