import { beforeAll, describe, expect, it } from 'vitest'
import { must } from '../../../base/assert.ts'
import { writeU32 } from '../../../base/bytes.ts'
import { crc32 } from '../../../base/checksum.ts'
import { CorruptionError } from '../../../base/errors.ts'
import type { File, FileSystem } from '../../../base/file-system.ts'
import { BatchRewriter } from '../../../raft/log/batch-rewriter.ts'
import {
  batchHeaderBytes,
  type GroupKey,
  RecordKind,
  readBatchHeader,
  readRecordHeader,
  readStateBody,
  recordHeaderBytes,
  type StateBody,
  stateBody,
  writeBatchHeader,
  writeRecordHeader,
} from '../../../raft/log/format.ts'
import { Segments } from '../../../raft/log/segments.ts'
import type { SharedLog } from '../../../raft/log/shared-log.ts'
import { describeLog } from './log-model.ts'
import { LogWorld, makeEntries } from './log-world.ts'

const keys: readonly GroupKey[] = [
  { uid: 'g1@1', replica: 1 },
  { uid: 'g2@1', replica: 4 },
  { uid: 'g3@2', replica: 9 },
]
const options = { segmentBytes: 1500, cacheBytes: 500 }

/** What a byte of a segment file belongs to: a group's number, or 0 where every replica hangs on it. */
interface Region {
  readonly from: number
  readonly to: number
  readonly group: number
}

function regions(bytes: Uint8Array): Region[] {
  const result: Region[] = []
  for (let offset = 0; offset < bytes.length; ) {
    const header = readBatchHeader(bytes, offset)
    if (header === undefined) throw new Error(`no batch at ${offset}`)
    result.push({ from: offset, to: (offset += batchHeaderBytes), group: 0 })
    for (let i = 0; i < header.records; i++) {
      const record = readRecordHeader(bytes, offset)
      if (record === undefined) throw new Error(`no record at ${offset}`)
      result.push({ from: offset, to: (offset += recordHeaderBytes), group: 0 })
      result.push({ from: offset, to: (offset += record.bodyLength), group: record.group })
    }
  }
  return result
}

async function describeGroups(world: LogWorld, log: SharedLog): Promise<string[]> {
  return (await world.world.settle(describeLog(log))).split('\n')
}

describe('damage before the durable end', () => {
  let world: LogWorld
  let whole: string[]

  beforeAll(async () => {
    world = new LogWorld(7)
    const log = await world.open(options)
    for (let i = 0; i < 6; i++) {
      for (const key of keys)
        log.group(key).append(makeEntries(2 * i + 1, 2 * i + 2, 1 + i, 30), { term: 1 + i, vote: key.replica, commit: i }, undefined)
      await world.append(log.group(keys[i % 3] as GroupKey), [], undefined)
    }
    log.group(keys[0] as GroupKey).truncateTo(1, 1)
    await world.append(log.group(keys[1] as GroupKey), makeEntries(11, 12, 9, 50), { term: 9, vote: 0, commit: 7 })
    // No close: the idle log's mark alone must cover what was acknowledged.
    await world.world.runFor(100)
    world.restart()
    const again = await world.open(options)
    expect(again.damage).toEqual([])
    whole = await describeGroups(world, again)
    await world.world.settle(again.close())
  })

  it('a flipped bit in any region is reported with the right scope, and costs no other group anything', async () => {
    const files = world.files()
    expect(files.length).toBeGreaterThan(2)
    let points = 0
    const wrong: string[] = []
    for (const file of files) {
      const original = world.disk.bytesOf(file)
      const all = regions(original)
      // The last batch is the mark itself: nothing is behind it, so its loss is a torn tail, and no loss.
      const guarded = file === files.at(-1) ? all.slice(0, -1) : all
      for (const region of guarded) {
        // Every byte of the headers, every third of the bodies.
        for (let at = region.from; at < region.to; at += region.group === 0 ? 1 : 3) {
          points++
          world.disk.flip(file, at, 1 << (at % 8))
          const what = await tryOpen(file, region)
          if (what !== undefined) wrong.push(`${file} at ${at}: ${what}`)
          world.disk.flip(file, at, 1 << (at % 8))
        }
      }
    }
    console.log(`bit flips before the durable end: points tried ${points}, silent or wrong ${wrong.length}`)
    expect(wrong.slice(0, 5)).toEqual([])
  })

  async function tryOpen(file: string, region: Region): Promise<string | undefined> {
    world.process = world.process.alive ? world.process : world.process.restart()
    const log = await world.open(options)
    const found = log.damage
    const group = keys[region.group - 1]
    let what: string | undefined
    if (found.length === 0) what = 'not reported'
    else if (found[0]?.file !== file) what = `reported in ${found[0]?.file}`
    else if (region.group === 0 && found[0]?.group !== undefined) what = 'header damage reported for one group only'
    else if ((region.group > 0 && found.length !== 1) || found[0]?.group?.uid !== group?.uid) what = JSON.stringify(found)
    else if (region.group > 0) {
      if (!log.group(group as GroupKey).damaged) what = 'the group is not marked'
      const others = (await describeGroups(world, log)).filter((line) => !line.startsWith(`${group?.uid}/`))
      const expected = whole.filter((line) => !line.startsWith(`${group?.uid}/`))
      if (JSON.stringify(others) !== JSON.stringify(expected)) what = `other groups changed: ${others.join('\n')}`
    }
    // Nothing of this start may stay on the disk: neither a mark nor a cut.
    world.process.kill()
    return what
  }

  it('a flipped bit in the last mark is a torn tail that costs nothing', async () => {
    const file = world.files().at(-1) as string
    const last = regions(world.disk.bytesOf(file)).at(-1) as Region
    world.disk.flip(file, last.from + 20)
    world.process = world.process.alive ? world.process : world.process.restart()
    const log = await world.open(options)
    expect(log.damage).toEqual([])
    expect(await describeGroups(world, log)).toEqual(whole)
    await world.world.settle(log.close())
    world.restart()
    const again = await world.open(options)
    expect(await describeGroups(world, again)).toEqual(whole)
    await world.world.settle(again.close())
    world.restart()
  })

  it('a damaged group takes no appends, the others go on, and the damage is remembered when its segment is freed', async () => {
    const [first, second, third] = keys as [GroupKey, GroupKey, GroupKey]
    const file = world.files()[0] as string
    const body = regions(world.disk.bytesOf(file)).find((region) => region.group === 2 && region.to - region.from > 60) as Region
    world.disk.flip(file, body.from)
    let log = await world.open(options)
    expect(log.damage).toMatchObject([{ group: second, file, what: 'damaged record body (group 2)' }])
    expect(() => log.group(second).append(makeEntries(1, 1, 9, 1), undefined, undefined)).toThrow('damaged')
    for (const key of [first, third]) {
      await world.append(log.group(key), makeEntries(13, 40, 9, 100), undefined)
      log.group(key).truncateTo(40, 9)
    }
    await world.world.settle(log.reclaim())
    expect(world.files()).not.toContain(file)
    await world.world.settle(log.close())
    world.restart()
    log = await world.open(options)
    expect(log.damage).toMatchObject([{ group: second, what: 'group 2 was damaged before' }])
    log.group(second).remove()
    await world.world.settle(log.close())
    world.restart()
    log = await world.open(options)
    expect(log.damage).toEqual([])
    expect(log.groups()).toEqual([first, third])
  })
})

describe('an entry that is damaged since the start', () => {
  const [damaged, whole] = [keys[0] as GroupKey, keys[1] as GroupKey]

  /** Entries of two groups that lie on the disk alone, of which one is not what was written. */
  async function setUp(takesDamage: boolean) {
    const world = new LogWorld(9)
    const told: { key: GroupKey; error: CorruptionError }[] = []
    const onDamage = takesDamage ? (key: GroupKey, error: CorruptionError) => told.push({ key, error }) : undefined
    const log = await world.open({ segmentBytes: 20_000, cacheBytes: 500, onDamage })
    await world.append(log.group(damaged), makeEntries(1, 1, 1, 2000))
    await world.append(log.group(whole), makeEntries(1, 20, 1, 400))
    await world.append(log.group(damaged), makeEntries(2, 6, 1, 100))
    const file = must(world.files()[0], 'a segment')
    const region = must(
      regions(world.disk.bytesOf(file)).find(({ from, to }) => to - from > 2000),
      'the entries',
    )
    world.disk.flip(file, region.to - 100)
    return { world, log, told }
  }

  it('is told of its group whenever it is read, and the others go on', async () => {
    const { world, log, told } = await setUp(true)
    await expect(world.world.settle(log.group(damaged).load(1, 2, 1000))).rejects.toThrow(CorruptionError)
    expect(log.group(damaged).entries(1, 2, 1000)).toBeUndefined()
    await world.world.runFor(10)
    expect(told.length).toBeGreaterThan(1)
    expect(new Set(told.map(({ key }) => key))).toEqual(new Set([damaged]))
    await world.append(log.group(whole), makeEntries(21, 21, 1, 400))
    expect(await world.world.settle(log.group(whole).load(1, 3, 1000))).toHaveLength(2)
    expect(world.failures).toEqual([])
    await world.world.settle(log.close())
  })

  it('holds its segment back when that is to be freed, until the log that it is of is removed', async () => {
    const { world, log, told } = await setUp(true)
    await world.append(log.group(whole), makeEntries(21, 60, 1, 400))
    log.group(whole).truncateTo(60, 1)
    const [oldest] = world.files()
    await world.world.settle(log.reclaim())
    expect(told.map(({ key }) => key)).toEqual([damaged])
    expect(world.files()).toContain(oldest)
    await world.world.settle(new Promise<void>((resolve) => log.group(damaged).remove(resolve)))
    await world.world.settle(log.reclaim())
    expect(world.files()).not.toContain(oldest)
    expect(world.failures).toEqual([])
    await world.world.settle(log.close())
  })

  it('ends the log of a process that retires none', async () => {
    const { world, log } = await setUp(false)
    await expect(world.world.settle(log.group(damaged).load(1, 2, 1000))).rejects.toThrow(CorruptionError)
    expect(world.failures).toEqual([expect.any(CorruptionError)])
  })
})

it('damage in a segment that is freed at once, since nobody else needs it, is still known at the next start', async () => {
  const [first, second] = keys as [GroupKey, GroupKey, GroupKey]
  const world = new LogWorld(11)
  let log = await world.open(options)
  await world.append(log.group(second), [], { term: 3, vote: 4, commit: 0 })
  const file = world.files()[0] as string
  const body = regions(world.disk.bytesOf(file)).findLast((region) => region.group > 0) as Region
  await world.append(log.group(first), makeEntries(1, 5, 1, 200), undefined)
  await world.append(log.group(first), makeEntries(6, 10, 1, 200), undefined)
  expect(world.files()).toHaveLength(2)
  await world.world.runFor(100)
  // Only the mark keeps the first segment: it is freed at the next start.
  log.group(first).append(makeEntries(1, 1, 2, 10), undefined, undefined)
  world.disk.inject = ({ kind }) => (kind === 'unlink' ? 'crash' : undefined)
  await world.world.runUntil(() => !world.process.alive)
  world.disk.inject = undefined
  world.process = world.process.restart()
  if (!world.files().includes(file)) throw new Error('the segment went with the crash: choose another seed')
  world.disk.flip(file, body.from)
  log = await world.open(options)
  expect(log.damage).toMatchObject([{ group: second, file }])
  await world.world.runFor(100)
  expect(world.files()).not.toContain(file)
  world.restart()
  log = await world.open(options)
  expect(log.damage).toMatchObject([{ group: second, what: 'group 1 was damaged before' }])
})

describe('files of the log that are gone or cut', () => {
  async function built(): Promise<LogWorld> {
    const world = new LogWorld(3)
    const log = await world.open(options)
    for (let i = 1; i <= 12; i++)
      await world.append(log.group(keys[i % 2] as GroupKey), makeEntries(Math.ceil(i / 2), Math.ceil(i / 2), 1, 300))
    await world.world.settle(log.close())
    world.restart()
    expect(world.files().length).toBeGreaterThan(3)
    return world
  }

  it('a missing oldest segment is damage of the groups that need it', async () => {
    const world = await built()
    world.disk.unlink(world.files()[0] as string)
    const log = await world.open(options)
    expect(log.damage.map((damage) => damage.group?.uid).sort()).toEqual(['g1@1', 'g2@1'])
    expect(log.damage[0]?.what).toContain('is in no segment')
  })

  it('a missing middle segment is damage of every replica, and nothing is touched', async () => {
    const world = await built()
    world.disk.unlink(world.files()[1] as string)
    const before = world.files().map((file) => world.disk.bytesOf(file))
    const log = await world.open(options)
    expect(log.damage).toMatchObject([{ group: undefined, what: 'segment 2 is missing' }])
    expect(() => log.group({ uid: 'new@9', replica: 1 })).toThrow('damaged')
    expect(() => log.group(keys[0] as GroupKey).append([], undefined, () => {})).toThrow('damaged')
    await world.world.settle(log.close())
    expect(world.files().map((file) => world.disk.bytesOf(file))).toEqual(before)
  })

  it('an older segment that is cut, anywhere, is damage of every replica', async () => {
    const world = await built()
    const file = world.files()[1] as string
    const whole = world.disk.bytesOf(file).length
    for (const length of [whole - 1, whole - 8, whole - 300, 70, 64, 63, 0]) {
      world.disk.cut(file, length)
      const log = await world.open(options)
      expect(log.damage).toMatchObject([{ group: undefined, file }])
      world.restart()
    }
  })
})

describe('torn tails', () => {
  it('the last batch cut at every byte, zeroed from every byte or flipped in any is dropped whole, and appending goes on', async () => {
    const changes = { cut: 0, zeroed: 0, flipped: 0 }
    for (const change of ['cut', 'zeroed', 'flipped'] as const) {
      for (let at = 0; ; at += change === 'cut' ? 1 : 2) {
        const world = new LogWorld(5)
        let log = await world.open()
        for (const key of keys) await world.append(log.group(key), makeEntries(1, 2, 1, 20), { term: 1, vote: 1, commit: 0 })
        const before = await describeGroups(world, log)
        for (const key of keys) log.group(key).append(makeEntries(2, 3, 2, 10), { term: 2, vote: 2, commit: 1 }, undefined)
        const start = world.disk.bytesOf(world.files()[0] as string).length
        await world.append(log.group(keys[0] as GroupKey), [])
        world.restart()
        const file = world.files()[0] as string
        const bytes = world.disk.bytesOf(file)
        if (start + at >= bytes.length) break
        changes[change]++
        if (change === 'cut') world.disk.cut(file, start + at)
        else if (change === 'flipped') world.disk.flip(file, start + at, 16)
        else for (let i = start + at; i < bytes.length; i++) world.disk.flip(file, i, bytes[i] as number)
        const unchanged = change === 'zeroed' && bytes.subarray(start + at).every((byte) => byte === 0)
        log = await world.open()
        expect(log.damage).toEqual([])
        if (unchanged) continue
        expect(world.disk.bytesOf(file)).toHaveLength(start)
        expect(await describeGroups(world, log)).toEqual(before)
        await world.append(log.group(keys[0] as GroupKey), makeEntries(3, 3, 5, 10))
        const after = await describeGroups(world, log)
        world.process.powerLoss()
        world.process = world.process.restart()
        log = await world.open()
        expect(log.damage).toEqual([])
        expect(await describeGroups(world, log)).toEqual(after)
      }
    }
    console.log(`torn tails: points tried ${changes.cut + changes.zeroed + changes.flipped}, each dropped whole`)
    expect(changes.cut).toBeGreaterThan(200)
  })
})

it('a start guards what it recovered with a mark, though nothing is appended', async () => {
  const world = new LogWorld(4)
  const key = keys[0] as GroupKey
  let log = await world.open()
  await world.append(log.group(key), makeEntries(1, 3, 1, 50))
  world.restart()
  log = await world.open()
  await world.world.runFor(100)
  expect(log.stats()).toMatchObject({ batches: 1, marks: 1 })
  world.restart()
  const file = world.files()[0] as string
  const body = regions(world.disk.bytesOf(file)).findLast((region) => region.group > 0) as Region
  world.disk.flip(file, body.to - 1)
  log = await world.open()
  expect(log.damage).toMatchObject([{ file, group: key }])
})

describe('what is written again behind the durable end', () => {
  const [first, second] = keys as [GroupKey, GroupKey, GroupKey]

  /** A start after a kill, with a last batch of two groups that no mark covers; each second read of the byte that `place` gives has a bit flipped. */
  async function startWithBadReads(place: (last: readonly Region[]) => Region | undefined) {
    const world = new LogWorld(6)
    let log = await world.open()
    await world.append(log.group(first), makeEntries(1, 2, 1, 50))
    await world.append(log.group(second), makeEntries(1, 2, 1, 50))
    log.group(first).append(makeEntries(3, 3, 1, 300_000), undefined, undefined)
    await world.append(log.group(second), makeEntries(3, 3, 1, 70))
    world.restart()
    const file = world.files()[0] as string
    const all = regions(world.disk.bytesOf(file))
    const last = all.slice(all.findLastIndex(({ from, to, group }) => group === 0 && to - from === batchHeaderBytes))
    const bad = place(last)
    const before = world.disk.bytesOf(file)
    const from = world.disk.trace.length
    log = await world.open({ fileSystem: flippingFileSystem(world, bad?.from) })
    const writes = world.disk.trace.slice(from).filter((line) => line.startsWith('write '))
    expect(Buffer.compare(world.disk.bytesOf(file), before), 'the bytes on the disk').toBe(0)
    return { log, file, last, bad, writes }
  }

  function flippingFileSystem(world: LogWorld, at: number | undefined): FileSystem {
    const { fileSystem } = world.process
    let reads = 0
    const open = async (...args: Parameters<FileSystem['open']>): Promise<File> => {
      const file = await fileSystem.open(...args)
      const read = async (target: Uint8Array, position: number): Promise<number> => {
        const count = await file.read(target, position)
        if (at !== undefined && position <= at && at < position + count && ++reads > 1)
          target[at - position] = (target[at - position] as number) ^ 4
        return count
      }
      return new Proxy(file, {
        get: (target, name) => {
          if (name === 'read') return read
          const value: unknown = Reflect.get(target, name, target)
          return typeof value === 'function' ? value.bind(target) : value
        },
      })
    }
    return new Proxy(fileSystem, {
      get: (target, name) => {
        if (name === 'open') return open
        const value: unknown = Reflect.get(target, name, target)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
  }

  it('is all of it, records that are longer than a piece too', async () => {
    const { log, last, writes } = await startWithBadReads(() => undefined)
    expect(log.damage).toEqual([])
    const written = writes.map((line) => /(\d+)\+(\d+)$/.exec(line)?.slice(1).map(Number) as [number, number])
    let end = last[0]?.from
    for (const [offset, length] of written) {
      expect(offset).toBe(end)
      end = offset + length
    }
    expect(end).toBe(last.at(-1)?.to)
  })

  it.each([
    [first, 1],
    [second, 2],
  ])('and reads otherwise than it was scanned, in a record of %o: is damage of that group, and good bytes stay', async (key, group) => {
    const { log, file, bad } = await startWithBadReads((last) => last.find((region) => region.group === group && region.to > region.from))
    const record = (bad?.from ?? 0) - recordHeaderBytes
    expect(log.damage).toMatchObject([{ group: key, file, offset: record, what: `damaged record body (group ${group})`, isNewer: false }])
    expect(log.group(key).damaged).toBe(true)
    expect(log.group(key === first ? second : first)).toMatchObject({ damaged: false, lastIndex: 3 })
  })

  it.each([
    ["the batch's header", 0],
    ["a record's header", 1],
  ])('and reads otherwise than it was scanned, in %s: is damage of every replica, and good bytes stay', async (_, which) => {
    const { log, file, bad } = await startWithBadReads((last) => last.filter(({ group }) => group === 0)[which])
    expect(log.damage).toMatchObject([{ group: undefined, file, offset: bad?.from, isNewer: false }])
    expect(() => log.group({ uid: 'new@9', replica: 1 })).toThrow('damaged')
  })
})

it('a whole record of another batch in the place of one that is written again is damage of every replica', async () => {
  const world = new LogWorld(6)
  const key = keys[0] as GroupKey
  const log = await world.open()
  await world.append(log.group(key), makeEntries(1, 1, 1, 48))
  await world.append(log.group(key), makeEntries(2, 2, 1, 48))
  world.restart()
  const { fileSystem } = world.process
  const path = world.files()[0] as string
  const bytes = world.disk.bytesOf(path)
  const records = regions(bytes).filter(({ group, from, to }) => group === 0 && to - from === recordHeaderBytes)
  const [earlier, last] = records.slice(-2).map(({ from }) => from) as [number, number]
  const from = regions(bytes).findLast(({ group, from, to }) => group === 0 && to - from === batchHeaderBytes)?.from as number
  bytes.copyWithin(last, earlier, earlier + bytes.length - last)
  const file = await world.world.settle(fileSystem.open(path, 'write'))
  const misread: File = {
    path,
    read: async (target, position) => {
      target.set(bytes.subarray(position, position + target.length))
      return target.length
    },
    readNow: (target, position) => file.readNow(target, position),
    readSync: (target, position) => file.readSync(target, position),
    write: (chunks, position) => file.write(chunks, position),
    sync: () => file.sync(),
    truncate: (length) => file.truncate(length),
    size: () => file.size(),
    close: () => file.close(),
  }
  const segment = new Segments().add(1, path, misread, bytes.length)
  const bad = await world.world.settle(new BatchRewriter(segment, from, bytes.length).run())
  expect(bad).toEqual([{ group: undefined, offset: last, what: 'records that are not of this batch' }])
})

describe('a restated state', () => {
  const key = keys[0] as GroupKey

  /** Two segments with whole checksums, the second of which was changed by `lie` before its records were laid out. */
  async function twoSegments(lie: (state: StateBody) => StateBody): Promise<LogWorld> {
    const world = new LogWorld(8)
    const log = await world.open(options)
    await world.append(log.group(key), makeEntries(1, 4, 2, 200), { term: 2, vote: 1, commit: 1 })
    log.group(key).truncateTo(1, 2)
    await world.append(log.group(key), makeEntries(5, 8, 2, 200), { term: 3, vote: 2, commit: 4 })
    await world.world.runFor(100)
    await world.world.settle(log.close())
    world.restart()
    expect(world.files()).toHaveLength(2)
    relay(world, world.files()[1] as string, lie)
    return world
  }

  /** Writes a segment's first `state` record anew, with right checksums. */
  function relay(world: LogWorld, file: string, lie: (state: StateBody) => StateBody): void {
    const bytes = world.disk.bytesOf(file)
    const header = readBatchHeader(bytes, 0)
    if (header === undefined) throw new Error('no batch')
    const checksums = new Uint8Array(4 * header.records)
    let at = batchHeaderBytes
    for (let i = 0; i < header.records; i++) {
      const record = readRecordHeader(bytes, at)
      if (record === undefined) throw new Error('no record')
      let { checksum } = record
      if (record.kind === RecordKind.state) {
        const body = stateBody(lie(readStateBody(bytes.subarray(at + recordHeaderBytes, at + recordHeaderBytes + record.bodyLength))))
        expect(body).toHaveLength(record.bodyLength)
        bytes.set(body, at + recordHeaderBytes)
        checksum = writeRecordHeader(bytes.subarray(at), { ...record, bodyChecksum: crc32(body) })
      }
      writeU32(checksums, 4 * i, checksum)
      at += recordHeaderBytes + record.bodyLength
    }
    writeBatchHeader(bytes, { ...header, recordsChecksum: crc32(checksums) })
    const before = world.disk.bytesOf(file)
    for (let i = 0; i < bytes.length; i++) {
      const change = (before[i] as number) ^ (bytes[i] as number)
      if (change !== 0) world.disk.flip(file, i, change)
    }
  }

  it('that says what the records before it lead to is taken', async () => {
    const world = await twoSegments((state) => state)
    expect((await world.open(options)).damage).toEqual([])
  })

  it.each([
    ['truncated index', (state: StateBody) => ({ ...state, truncatedIndex: state.truncatedIndex + 1 })],
    ['truncated term', (state: StateBody) => ({ ...state, truncatedTerm: state.truncatedTerm + 1 })],
    ['last index', (state: StateBody) => ({ ...state, lastIndex: state.lastIndex + 1 })],
    ['term', (state: StateBody) => ({ ...state, hardState: { ...state.hardState, term: state.hardState.term + 1 } })],
    ['vote', (state: StateBody) => ({ ...state, hardState: { ...state.hardState, vote: state.hardState.vote + 1 } })],
    ['commit', (state: StateBody) => ({ ...state, hardState: { ...state.hardState, commit: state.hardState.commit + 1 } })],
  ])('that says another %s is damage of that group', async (field, lie) => {
    const world = await twoSegments(lie)
    const log = await world.open(options)
    expect(log.damage).toMatchObject([{ group: key, file: world.files()[1] }])
    expect(log.damage[0]?.what).toContain(`do not lead to this state: ${field} `)
    expect(log.group(key).damaged).toBe(true)
  })
})
