import { describe, expect, it } from 'vitest'
import { writeU32 } from '../../../base/bytes.ts'
import { crc32 } from '../../../base/checksum.ts'
import { CorruptionError, DiskError } from '../../../base/errors.ts'
import { ENTRY_OVERHEAD_BYTES } from '../../../raft/core/message.ts'
import type { Entry } from '../../../raft/core/types.ts'
import { LogWorld, makeEntries } from './log-world.ts'

const a = { uid: 'g1@1', replica: 1 }
const b = { uid: 'g2@1', replica: 2 }

describe('group commit', () => {
  it('writes what one turn brings as one batch, what comes meanwhile as the next, and syncs file and folder before it calls back', async () => {
    const world = new LogWorld()
    const log = await world.open()
    const order: string[] = []
    world.disk.trace.length = 0
    log.group(a).append(makeEntries(1, 2, 1, 10), { term: 1, vote: 1, commit: 0 }, () => {
      order.push(`a after ${world.disk.trace.at(-1)}`)
      log.group(a).append(makeEntries(3, 3, 1, 10), undefined, () => order.push('a again'))
    })
    log.group(b).append(makeEntries(1, 1, 1, 10), undefined, () => order.push('b'))
    await world.world.runUntil(() => order.length === 3)
    expect(order).toEqual(['a after syncFolder log', 'b', 'a again'])
    expect(world.disk.trace).toEqual([
      'open log/0000000000000001.log create',
      'write log/0000000000000001.log 0+560',
      'sync log/0000000000000001.log',
      'syncFolder log',
      'write log/0000000000000001.log 560+128',
      'sync log/0000000000000001.log',
    ])
    expect(log.stats()).toMatchObject({ batches: 2, syncs: 2, bytesWritten: 688, segments: 1, bytes: 688, queuedBytes: 0 })
  })

  it('an idle log writes one mark after 20 ms and then rests', async () => {
    const world = new LogWorld()
    const log = await world.open()
    await world.append(log.group(a), makeEntries(1, 1, 1, 10))
    await world.world.runFor(15)
    expect(log.stats()).toMatchObject({ batches: 1, marks: 0 })
    await world.world.runFor(1_000)
    expect(log.stats()).toMatchObject({ batches: 2, marks: 1 })
  })

  it('a hard state that nobody waits for forces no batch, rides along with the next, and is written once', async () => {
    const world = new LogWorld()
    const log = await world.open()
    const group = log.group(a)
    await world.append(group, makeEntries(1, 1, 1, 10), { term: 1, vote: 1, commit: 0 })
    const before = log.stats().bytesWritten
    for (let commit = 1; commit <= 5; commit++) group.append([], { term: 1, vote: 1, commit }, undefined)
    await world.world.runFor(5)
    expect(log.stats().batches).toBe(1)
    await world.append(log.group(a), [])
    expect(log.stats()).toMatchObject({ batches: 2, bytesWritten: before + 64 + 32 + 24 })
    group.append([], { term: 1, vote: 1, commit: 9 }, undefined)
    await world.world.runFor(100)
    world.restart()
    const again = await world.open()
    expect(again.group(a).hardState.commit).toBe(9)
  })

  it('after a sync that failed once nothing is acknowledged any more, and the failure is told once', async () => {
    const world = new LogWorld()
    const log = await world.open()
    await world.append(log.group(a), makeEntries(1, 1, 1, 10))
    // The next one would succeed, and say so of pages that the system has given up.
    let failing = 1
    world.disk.inject = ({ kind }) => (kind === 'sync' && failing-- > 0 ? 'EIO' : undefined)
    const called: number[] = []
    log.group(a).append(makeEntries(2, 2, 1, 10), undefined, () => called.push(2))
    await world.world.runFor(50)
    world.disk.inject = undefined
    log.group(a).append(makeEntries(3, 3, 1, 10), undefined, () => called.push(3))
    await world.world.runFor(500)
    expect(called).toEqual([])
    expect(world.failures).toHaveLength(1)
    expect(world.failures[0]).toBeInstanceOf(DiskError)
    await expect(world.world.settle(log.reclaim())).rejects.toThrow('cannot sync')
    await world.world.settle(log.close())
  })

  it('a failed write seals the segment at its last good offset and goes on in the next one; a second failure is final', async () => {
    const world = new LogWorld()
    const log = await world.open()
    await world.append(log.group(a), makeEntries(1, 1, 1, 10))
    let failing = 1
    world.disk.inject = ({ kind }) => (kind === 'write' && failing-- > 0 ? 'ENOSPC' : undefined)
    await world.append(log.group(a), makeEntries(2, 4, 1, 10_000))
    expect(log.stats()).toMatchObject({ sealed: 1, segments: 2 })
    world.restart()
    const again = await world.open()
    expect(again.damage).toEqual([])
    expect(await world.world.settle(again.group(a).load(1, 5, 1e6))).toEqual([...makeEntries(1, 1, 1, 10), ...makeEntries(2, 4, 1, 10_000)])
    failing = 2
    again.group(a).append(makeEntries(5, 5, 1, 10), undefined, () => expect.unreachable())
    await world.world.runFor(100)
    expect(world.failures).toHaveLength(1)
    expect(world.failures[0]?.message).toContain('ENOSPC')
  })
})

describe('entries in memory', () => {
  it('keeps at most the budget, loads the rest from disk, and never lets go of what is not durable', async () => {
    const world = new LogWorld()
    const log = await world.open({ cacheBytes: 20_000, segmentBytes: 30_000 })
    const group = log.group(a)
    const all = makeEntries(1, 100, 1, 1_000)
    group.append(all, undefined, undefined)
    expect(group.entries(1, 101, 1e6)).toEqual(all)
    await world.append(group, [])
    await world.append(log.group(b), makeEntries(1, 1, 1, 1))
    expect(log.stats().cachedBytes).toBeLessThanOrEqual(20_000)
    expect(group.entries(95, 101, 1e6)).toEqual(all.slice(94))
    let loaded = 0
    const seen: Entry[] = []
    group.onLoaded = () => loaded++
    for (let from = 1; from <= 100; ) {
      const got = group.entries(from, 101, 5_000)
      if (got === undefined) {
        const before = loaded
        await world.world.runUntil(() => loaded > before)
        continue
      }
      expect(got.length).toBeLessThanOrEqual(5)
      seen.push(...got)
      from += got.length
    }
    expect(seen).toEqual(all)
    expect(loaded).toBeGreaterThan(3)
    expect(log.stats().cachedBytes).toBeLessThanOrEqual(25_000)
  })

  it('small entries are counted with what each costs beside its bytes, so that a window bounds their number', async () => {
    const world = new LogWorld()
    const log = await world.open({})
    const group = log.group(a)
    group.append(makeEntries(1, 100, 1, 1), undefined, undefined)
    expect(group.entries(1, 101, 10 * (1 + ENTRY_OVERHEAD_BYTES))).toHaveLength(10)
    expect(group.entries(1, 101, 1)).toHaveLength(1)
  })

  it('an entry larger than the whole budget can be read', async () => {
    const world = new LogWorld()
    const log = await world.open({ cacheBytes: 1_000 })
    await world.append(log.group(a), makeEntries(1, 2, 1, 50_000))
    await world.append(log.group(b), makeEntries(1, 1, 1, 1))
    const group = log.group(a)
    expect(group.entries(1, 3, 1e6)).toBeUndefined()
    let got: readonly Entry[] | undefined
    group.onLoaded = () => {
      got = group.entries(1, 3, 1)
    }
    await world.world.runUntil(() => got !== undefined)
    expect(got).toEqual(makeEntries(1, 1, 1, 50_000))
  })

  it('a load that a truncation or an overwrite overtakes gives only what still stands', async () => {
    const world = new LogWorld()
    const log = await world.open({ cacheBytes: 0 })
    const group = log.group(a)
    for (let i = 1; i <= 6; i++) await world.append(group, makeEntries(i, i, 1, 100))
    await world.append(log.group(b), makeEntries(1, 1, 1, 1))
    const loading = group.load(1, 7, 1e6)
    group.append(makeEntries(4, 5, 2, 100), { term: 2, vote: 0, commit: 0 }, undefined)
    const got = await world.world.settle(loading)
    expect(got.slice(0, 3)).toEqual(makeEntries(1, 3, 1, 100))
    for (const entry of got) expect(entry.term).toBe(group.term(entry.index))
    await world.append(log.group(b), makeEntries(2, 2, 1, 1))
    await world.append(log.group(b), makeEntries(3, 3, 1, 1))
    const truncated = group.load(1, 6, 1e6)
    group.truncateTo(5, 2)
    expect(await world.world.settle(truncated)).toEqual([])
  })

  it('an entry that rots while the log is open is a CorruptionError that names file and offset', async () => {
    const world = new LogWorld()
    const log = await world.open({ cacheBytes: 0 })
    await world.append(log.group(a), makeEntries(1, 1, 1, 100))
    await world.append(log.group(b), makeEntries(1, 1, 1, 1))
    const [file] = world.files() as [string]
    world.disk.flip(file, 64 + 48 + 32 + 16 + 50)
    await expect(world.world.settle(log.group(a).load(1, 2, 1e6))).rejects.toThrow(CorruptionError)
    expect(log.group(a).entries(1, 2, 1e6)).toBeUndefined()
    await world.world.runUntil(() => world.failures.length > 0)
    expect(world.failures[0]).toMatchObject({ name: 'CorruptionError', file })
  })
})

describe('a group', () => {
  it('refuses gaps, entries before its first index, falling terms and wrong truncations', async () => {
    const world = new LogWorld()
    const log = await world.open()
    const group = log.group(a)
    await world.append(group, makeEntries(1, 9, 2, 1), { term: 2, vote: 0, commit: 0 })
    group.truncateTo(5, 2)
    expect(() => group.append(makeEntries(11, 11, 2, 1), undefined, undefined)).toThrow('gap')
    expect(() => group.append(makeEntries(5, 5, 2, 1), undefined, undefined)).toThrow('before')
    expect(() => group.append([], { term: 1, vote: 0, commit: 0 }, undefined)).toThrow('term')
    expect(() => group.truncateTo(7, 1)).toThrow('not of term')
    expect(() => group.entries(5, 6, 1)).toThrow('no entries')
    group.truncateTo(3, 1)
    expect(group.firstIndex).toBe(6)
  })

  it('writes what must be written again a few records at a time: who appends meanwhile waits for no more', async () => {
    const world = new LogWorld()
    let log = await world.open({ segmentBytes: 16 * 1024 * 1024 })
    const kept = makeEntries(1, 1500, 1, 2048)
    await world.append(log.group(a), kept)
    for (let i = 0; i < 7; i++) await world.append(log.group(b), makeEntries(1 + 1000 * i, 1000 * (i + 1), 1, 2048))
    log.group(b).truncateTo(7000, 1)
    const before = world.disk.trace.length
    await world.world.settle(log.reclaim())
    expect(world.files()).not.toContain('log/0000000000000001.log')
    const written = world.disk.trace.slice(before).flatMap((line) => /^write log\/\S+ \d+\+(\d+)$/.exec(line)?.[1] ?? [])
    expect(written.reduce((sum, bytes) => sum + Number(bytes), 0)).toBeGreaterThan(1500 * 2048)
    expect(Math.max(...written.map(Number))).toBeLessThan(600 * 1024)
    world.restart()
    log = await world.open()
    expect(await world.world.settle(log.group(a).load(1, 1501, 1e9))).toEqual(kept)
  })

  it('that is removed leaves nothing, pins nothing, and its key begins anew', async () => {
    const world = new LogWorld()
    let log = await world.open({ segmentBytes: 2_000 })
    await world.append(log.group(a), makeEntries(1, 9, 1, 300), { term: 1, vote: 1, commit: 1 })
    await world.append(log.group(b), makeEntries(1, 9, 1, 300))
    expect(log.group(a).bytes).toBe(9 * 316)
    expect(log.pinned()).toEqual([{ key: a, bytes: 9 * 316 }])
    log.group(a).remove()
    expect(log.groups()).toEqual([b])
    await world.append(log.group(a), makeEntries(1, 1, 7, 5), { term: 7, vote: 0, commit: 0 })
    await world.world.settle(log.reclaim())
    expect(world.files()).not.toContain('log/0000000000000001.log')
    world.restart()
    log = await world.open()
    expect(log.group(a)).toMatchObject({ firstIndex: 1, lastIndex: 1, hardState: { term: 7, vote: 0, commit: 0 } })
    expect(log.group(b).lastIndex).toBe(9)
  })

  it('that is reset starts behind the snapshot, also after a restart', async () => {
    const world = new LogWorld()
    let log = await world.open()
    await world.append(log.group(a), makeEntries(1, 9, 1, 30), { term: 3, vote: 1, commit: 1 })
    await world.world.settle(new Promise<void>((resolve) => log.group(a).reset(100, 3, resolve)))
    world.restart()
    log = await world.open()
    const group = log.group(a)
    expect([group.firstIndex, group.lastIndex, group.term(100), group.term(99), group.bytes]).toEqual([101, 100, 3, undefined, 0])
    await world.append(group, makeEntries(101, 101, 3, 1))
  })
})

it('a log of a newer format is refused as it is, not cut', async () => {
  const world = new LogWorld()
  const log = await world.open()
  await world.append(log.group(a), makeEntries(1, 1, 1, 10))
  await world.world.settle(log.close())
  world.restart()
  const [file] = world.files() as [string]
  const bytes = world.disk.bytesOf(file)
  bytes[8] = 2
  writeU32(bytes, 4, crc32(bytes.subarray(8, 64)))
  const original = world.disk.bytesOf(file)
  for (let i = 0; i < 12; i++) world.disk.flip(file, i, (bytes[i] as number) ^ (original[i] as number))
  const again = await world.open()
  expect(again.damage).toMatchObject([{ group: undefined, file, offset: 0, what: 'format version 2, this release reads 1' }])
  await world.world.settle(again.close())
  expect(world.disk.bytesOf(file)).toEqual(bytes)
})
