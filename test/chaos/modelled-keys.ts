/** Keys of one shard that are put and deleted at random, beside a map that says what must be there. One caller at a time. */
import type { SeededRandom } from '../../base/random.ts'
import type { Client } from '../../client/index.ts'

export interface ModelledKeysOptions {
  /** All keys carry it, so they share a shard. */
  readonly tag: string
  readonly keys: number
  readonly valueBytesMax: number
  /** Of all changes, the share that deletes. */
  readonly deletes: number
}

export class ModelledKeys {
  puts = 0
  deletes = 0
  readonly #options: ModelledKeysOptions
  readonly #random: SeededRandom
  readonly #model = new Map<string, Buffer>()

  constructor(random: SeededRandom, options: ModelledKeysOptions) {
    this.#random = random
    this.#options = options
  }

  /** Of the keys and values that are there. */
  get bytes(): number {
    let bytes = 0
    for (const [key, value] of this.#model) bytes += key.length + value.length
    return bytes
  }

  get size(): number {
    return this.#model.size
  }

  key(number: number): string {
    return `{${this.#options.tag}}/${number}`
  }

  /** Puts every key once. */
  async fill(db: Client): Promise<void> {
    const atOnce = 64
    for (let at = 0; at < this.#options.keys; at += atOnce) {
      const numbers = Array.from({ length: Math.min(atOnce, this.#options.keys - at) }, (_, i) => at + i)
      await Promise.all(numbers.map((number) => this.#put(db, this.key(number))))
    }
  }

  /** So many changes at once, each of another key. Rejects where one fails: its outcome would have to be guessed. */
  async change(db: Client, count: number): Promise<void> {
    const keys = new Set<string>()
    while (keys.size < count) keys.add(this.key(this.#random.below(this.#options.keys)))
    await Promise.all([...keys].map((key) => (this.#random.next() < this.#options.deletes ? this.#delete(db, key) : this.#put(db, key))))
  }

  /** Reads the shard whole. Throws where it is not the model; returns how many records it has. */
  async compare(db: Client): Promise<number> {
    const seen = new Set<string>()
    for await (const { key, value } of db.scan({ prefix: `{${this.#options.tag}}/` })) {
      const name = key.toString()
      const wanted = this.#model.get(name)
      if (wanted === undefined) throw new Error(`${name} is there, and was deleted`)
      if (!wanted.equals(value)) throw new Error(`${name} holds ${value.length} bytes that are not what was put last`)
      seen.add(name)
    }
    for (const name of this.#model.keys()) if (!seen.has(name)) throw new Error(`${name} is missing`)
    return seen.size
  }

  async #put(db: Client, key: string): Promise<void> {
    const value = Buffer.from(this.#random.bytes(1 + this.#random.below(this.#options.valueBytesMax)))
    await db.put(key, value)
    this.#model.set(key, value)
    this.puts++
  }

  async #delete(db: Client, key: string): Promise<void> {
    await db.delete(key)
    this.#model.delete(key)
    this.deletes++
  }
}
