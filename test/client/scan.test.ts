import { describe, expect, it } from 'vitest'
import { compareBytes } from '../../base/bytes.ts'
import { scanRange } from '../../client/scan.ts'
import type { ScannedRecord, ScanOptions } from '../../client/types.ts'
import { FakeCluster, refusal } from './fake-cluster.ts'

const keys = Array.from({ length: 150 }, (_, i) => `key${i}`)

async function start(seed: number, groups = 3) {
  const cluster = await new FakeCluster(seed, { groups }).start()
  const db = await cluster.connect()
  await cluster.settle(db.putMany(keys.map((key) => [key, `value of ${key}`])))
  const scan = async (options: ScanOptions = {}, onRecord: (index: number) => void = () => undefined) => {
    const found: ScannedRecord[] = []
    const iteration = (async () => {
      for await (const record of db.scan(options)) onRecord(found.push(record))
    })()
    await cluster.settle(iteration)
    return found.map((record) => record.key.toString())
  }
  return { cluster, db, scan }
}

const sorted = (list: readonly string[]) => [...list].sort((a, b) => compareBytes(Buffer.from(a), Buffer.from(b)))

describe('a scan', () => {
  it('merges all groups in the order of the keys, both ways, with bounds and limits', async () => {
    const { scan } = await start(1)
    const all = sorted(keys)
    expect(await scan()).toEqual(all)
    expect(await scan({ reverse: true })).toEqual([...all].reverse())
    expect(await scan({ prefix: 'key1' })).toEqual(all.filter((key) => key.startsWith('key1')))
    expect(await scan({ prefix: 'key1', reverse: true, limit: 5 })).toEqual(
      all
        .filter((key) => key.startsWith('key1'))
        .reverse()
        .slice(0, 5),
    )
    expect(await scan({ start: 'key20', end: 'key30' })).toEqual(all.filter((key) => key >= 'key20' && key < 'key30'))
    expect(await scan({ limit: 33 })).toEqual(all.slice(0, 33))
    expect(await scan({ limit: 0 })).toEqual([])
    expect(await scan({ start: 'z' })).toEqual([])
    expect(await scan({ start: 'b', end: 'a' })).toEqual([])
  })

  it('gives each key once while shards change their groups and leaders theirs', async () => {
    for (const reverse of [false, true]) {
      const { cluster, scan } = await start(2)
      let number = 1
      const found = await scan({ reverse }, (index) => {
        if (index % 20 !== 0) return
        number++
        const config = cluster.makeConfig(number, (shard) => `g${((shard * number) % 3) + 1}@1`, 3)
        // The nodes know at once, the client a while later.
        cluster.config = config
        cluster.leaders.set('g2@1', `n${(number % 3) + 1}`)
        cluster.world.schedule(20, undefined, 'publish', () => cluster.publish(cluster.config))
      })
      expect(number).toBeGreaterThan(6)
      expect(found).toEqual(reverse ? sorted(keys).reverse() : sorted(keys))
    }
  })

  it('tries again what is refused or breaks, and fails at its deadline', async () => {
    const { cluster, db, scan } = await start(3)
    let calls = 0
    const errors = [refusal('OVERLOADED', true, { waitMs: 5 }), refusal('SHARD_MOVING'), refusal('UNAVAILABLE'), refusal('NOT_LEADER')]
    const broken = refusal('UNAVAILABLE')
    broken.message = 'break'
    cluster.scanScript = () => [...errors, broken][calls++ % 7]
    expect(await scan()).toEqual(sorted(keys))
    cluster.scanScript = () => refusal('OVERLOADED')
    expect(await cluster.outcome(db.scan({ deadlineMs: 300 }).next())).toMatchObject({ code: 'DEADLINE', definite: true })
    const abort = new AbortController()
    abort.abort()
    expect(await cluster.outcome(db.scan({ signal: abort.signal }).next())).toMatchObject({ code: 'CANCELLED', definite: true })
    await db.close()
    expect(await cluster.outcome(db.scan().next())).toMatchObject({ code: 'CANCELLED' })
  })
})

describe('scanRange', () => {
  const range = (prefix: string, start: string, end: string) => {
    const found = scanRange(Buffer.from(prefix), Buffer.from(start), Buffer.from(end))
    return found === undefined ? undefined : [Buffer.from(found.start).toString(), Buffer.from(found.end).toString()]
  }

  it('is what prefix, start and end have in common', () => {
    expect(range('', '', '')).toEqual(['', ''])
    expect(range('ab', '', '')).toEqual(['ab', 'ac'])
    expect(range('ab', 'aa', 'b')).toEqual(['ab', 'ac'])
    expect(range('ab', 'abc', 'abd')).toEqual(['abc', 'abd'])
    expect(range('', 'b', '')).toEqual(['b', ''])
    expect(range('ab', 'ac', '')).toBeUndefined()
    expect(range('ab', '', 'ab')).toBeUndefined()
    expect(range('', 'b', 'b')).toBeUndefined()
  })
})
