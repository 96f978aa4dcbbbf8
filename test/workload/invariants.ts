/**
 * What no history of single keys shows: scans that hold every key that is there throughout, batches that are whole or not at all, calls that
 * take effect in the order in which they were made, and records that live as long as they were given. Each call checks what it sees and throws an Error that says what is wrong.
 */
import { assert } from '../../base/assert.ts'
import type { Random } from '../../base/random.ts'
import type { Client } from '../../client/client.ts'
import { OstrakaError } from '../../proto/errors.ts'

const steadyKeys = 40
const pairs = 4
/** Clocks of machines differ; a life is measured by the leader's. */
const usualDrift = 0.01

export class Invariants {
  readonly #random: Random
  readonly #nowMs: () => number
  readonly #drift: number
  /** Keys whose first put was acknowledged. They are never deleted. */
  readonly #steady = new Set<string>()
  #values = 0

  /** `nowMs`: any monotonic time. `drift`: by how much clocks of machines may run apart, as a share. */
  constructor(random: Random, nowMs: () => number, drift = usualDrift) {
    this.#random = random
    this.#nowMs = nowMs
    this.#drift = drift
  }

  /** One random call, perhaps a few in a row. Rejects with OstrakaError where the cluster did not answer. */
  async one(db: Client): Promise<void> {
    const draw = this.#random.next()
    if (draw < 0.3) await this.#putSteady(db)
    else if (draw < 0.5) await this.#scanSteady(db)
    else if (draw < 0.65) await this.#putPair(db)
    else if (draw < 0.8) await this.#scanPair(db)
    else if (draw < 0.83) await this.#failPair(db)
    else if (draw < 0.92) await this.#inOrder(db)
    else await this.#live(db)
  }

  async #putSteady(db: Client): Promise<void> {
    const key = `steady-${this.#random.below(steadyKeys)}`
    await db.put(key, `s${++this.#values}`)
    this.#steady.add(key)
  }

  async #scanSteady(db: Client): Promise<void> {
    const wanted = [...this.#steady]
    const reverse = this.#random.next() < 0.3
    const seen: string[] = []
    for await (const { key } of db.scan({ prefix: 'steady-', reverse })) seen.push(key.toString())
    const sorted = [...new Set(seen)].sort()
    if (reverse) sorted.reverse()
    assert(sorted.length === seen.length && sorted.every((key, i) => key === seen[i]), `a scan in wrong order or with doubles: ${seen}`)
    const missing = wanted.filter((key) => !seen.includes(key))
    assert(missing.length === 0, `a scan without ${missing}, which were there throughout; it saw ${seen}`)
  }

  async #putPair(db: Client): Promise<void> {
    const tag = this.#pair()
    const value = `p${++this.#values}`
    await db.batch([
      { put: `${tag}a`, value },
      { put: `${tag}b`, value },
    ])
  }

  /** Both lie in one shard, so a page sees them at one moment. */
  async #scanPair(db: Client): Promise<void> {
    const tag = this.#pair()
    const seen: { key: string; value: string; revision: number }[] = []
    for await (const { key, value, revision } of db.scan({ prefix: tag }))
      seen.push({ key: key.toString(), value: value.toString(), revision })
    const [a, b] = seen
    const whole = seen.length === 0 || (seen.length === 2 && a?.value === b?.value && a?.revision === b?.revision)
    assert(whole, `half a batch: ${JSON.stringify(seen)}`)
  }

  /** A batch whose check cannot hold. */
  async #failPair(db: Client): Promise<void> {
    const tag = this.#pair()
    try {
      await db.batch([
        { check: `${tag}a`, revision: 2 ** 50 },
        { put: `${tag}a`, value: 'never' },
      ])
    } catch (error) {
      if (error instanceof OstrakaError && error.code === 'CONDITION_FAILED') return
      throw error
    }
    throw new Error('a batch was applied although its check does not hold')
  }

  /** Appends of one turn, some of which may be given up: what took effect did so in their order, and once. */
  async #inOrder(db: Client): Promise<void> {
    const key = `order-${++this.#values}`
    const deadlines = [0, 1, 2, 3, 4].map(() => (this.#random.next() < 0.4 ? 1 + this.#random.below(2500) : undefined))
    const appends = deadlines.map((deadlineMs, i) => db.append(key, 'abcde'.charAt(i), { deadlineMs }))
    const outcomes = await Promise.allSettled(appends)
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected' && !(outcome.reason instanceof OstrakaError)) throw outcome.reason
    }
    // A late copy of one that was given up may still come: look again later, too.
    for (let look = 0; look < 2; look++) {
      const value = (await db.get(key))?.value.toString() ?? ''
      assert(/^a?b?c?d?e?$/.test(value), `${key} is ${value}: out of order, or twice`)
      for (const [i, outcome] of outcomes.entries()) {
        const letter = 'abcde'.charAt(i)
        if (outcome.status === 'fulfilled') assert(value.includes(letter), `${key} is ${value}, without ${letter}, which was acknowledged`)
        else if (outcome.reason.definite) assert(!value.includes(letter), `${key} is ${value}, with ${letter}, which failed for sure`)
      }
      await this.#putPair(db)
    }
  }

  /** A key of its own: there until its time is over, and once it is gone it stays so. */
  async #live(db: Client): Promise<void> {
    const key = `life-${++this.#values}`
    const ttlMs = 50 + this.#random.below(1500)
    const bornMs = this.#nowMs()
    const later = this.#random.next() < 0.5
    await db.put(key, 'alive', later ? {} : { ttlMs })
    if (later) assert((await db.expire(key, ttlMs)).existed, `${key} was not there for expire`)
    const found = await db.get(key)
    if (found === undefined) {
      const lifeMs = this.#nowMs() - bornMs
      assert(lifeMs >= ttlMs * (1 - this.#drift), `${key} was gone after ${lifeMs} of ${ttlMs} ms`)
      assert((await db.get(key)) === undefined, `${key} was gone, and there again`)
    } else assert((found.expiresInMs ?? 0) > 0 && (found.expiresInMs ?? 0) <= ttlMs, `${key} lives ${found.expiresInMs} of ${ttlMs} ms`)
  }

  #pair(): string {
    return `{pair-${this.#random.below(pairs)}}`
  }
}
