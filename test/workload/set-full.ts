/**
 * Sets that only grow (Jepsen's set-full): each element is added once, as a key of its own, and reads scan a whole set. An element whose addition
 * was acknowledged is in every read that began afterwards. What is wrong is told by class: lost (never seen again), stale (missing from a read
 * and there later), gone (seen, and missing later), never added (an addition that had no effect for sure).
 */
import type { Random } from '../../base/random.ts'
import type { Client } from '../../client/client.ts'
import { OstrakaError } from '../../proto/errors.ts'

interface Element {
  readonly key: string
  acknowledgedAt: number | undefined
  failed: boolean
}

interface SetRead {
  readonly begunAt: number
  readonly endedAt: number
  readonly seen: ReadonlySet<string>
}

interface GrowingSet {
  readonly prefix: string
  readonly elements: Element[]
  readonly reads: SetRead[]
}

const setsOpen = 3
/** Then another one is begun, so that a read stays small. */
const elementsMax = 60

export type SetFault = 'lost' | 'stale' | 'gone' | 'never added'

export class SetFull {
  acknowledged = 0
  reads = 0
  readonly #random: Random
  readonly #open: GrowingSet[] = []
  readonly #all: GrowingSet[] = []
  #clock = 0

  constructor(random: Random) {
    this.#random = random
  }

  /** One addition or one read. Rejects with OstrakaError where the cluster did not answer. */
  async one(db: Client): Promise<void> {
    const set = this.#pick()
    if (this.#random.next() < 0.7) await this.#add(db, set)
    else await this.#read(db, set)
  }

  /** Reads every set once more. Call it when the cluster is whole; `insist` asks until it is answered. */
  async readAll(db: Client, insist: (call: () => Promise<void>) => Promise<void>): Promise<void> {
    for (const set of this.#all) await insist(() => this.#read(db, set))
  }

  /** The first thing that is wrong; undefined: nothing. Call it after `readAll`. */
  verdict(): string | undefined {
    for (const { elements, reads } of this.#all) {
      for (const element of elements) {
        const wrong = judge(element, reads)
        if (wrong !== undefined) return `set-full: ${element.key} is ${wrong}`
      }
    }
    return undefined
  }

  #pick(): GrowingSet {
    const at = this.#random.below(setsOpen)
    const set = this.#open[at]
    if (set !== undefined && set.elements.length < elementsMax) return set
    const next: GrowingSet = { prefix: `{set-${this.#all.length + 1}}`, elements: [], reads: [] }
    this.#all.push(next)
    this.#open[at] = next
    return next
  }

  async #add(db: Client, { prefix, elements }: GrowingSet): Promise<void> {
    const element: Element = { key: `${prefix}${elements.length + 1}`, acknowledgedAt: undefined, failed: false }
    elements.push(element)
    try {
      await db.put(element.key, 'here')
      element.acknowledgedAt = ++this.#clock
      this.acknowledged++
    } catch (error) {
      if (error instanceof OstrakaError && error.definite) element.failed = true
      throw error
    }
  }

  async #read(db: Client, { prefix, reads }: GrowingSet): Promise<void> {
    const begunAt = ++this.#clock
    const seen = new Set<string>()
    for await (const { key } of db.scan({ prefix })) seen.add(key.toString())
    reads.push({ begunAt, endedAt: ++this.#clock, seen })
    this.reads++
  }
}

/** Reads are judged as they began; of two that overlap either may be the later. */
function judge({ key, acknowledgedAt, failed }: Element, reads: readonly SetRead[]): SetFault | undefined {
  let knownAt = acknowledgedAt ?? Number.POSITIVE_INFINITY
  const wasAcknowledged = acknowledgedAt !== undefined
  for (const { endedAt, seen } of reads) if (seen.has(key)) knownAt = Math.min(knownAt, endedAt)
  if (failed && knownAt < Number.POSITIVE_INFINITY) return 'never added'
  const missing = reads.filter(({ begunAt, seen }) => begunAt > knownAt && !seen.has(key))
  const [first] = missing
  if (first === undefined) return undefined
  const isSeenLater = reads.some(({ begunAt, seen }) => begunAt > first.begunAt && seen.has(key))
  if (isSeenLater) return 'stale'
  return wasAcknowledged ? 'lost' : 'gone'
}
