import { describe, expect, it } from 'vitest'
import { LogTruncation } from '../../raft/log-truncation.ts'
import type { Standing } from '../../raft/standing.ts'
import { firstOf, standingAt } from './standings.ts'

class Rig {
  firstIndex = 1
  bytes = 0
  snapshotLogBytes = 1000
  lastIndex = 9
  stable = 9
  fetched: number | undefined
  applied = 0
  durable: Standing = firstOf(3)
  readonly truncated: number[] = []
  flushes = 0
  reclaims = 0
  readonly failures: string[] = []
  #ends: { resolve(): void; reject(error: Error): void }[] = []
  readonly truncation: LogTruncation

  constructor(replica = 1) {
    const rig = this
    this.truncation = new LogTruncation({
      log: {
        get firstIndex() {
          return rig.firstIndex
        },
        get lastIndex() {
          return rig.lastIndex
        },
        get bytes() {
          return rig.bytes
        },
        term: (index) => 100 + index,
        truncateTo: (index, term) => {
          expect(term).toBe(100 + index)
          rig.firstIndex = index + 1
          rig.truncated.push(index)
        },
      },
      stateMachine: {
        get durable() {
          return rig.durable
        },
        flush: () => {
          rig.flushes++
          return new Promise<void>((resolve, reject) => rig.#ends.push({ resolve, reject }))
        },
      },
      replica,
      get snapshotLogBytes() {
        return rig.snapshotLogBytes
      },
      applied: () => this.applied,
      stable: () => this.stable,
      fetchedSnapshot: () => this.fetched,
      onTruncated: () => this.reclaims++,
      onFailed: (error) => this.failures.push(error.message),
    })
  }

  stand(applied: number, durable: number, allMatched: number): void {
    this.applied = applied
    this.durable = standingAt(durable, 1)
    this.truncation.matchedTo(allMatched)
    this.truncation.maybeTruncate()
  }

  async endFlush(error?: Error): Promise<void> {
    const end = this.#ends.shift()
    if (error === undefined) end?.resolve()
    else end?.reject(error)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

describe('the truncation of a log', () => {
  it.each([
    ['durable', 9, 5, 8, 5],
    ['held by all', 9, 8, 4, 4],
    // The state machine sealed within a batch of which the driver has not heard.
    ['applied', 3, 8, 8, 3],
  ])('goes only up to what is %s', (_, applied, durable, allMatched, expected) => {
    const rig = new Rig()
    rig.stand(applied, durable, allMatched)
    expect(rig.truncated).toEqual([expected])
    expect(rig.reclaims).toBe(1)
  })

  it('never goes back, whatever an older message says', () => {
    const rig = new Rig()
    rig.stand(9, 9, 7)
    rig.truncation.matchedTo(3)
    rig.truncation.maybeTruncate()
    expect(rig.truncated).toEqual([7])
    expect(rig.truncation.allMatched).toBe(7)
  })

  it('flushes when the log has grown past its bound, once at a time', async () => {
    const rig = new Rig()
    rig.stand(9, 2, 9)
    rig.bytes = 999
    rig.truncation.maybeFlush()
    expect(rig.flushes).toBe(0)
    rig.bytes = 1000
    rig.truncation.maybeFlush()
    rig.truncation.maybeFlush()
    expect(rig.flushes).toBe(1)
    await rig.endFlush()
    rig.truncation.maybeFlush()
    expect(rig.flushes).toBe(2)
  })

  it('flushes once so many entries are applied and not durable, however small they are and whoever lags', async () => {
    const rig = new Rig(0)
    rig.bytes = 10
    rig.lastIndex = 20_000
    rig.stable = 20_000
    rig.stand(8191, 3, 3)
    rig.truncation.maybeFlush()
    expect(rig.flushes).toBe(0)
    rig.stand(8192, 3, 3)
    rig.truncation.maybeFlush()
    rig.truncation.maybeFlush()
    expect(rig.flushes).toBe(1)
    rig.durable = standingAt(8192, 1)
    await rig.endFlush()
    rig.truncation.maybeFlush()
    expect(rig.flushes).toBe(1)
  })

  it.each([
    ['entries', 10],
    ['bytes', 8000],
  ])('replicas that apply the same entries never flush at about the same one, where %s bound it', (_, bytesPerEntry) => {
    const periods = new Set<number>()
    const flushes = [1, 2, 3].flatMap((replica) => {
      const points: number[] = []
      let durable = 0
      for (let applied = 1; applied <= 60_000; applied++) {
        const rig = new Rig(replica)
        rig.lastIndex = applied
        rig.bytes = applied * bytesPerEntry
        rig.snapshotLogBytes = Number.POSITIVE_INFINITY
        rig.stand(applied, durable, 0)
        rig.truncation.maybeFlush()
        if (rig.flushes === 0) continue
        if (durable > 0) periods.add(applied - durable)
        durable = applied
        points.push(applied)
      }
      return points
    })
    flushes.sort((a, b) => a - b)
    const [period = 0] = periods
    expect([...periods]).toEqual([bytesPerEntry === 10 ? 8192 : 2048])
    expect(flushes.length).toBeGreaterThan(3 * Math.floor(60_000 / period) - 1)
    for (const [k, flush] of flushes.slice(1).entries()) expect(flush - (flushes[k] ?? 0)).toBeGreaterThan(period / 5)
  })

  it('flushes once about so many bytes are applied and not durable', () => {
    const rig = new Rig(0)
    rig.lastIndex = 1000
    rig.stable = 1000
    rig.bytes = 32 * 1024 * 1024
    rig.snapshotLogBytes = 64 * 1024 * 1024
    rig.stand(255, 3, 3)
    rig.truncation.maybeFlush()
    expect(rig.flushes).toBe(0)
    rig.stand(256, 3, 3)
    rig.truncation.maybeFlush()
    expect(rig.flushes).toBe(1)
  })

  it('does not flush again and again for a replica that is away', () => {
    const rig = new Rig()
    rig.bytes = 1999
    rig.stand(9, 6, 5)
    rig.truncation.maybeFlush()
    expect(rig.flushes).toBe(0)
    rig.truncation.matchedTo(6)
    expect(rig.flushes).toBe(0)
    rig.truncation.matchedTo(7)
    expect(rig.flushes).toBe(1)
  })

  it('past twice the bound it waits for nobody, and keeps the newest part', () => {
    const rig = new Rig()
    rig.lastIndex = 100
    rig.stable = 100
    rig.bytes = 1999
    rig.stand(100, 100, 5)
    rig.bytes = 2000
    rig.stand(100, 100, 5)
    // 95 entries of which about 1000 bytes stay.
    expect(rig.truncated).toEqual([5, 53])
  })

  it('past twice the bound it flushes where that frees something, and not for each entry', () => {
    const rig = new Rig()
    rig.lastIndex = 100
    rig.stable = 100
    rig.bytes = 1000
    rig.stand(100, 60, 5)
    rig.bytes = 2000
    rig.truncation.maybeFlush()
    expect(rig.flushes).toBe(0)
    rig.durable = standingAt(50, 1)
    rig.truncation.maybeFlush()
    rig.truncation.maybeFlush()
    expect(rig.flushes).toBe(1)
  })

  it('keeps the log behind a snapshot that is being fetched, within a bound', () => {
    const rig = new Rig()
    rig.lastIndex = 100
    rig.stable = 100
    rig.fetched = 20
    rig.bytes = 15_999
    rig.stand(100, 100, 5)
    expect(rig.truncated).toEqual([20])
    rig.bytes = 16_000
    rig.truncation.maybeTruncate()
    expect(rig.truncated).toEqual([20, 95])
  })

  it('goes no further than the log is durable', () => {
    const rig = new Rig()
    rig.stable = 4
    rig.stand(9, 9, 9)
    expect(rig.truncated).toEqual([4])
  })

  it('where the oldest segment must go it waits for nobody, once', async () => {
    const rig = new Rig()
    rig.stand(9, 2, 1)
    rig.truncation.free()
    expect(rig.truncated).toEqual([1, 2])
    rig.truncation.free()
    rig.stand(9, 8, 1)
    expect(rig.truncated).toEqual([1, 2, 8])
    rig.stand(9, 9, 1)
    expect(rig.truncated).toEqual([1, 2, 8])
  })

  it('tells of a flush that failed', async () => {
    const rig = new Rig()
    rig.stand(9, 2, 9)
    rig.truncation.free()
    await rig.endFlush(new Error('EIO'))
    expect(rig.failures).toEqual(['EIO'])
  })

  it('does nothing after stop', async () => {
    const rig = new Rig()
    rig.stand(9, 2, 2)
    rig.bytes = 5000
    rig.truncation.matchedTo(9)
    rig.truncation.free()
    rig.truncation.stop()
    await rig.endFlush(new Error('closed'))
    rig.stand(9, 9, 9)
    rig.truncation.free()
    expect(rig).toMatchObject({ truncated: [2], flushes: 1, failures: [] })
  })
})
