import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../base/random.ts'
import { InFlight } from '../../cli/in-flight.ts'
import { Values, Workload, type WorkloadName, Zipfian } from '../../cli/workload.ts'

function draw(name: WorkloadName, count: number, keys = 1000, seed = 1) {
  const workload = new Workload(name, keys, seed)
  return Array.from({ length: count }, () => workload.next())
}

describe('workloads', () => {
  it.each([
    ['put', { put: 1 }],
    ['get', { get: 1 }],
    ['ycsb-a', { get: 0.5, put: 0.5 }],
    ['ycsb-b', { get: 0.95, put: 0.05 }],
    ['ycsb-c', { get: 1 }],
    ['ycsb-d', { get: 0.95, put: 0.05 }],
    ['ycsb-e', { scan: 0.95, put: 0.05 }],
    ['ycsb-f', { get: 0.5, 'read-modify-write': 0.5 }],
  ] as const)('%s mixes its operations as YCSB has it', (name, shares) => {
    const operations = draw(name, 20_000)
    for (const kind of ['get', 'put', 'scan', 'read-modify-write'] as const) {
      const share = operations.filter((operation) => operation.kind === kind).length / operations.length
      expect(share, kind).toBeCloseTo((shares as Record<string, number>)[kind] ?? 0, 1)
    }
  })

  it('asks the same with the same seed, and something else with another', () => {
    expect(draw('ycsb-a', 100)).toEqual(draw('ycsb-a', 100))
    expect(draw('ycsb-a', 100)).not.toEqual(draw('ycsb-a', 100, 1000, 2))
  })

  it('inserts new keys in d, and reads the newest most', () => {
    const operations = draw('ycsb-d', 20_000)
    const inserted = operations.filter(({ kind }) => kind === 'put').map(({ key }) => key)
    expect(inserted).toEqual(inserted.map((_, i) => 1000 + i))
    const old = operations.filter(({ kind, key }) => kind === 'get' && key < 500).length
    expect(old / operations.length).toBeLessThan(0.2)
  })

  it('keeps keys within bounds, whatever their number', () => {
    for (const keys of [1, 2, 3, 10]) {
      for (const { key } of draw('ycsb-a', 500, keys)) expect(key).toBeLessThan(keys)
      for (const { key } of draw('ycsb-c', 500, keys)) expect(key).toBeGreaterThanOrEqual(0)
    }
  })

  it('draws ranks as Zipf says', () => {
    const count = 1000
    const zipfian = new Zipfian(count)
    const random = new SeededRandom(7)
    const hits = new Float64Array(count)
    const draws = 200_000
    for (let i = 0; i < draws; i++) {
      const rank = zipfian.rank(random.next())
      hits[rank] = (hits[rank] ?? 0) + 1
    }
    let zeta = 0
    for (let i = 1; i <= count; i++) zeta += i ** -0.99
    for (const rank of [0, 1]) expect((hits[rank] ?? 0) / draws).toBeCloseTo((rank + 1) ** -0.99 / zeta, 2)
    // The formula approximates the tail: the first tenth should have the share that the exact sum gives it.
    let exact = 0
    for (let i = 1; i <= 100; i++) exact += i ** -0.99 / zeta
    expect(hits.subarray(0, 100).reduce((sum, each) => sum + each, 0) / draws).toBeCloseTo(exact, 1)
  })

  it('makes values of the length asked, not all the same', () => {
    const values = new Values(128, 1)
    const drawn = Array.from({ length: 50 }, () => values.next())
    for (const value of drawn) expect(value).toHaveLength(128)
    expect(new Set(drawn.map((value) => value.toString('hex'))).size).toBeGreaterThan(45)
    expect(new Values(0, 1).next()).toHaveLength(0)
  })
})

describe('in flight', () => {
  it('never runs more than its count or its bytes, but admits one of any size', async () => {
    const flight = new InFlight(3, 100)
    let count = 0
    let bytes = 0
    let countMax = 0
    const sizes = [10, 10, 10, 10, 90, 20, 500, 1, 1, 1, 1]
    for (const size of sizes) {
      await flight.add(size, async () => {
        count++
        bytes += size
        countMax = Math.max(countMax, count)
        expect(bytes <= 100 || count === 1).toBe(true)
        await new Promise((resolve) => setImmediate(resolve))
        count--
        bytes -= size
      })
    }
    await flight.settled()
    flight.throwIfFailed()
    expect(count).toBe(0)
    expect(countMax).toBe(3)
  })

  it('throws the first error at the next task and at the end', async () => {
    const flight = new InFlight(1, 100)
    await flight.add(1, () => Promise.reject(new Error('first')))
    await expect(flight.add(1, async () => {})).rejects.toThrow('first')
    await flight.settled()
    expect(() => flight.throwIfFailed()).toThrow('first')
  })
})
