import { expect, it } from 'vitest'
import { SeededRandom } from '../../base/random.ts'
import { BlockCache, notCached } from '../../lsm/block-cache.ts'

/** A table of blocks of given lengths, each filled with a byte of its own. */
class Table {
  readonly ids: number[] = []
  readonly lengths: readonly number[]
  readonly #cache: BlockCache

  constructor(cache: BlockCache, lengths: readonly number[]) {
    this.#cache = cache
    this.lengths = lengths
    this.ids = lengths.map(() => notCached)
  }

  evict(index: number): void {
    expect(this.ids[index]).not.toBe(notCached)
    this.ids[index] = notCached
  }

  /** Whether the block was there; it is afterwards, if it fits. */
  read(index: number): boolean {
    const id = this.ids[index] as number
    if (id !== notCached) {
      this.check(index)
      this.#cache.touch(id)
      return true
    }
    const length = this.lengths[index] as number
    // A block is read with its trailer, which is not kept.
    const room = this.#cache.reserve(length + 5)
    if (room === undefined) return false
    expect(room.length).toBe(length + 5)
    room.fill(index % 251)
    this.ids[index] = this.#cache.keep(this, index, length)
    return false
  }

  check(index: number): void {
    const id = this.ids[index] as number
    const block = this.#cache.buffer(id).subarray(this.#cache.start(id), this.#cache.end(id))
    expect(block.length).toBe(this.lengths[index])
    expect(block.every((byte) => byte === index % 251)).toBe(true)
  }

  close(): void {
    for (const id of this.ids) if (id !== notCached) this.#cache.remove(id)
    this.ids.fill(notCached)
  }
}

it.each([1, 2, 3])('never holds more than its bytes, nor a wrong byte, with tables that come and go (seed %i)', (seed) => {
  const random = new SeededRandom(seed)
  const capacity = [300_000, 70_000, 2_000_000][seed - 1] as number
  const cache = new BlockCache(capacity)
  const make = () =>
    new Table(
      cache,
      Array.from({ length: 300 }, () => 1 + random.below(random.below(10) === 0 ? 9000 : 900)),
    )
  const tables = [make(), make(), make()]
  for (let i = 0; i < 20_000; i++) {
    const at = random.below(tables.length)
    const table = tables[at] as Table
    table.read(random.below(table.lengths.length))
    expect(cache.bytes).toBeLessThanOrEqual(capacity)
    if (random.below(2000) === 0) {
      table.close()
      tables[at] = make()
    }
  }
  let held = 0
  for (const table of tables) {
    table.ids.forEach((id, index) => {
      if (id === notCached) return
      table.check(index)
      held += table.lengths[index] as number
    })
  }
  expect(cache.bytes).toBe(held)
})

it('keeps what is read again while much that is read once passes through', () => {
  const cache = new BlockCache(1_000_000)
  const hot = new Table(cache, Array(50).fill(4000))
  const once = new Table(cache, Array(20_000).fill(4000))
  let hits = 0
  let reads = 0
  for (let i = 0; i < 20_000; i++) {
    once.read(i)
    if (i % 2 !== 0) continue
    reads++
    if (hot.read((i / 2) % 50)) hits++
  }
  expect(hits / reads).toBeGreaterThan(0.98)
})

it('finds all of what fits, and evicts even what is read all the time when too much is', () => {
  const cache = new BlockCache(1_048_576)
  const fits = new Table(cache, Array(200).fill(4096))
  for (let i = 0; i < 200; i++) fits.read(i)
  for (let i = 0; i < 200; i++) expect(fits.read(i)).toBe(true)
  const more = new Table(cache, Array(600).fill(4096))
  for (let round = 0; round < 5; round++) for (let i = 0; i < 600; i++) more.read(i)
  expect(cache.bytes).toBeLessThanOrEqual(1_048_576)
  expect(cache.bytes).toBeGreaterThan(700_000)
})

it('keeps nothing where it has no room', () => {
  expect(new BlockCache(0).reserve(1)).toBeUndefined()
  const small = new BlockCache(1000)
  expect(small.reserve(1001)).toBeUndefined()
  expect(small.reserve(1000)?.length).toBe(1000)
  expect(() => new BlockCache(-1)).toThrow(RangeError)
})
