import { describe, expect, it } from 'vitest'
import { OstrakaError } from '../../../proto/errors.ts'
import { pb } from '../../../proto/messages.ts'
import { deltaBytes } from '../../../shardserver/delta.ts'
import { DeltaAhead } from '../../../shardserver/migration/delta-ahead.ts'
import { SimClock } from '../../sim/sim-clock.ts'
import { World } from '../../sim/world.ts'

const mebi = 1024 * 1024
const cut = 100

/** A source of one shard: the records behind a position, each of one index, as many as fill a piece. */
class Source {
  readonly world = new World({ seed: 1 })
  readonly clock = new SimClock({
    runningMs: () => this.world.nowMs,
    worldMs: () => this.world.nowMs,
    schedule: (delayMs, what, callback) => this.world.schedule(delayMs, undefined, what, callback),
  })
  readonly asked: number[] = []
  /** Bytes of writes, by index from behind the cut on. */
  readonly records: number[] = []
  isAway = false

  readonly ahead = new DeltaAhead(this.clock, cut, (after) => this.#ask(after))

  write(count: number, bytes: number): void {
    for (let i = 0; i < count; i++) this.records.push(bytes)
  }

  async run(ms: number): Promise<void> {
    for (let at = 0; at < ms; at += 50) {
      this.ahead.maybeFetch()
      await this.world.runFor(50)
    }
  }

  async #ask(after: number): Promise<pb.v1.DeltaReply> {
    this.asked.push(after)
    await new Promise<void>((resolve) => void this.world.schedule(5, undefined, 'delta', resolve))
    if (this.isAway) throw new OstrakaError('UNAVAILABLE', 'away', true)
    const records: pb.v1.DeltaRecord[] = []
    let bytes = 0
    let upTo = after
    for (const size of this.records.slice(after - cut)) {
      if (records.length > 0 && bytes + deltaBytes(size) > mebi) break
      bytes += deltaBytes(size)
      records.push(new pb.v1.DeltaRecord({ index: ++upTo, writes: new Uint8Array(size) }))
    }
    return new pb.v1.DeltaReply({ upTo, lag: cut + this.records.length - upTo, shards: [new pb.v1.ShardDelta({ shard: 3, records })] })
  }
}

/** Takes piece by piece, from the cut on; the indexes that they brought. */
function taken({ ahead }: Source): number[] {
  const indexes: number[] = []
  for (let after = cut; ; ) {
    const isThere = ahead.has(after)
    const reply = ahead.take(after)
    expect(reply !== undefined).toBe(isThere)
    if (reply === undefined) return indexes
    indexes.push(...reply.shards.flatMap(({ records }) => (records ?? []).map(({ index }) => index ?? 0)))
    after = reply.upTo
  }
}

describe('the delta that is fetched ahead', () => {
  it('is whole pieces without a gap, and what there is behind them', async () => {
    const source = new Source()
    source.write(25, 100_000)
    await source.run(500)
    source.write(3, 1000)
    await source.run(1500)
    expect(source.asked.slice(0, 3)).toEqual([cut, cut + 10, cut + 20])
    expect(taken(source)).toEqual(Array.from({ length: 28 }, (_, i) => cut + 1 + i))
    expect(source.ahead.bytes).toBe(0)
  })

  it('holds at most eight mebibytes, and asks for no more when it does', async () => {
    const source = new Source()
    source.write(400, 100_000)
    await source.run(5000)
    const asked = source.asked.length
    expect(source.ahead.bytes).toBeLessThanOrEqual(8 * mebi)
    expect(source.ahead.bytes).toBeGreaterThan(6 * mebi)
    await source.run(5000)
    expect(source.asked.length).toBe(asked)
    const indexes = taken(source)
    expect(indexes).toEqual(Array.from({ length: indexes.length }, (_, i) => cut + 1 + i))
  })

  it('lets one record go that is too large to be held', async () => {
    const source = new Source()
    source.write(20, 100_000)
    source.write(1, 7 * mebi)
    source.write(1, 10)
    await source.run(5000)
    expect(source.ahead.bytes).toBeLessThanOrEqual(8 * mebi)
    expect(taken(source)).toHaveLength(20)
  })

  it('asks once a second where little is written, and keeps one piece of it', async () => {
    const source = new Source()
    for (let i = 0; i < 100; i++) {
      source.write(1, 5000)
      await source.run(100)
    }
    expect(source.asked.length).toBeLessThanOrEqual(11)
    expect(new Set(source.asked)).toEqual(new Set([cut]))
    const reply = source.ahead.take(cut)
    expect(reply?.shards[0]?.records?.length).toBeGreaterThan(80)
    expect(source.ahead.bytes).toBe(0)
  })

  it('leaves a small rest to who asks behind the ingest: it comes with what is new', async () => {
    const source = new Source()
    source.write(11, 100_000)
    await source.run(500)
    expect(taken(source)).toHaveLength(10)
    expect(source.ahead.bytes).toBe(0)
  })

  it('goes on once a source answers that did not', async () => {
    const source = new Source()
    source.write(3, 100_000)
    source.isAway = true
    await source.run(5000)
    expect(source.asked.length).toBeLessThanOrEqual(6)
    source.isAway = false
    await source.run(2000)
    expect(taken(source)).toHaveLength(3)
  })

  it('brings nothing where the replay stands elsewhere, and nothing that comes when it has begun', async () => {
    const source = new Source()
    source.write(25, 100_000)
    await source.run(500)
    expect(source.ahead.take(cut + 5)).toBeUndefined()
    expect(source.ahead.bytes).toBe(0)
    const late = new Source()
    late.write(3, 100)
    late.ahead.maybeFetch()
    expect(late.ahead.take(cut)).toBeUndefined()
    await late.run(3000)
    expect([late.ahead.bytes, late.asked.length]).toEqual([0, 1])
  })
})
