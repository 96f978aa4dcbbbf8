import { type Random, SeededRandom } from '../base/random.ts'

/** What `ostraka bench` does to keys: seeded, so that two runs ask the same. Pure. */

export const workloads = ['put', 'get', 'ycsb-a', 'ycsb-b', 'ycsb-c', 'ycsb-d', 'ycsb-e', 'ycsb-f'] as const
export type WorkloadName = (typeof workloads)[number]

export type Operation =
  | { readonly kind: 'put' | 'get' | 'read-modify-write'; readonly key: number }
  | { readonly kind: 'scan'; readonly key: number; readonly limit: number }

interface Mix {
  /** Cumulative: below `get` a get, below `scan` a scan, below `insert` an insert of a new key, below `modify` a read-modify-write, else a put. */
  readonly get: number
  readonly scan: number
  readonly insert: number
  readonly modify: number
  readonly keys: 'uniform' | 'zipfian' | 'latest'
}

/** The core workloads of YCSB (Cooper et al., "Benchmarking Cloud Serving Systems with YCSB", 2010), and the two plain ones. */
const mixes: Readonly<Record<WorkloadName, Mix>> = {
  put: { get: 0, scan: 0, insert: 0, modify: 0, keys: 'uniform' },
  get: { get: 1, scan: 1, insert: 1, modify: 1, keys: 'uniform' },
  'ycsb-a': { get: 0.5, scan: 0.5, insert: 0.5, modify: 0.5, keys: 'zipfian' },
  'ycsb-b': { get: 0.95, scan: 0.95, insert: 0.95, modify: 0.95, keys: 'zipfian' },
  'ycsb-c': { get: 1, scan: 1, insert: 1, modify: 1, keys: 'zipfian' },
  'ycsb-d': { get: 0.95, scan: 0.95, insert: 1, modify: 1, keys: 'latest' },
  'ycsb-e': { get: 0, scan: 0.95, insert: 1, modify: 1, keys: 'zipfian' },
  'ycsb-f': { get: 0.5, scan: 0.5, insert: 0.5, modify: 1, keys: 'zipfian' },
}

const SCAN_LIMIT_MAX = 100

/** Whether a workload reads keys that must have been written before. */
export function needsKeys(name: WorkloadName): boolean {
  return name !== 'put'
}

export function keyOf(number: number): string {
  return `bench:${String(number).padStart(10, '0')}`
}

export class Workload {
  readonly #mix: Mix
  readonly #random: Random
  readonly #zipfian: Zipfian
  #keyCount: number

  constructor(name: WorkloadName, keyCount: number, seed: number) {
    this.#mix = mixes[name]
    this.#random = new SeededRandom(seed)
    this.#keyCount = keyCount
    this.#zipfian = new Zipfian(keyCount)
  }

  next(): Operation {
    const mix = this.#mix
    const draw = this.#random.next()
    if (draw < mix.get) return { kind: 'get', key: this.#key() }
    if (draw < mix.scan) return { kind: 'scan', key: this.#key(), limit: 1 + this.#random.below(SCAN_LIMIT_MAX) }
    if (draw < mix.insert) return { kind: 'put', key: this.#keyCount++ }
    if (draw < mix.modify) return { kind: 'read-modify-write', key: this.#key() }
    return { kind: 'put', key: this.#key() }
  }

  #key(): number {
    if (this.#mix.keys === 'uniform') return this.#random.below(this.#keyCount)
    const rank = this.#zipfian.rank(this.#random.next())
    // The newest keys are asked for most; or the popular ones lie scattered over all.
    if (this.#mix.keys === 'latest') return this.#keyCount - 1 - rank
    return scatter(rank) % this.#keyCount
  }
}

/** Ranks from 0, rank r with probability proportional to 1 / (r + 1)^0.99 (Gray et al., "Quickly Generating Billion-Record Synthetic Databases", 1994). */
export class Zipfian {
  readonly #count: number
  readonly #zeta: number
  readonly #eta: number
  static readonly #theta = 0.99

  constructor(count: number) {
    const theta = Zipfian.#theta
    this.#count = count
    let zeta = 0
    for (let i = 1; i <= count; i++) zeta += 1 / i ** theta
    this.#zeta = zeta
    this.#eta = (1 - (2 / count) ** (1 - theta)) / (1 - (1 + 0.5 ** theta) / zeta)
  }

  /** `uniform` in [0, 1). */
  rank(uniform: number): number {
    const theta = Zipfian.#theta
    const scaled = uniform * this.#zeta
    if (scaled < 1 || this.#count === 1) return 0
    if (scaled < 1 + 0.5 ** theta || this.#count === 2) return 1
    return Math.min(this.#count - 1, Math.floor(this.#count * (this.#eta * uniform - this.#eta + 1) ** (1 / (1 - theta))))
  }
}

/** FNV-1a over the four bytes of a rank. */
function scatter(rank: number): number {
  let hash = 0x811c9dc5
  for (let shift = 0; shift < 32; shift += 8) hash = Math.imul(hash ^ ((rank >>> shift) & 0xff), 0x01000193)
  return hash >>> 0
}

/** Values that no compression makes smaller: views into random bytes, each at another place. */
export class Values {
  readonly #pool: Buffer
  readonly #length: number
  readonly #random: Random

  constructor(length: number, seed: number) {
    this.#length = length
    this.#random = new SeededRandom(seed)
    this.#pool = Buffer.from(this.#random.bytes(length + 65_536))
  }

  next(): Buffer {
    const start = this.#random.below(65_536)
    return this.#pool.subarray(start, start + this.#length)
  }
}
