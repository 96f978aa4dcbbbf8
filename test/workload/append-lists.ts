/**
 * Lists by `append`: every client appends numbered items of its own. In every value read each item is there once, those of a client in the order of its
 * calls, and of two reads one is a prefix of the other; what was acknowledged before a read began is in it, what failed for sure is in none.
 * The check is linear (Elle's list-append: unique items make the order explicit).
 */
import type { Random } from '../../base/random.ts'
import type { Client } from '../../client/client.ts'
import { OstrakaError } from '../../proto/errors.ts'

interface Item {
  readonly text: string
  readonly client: string
  readonly number: number
  acknowledgedAt: number | undefined
  failed: boolean
}

interface ListRead {
  readonly begunAt: number
  readonly value: string
}

interface List {
  readonly key: string
  readonly items: Item[]
  readonly reads: ListRead[]
}

const listsOpen = 4
const itemsMax = 60

export class AppendLists {
  acknowledged = 0
  readonly #random: Random
  readonly #keyOf: (number: number) => string
  readonly #open: List[] = []
  readonly #all: List[] = []
  #clock = 0

  /** `keyOf`: the key of the list of that number, from 1; no two may have the same. */
  constructor(random: Random, keyOf = (number: number) => `list-${number}`) {
    this.#random = random
    this.#keyOf = keyOf
  }

  /** One append or one read. Rejects with OstrakaError where the cluster did not answer. */
  async one(client: string, db: Client): Promise<void> {
    const list = this.#pick()
    if (this.#random.next() < 0.7) await this.#append(client, db, list)
    else await this.#read(db, list)
  }

  async readAll(db: Client, insist: (call: () => Promise<void>) => Promise<void>): Promise<void> {
    for (const list of this.#all) await insist(() => this.#read(db, list))
  }

  /** The first thing that is wrong; undefined: nothing. Call it after `readAll`. */
  verdict(): string | undefined {
    for (const list of this.#all) {
      const wrong = judge(list)
      if (wrong !== undefined) return `appends: ${list.key} ${wrong}`
    }
    return undefined
  }

  #pick(): List {
    const at = this.#random.below(listsOpen)
    const list = this.#open[at]
    if (list !== undefined && list.items.length < itemsMax) return list
    const next: List = { key: this.#keyOf(this.#all.length + 1), items: [], reads: [] }
    this.#all.push(next)
    this.#open[at] = next
    return next
  }

  async #append(client: string, db: Client, { key, items }: List): Promise<void> {
    const number = items.length + 1
    const item: Item = { text: `${client}.${number}`, client, number, acknowledgedAt: undefined, failed: false }
    items.push(item)
    try {
      await db.append(key, `${item.text};`)
      item.acknowledgedAt = ++this.#clock
      this.acknowledged++
    } catch (error) {
      if (error instanceof OstrakaError && error.definite) item.failed = true
      throw error
    }
  }

  async #read(db: Client, { key, reads }: List): Promise<void> {
    const begunAt = ++this.#clock
    const value = (await db.get(key))?.value.toString('utf8') ?? ''
    reads.push({ begunAt, value })
  }
}

function judge({ items, reads }: List): string | undefined {
  const byText = new Map(items.map((item) => [item.text, item]))
  const longest = reads.reduce((best, { value }) => (value.length > best.length ? value : best), '')
  const wrong = judgeOrder(longest, byText)
  if (wrong !== undefined) return wrong
  for (const { begunAt, value } of reads) {
    if (!longest.startsWith(value)) return `was read as ${value} and as ${longest}: neither is a prefix of the other`
    const seen = new Set(value.split(';'))
    const missing = items.find(({ acknowledgedAt, text }) => acknowledgedAt !== undefined && acknowledgedAt < begunAt && !seen.has(text))
    if (missing !== undefined) return `was read as ${value}, without ${missing.text}, which had been acknowledged`
  }
  return undefined
}

function judgeOrder(value: string, byText: ReadonlyMap<string, Item>): string | undefined {
  const seen = new Set<string>()
  const newest = new Map<string, number>()
  for (const text of value.split(';').slice(0, -1)) {
    const item = byText.get(text)
    if (item === undefined) return `holds ${text}, which nobody appended`
    if (item.failed) return `holds ${text}, which failed for sure`
    if (seen.has(text)) return `holds ${text} twice: ${value}`
    // A client has one call under way at a time; one whose outcome it does not know may come late, and then after others.
    const before = newest.get(item.client) ?? 0
    if (before > item.number && item.acknowledgedAt !== undefined) return `holds ${text} behind a later one of the same client: ${value}`
    newest.set(item.client, Math.max(before, item.number))
    seen.add(text)
  }
  return undefined
}
