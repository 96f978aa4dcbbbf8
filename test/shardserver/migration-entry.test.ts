import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { writeU32 } from '../../base/bytes.ts'
import { CorruptionError } from '../../base/errors.ts'
import { SeededRandom } from '../../base/random.ts'
import { chainDelta, continues, decodeDelta, deltaKey, encodeDelta, indexOfDelta } from '../../shardserver/delta.ts'
import { decodeEntry, EntryCode, encodeMigration, encodeRebirth, entryHeaderBytes, UnknownEntryError } from '../../shardserver/entry.ts'
import { decodeExportList, encodeExportList, runsOf } from '../../shardserver/export-list.ts'
import type { MigrationStep } from '../../shardserver/migration-entry.ts'
import { RecordDigest } from '../../shardserver/record-digest.ts'

const names = { id: 300, shards: [1, 2, 16_383] }
const deltas = names.shards.map((shard) => ({
  shard,
  records: [{ index: 2 ** 40, timeMs: 5, writes: new Uint8Array([1, 2]) }],
  count: 9,
  checksum: 2 ** 32 - 1,
  revision: 4,
  timeMs: 2 ** 45,
}))
const steps: readonly MigrationStep[] = [
  { kind: 'import', ...names, attempt: 2, from: 'g1@12' },
  { kind: 'export', ...names, attempt: 2 },
  { kind: 'ingest', ...names, attempt: 2, cut: 2 ** 40, digest: new Uint8Array(16).fill(7) },
  { kind: 'replay', ...names, after: 0, upTo: 2 ** 40, deltas },
  { kind: 'release', ...names },
  { kind: 'activate', ...names, after: 3, upTo: 3, deltas, epochs: [1, 2, 3] },
  { kind: 'refuse', ...names },
  { kind: 'outcome', ...names, outcome: 'aborted', epochs: [] },
  { kind: 'outcome', ...names, outcome: 'given-back', epochs: [7, 8, 9] },
  { kind: 'outcome', ...names, outcome: 'done', epochs: [] },
]

describe('the entries of moving shards', () => {
  it.each(steps.map((step) => [step.kind, step] as const))('come back as they were written: %s', (_kind, step) => {
    const decoded = decodeEntry(encodeMigration(17.5, step), 4)
    expect(JSON.parse(JSON.stringify(decoded))).toEqual(JSON.parse(JSON.stringify({ ...step, timeMs: 17 })))
  })

  it('begin at kind 16 and go up in the order of their table', () => {
    const kinds = steps.map((step) => encodeMigration(0, step)[1])
    expect(kinds).toEqual([16, 17, 18, 19, 20, 21, 22, 23, 23, 23])
    expect(decodeEntry(encodeRebirth(3, 16_383, 9), 1)).toEqual({ kind: 'rebirth', timeMs: 3, shard: 16_383, epoch: 9 })
  })

  it('are refused where they are cut short, longer than they should be, or not what they say', () => {
    for (const step of [...steps.map((each) => encodeMigration(1, each)), encodeRebirth(1, 2, 3)]) {
      for (let length = 0; length < step.length; length++) expect(() => decodeEntry(step.subarray(0, length), 1)).toThrow(UnknownEntryError)
      expect(() => decodeEntry(new Uint8Array([...step, 0]), 1)).toThrow(UnknownEntryError)
    }
    const release = (...body: number[]) => {
      const header = encodeMigration(1, { kind: 'release', id: 1, shards: [1] }).subarray(0, entryHeaderBytes)
      return () => decodeEntry(new Uint8Array([...header, ...body]), 1)
    }
    expect(release(1, 1, 5)()).toMatchObject({ kind: 'release', id: 1, shards: [5] })
    expect(release(1, 0)).toThrow('0 shards')
    expect(release(1, 2, 2, 1)).toThrow('out of order')
    expect(release(1, 1, 0x80, 0x80, 1)).toThrow('out of order')
    expect(release(0, 1, 1)).toThrow('count from 1')
  })

  it('are not made where no replica could read them: such an entry would stop the group', () => {
    const none = { kind: 'release', id: 1, shards: [] } as const
    expect(() => encodeMigration(1, none)).toThrow('0 shards')
    expect(() => encodeMigration(1, { ...none, shards: [2, 1] })).toThrow('out of order')
    expect(() => encodeMigration(1, { ...none, shards: [16_384] })).toThrow('out of order')
    expect(() => encodeMigration(1, { ...none, id: 0, shards: [1] })).toThrow('count from 1')
    expect(() => encodeMigration(1, { kind: 'replay', ...names, after: 1, upTo: 2, deltas: [] })).toThrow(RangeError)
    const swapped = [...deltas].reverse()
    expect(() => encodeMigration(1, { kind: 'replay', ...names, after: 1, upTo: 2, deltas: swapped })).toThrow('in the place of')
    expect(() => encodeMigration(1, { kind: 'activate', ...names, after: 1, upTo: 2, deltas, epochs: [] })).toThrow(RangeError)
  })

  it('never make the decoder fail in any other way, whatever their bytes (seed 3)', () => {
    const random = new SeededRandom(3)
    let decoded = 0
    for (let i = 0; i < 4000; i++) {
      const bytes = encodeMigration(1, steps[random.below(steps.length)] as MigrationStep)
      for (let n = random.below(3); n >= 0; n--) bytes[EntryCode.Birth + random.below(bytes.length - 2)] = random.below(256)
      try {
        decodeEntry(bytes, 1)
        decoded++
      } catch (error) {
        expect(error).toBeInstanceOf(UnknownEntryError)
      }
    }
    expect(decoded).toBeGreaterThan(100)
    expect(decoded).toBeLessThan(4000)
  })
})

describe('the delta', () => {
  const record = { index: 41, timeMs: 7, writes: new Uint8Array([9]) }

  it('is kept by index, in the order of the indexes', () => {
    const keys = [1, 255, 256, 2 ** 33].map((index) => Buffer.from(deltaKey(3, index)))
    expect([...keys].sort(Buffer.compare)).toEqual(keys)
    expect(keys.map(indexOfDelta)).toEqual([1, 255, 256, 2 ** 33])
    const stored = { cost: 1, count: 2, checksum: 2 ** 32 - 1, record }
    expect(decodeDelta(encodeDelta(stored))).toMatchObject({ cost: 1, count: 2, checksum: 2 ** 32 - 1, record: { index: 41, timeMs: 7 } })
    expect(() => decodeDelta(new Uint8Array([9, 9]))).toThrow(CorruptionError)
  })

  it('goes on without a gap: count, checksum and rising indexes', () => {
    const from = { count: 3, checksum: 12 }
    const good = { shard: 1, records: [record], count: 4, checksum: chainDelta(12, record) }
    expect(continues(good, from, 40, 41)).toBe(true)
    expect(continues(good, from, 41, 50)).toBe(false)
    expect(continues(good, from, 30, 40)).toBe(false)
    expect(continues({ ...good, count: 5 }, from, 40, 41)).toBe(false)
    expect(continues(good, { ...from, checksum: 13 }, 40, 41)).toBe(false)
    expect(continues({ ...good, records: [{ ...record, timeMs: 8 }] }, from, 40, 41)).toBe(false)
    expect(continues({ ...good, records: [record, record] }, from, 40, 41)).toBe(false)
  })
})

describe('the list of an export', () => {
  const list = {
    id: 300,
    attempt: 2,
    cut: 2 ** 40,
    shards: [1, 2],
    digest: new Uint8Array(16).fill(3),
    records: 7,
    files: [
      { name: '000001.sst', size: 2 ** 33, checksum: 2 ** 32 - 1, run: 0 },
      { name: '000002.sst', size: 1, checksum: 0, run: 0 },
      { name: 'states.sst', size: 1, checksum: 1, run: 1 },
    ],
  }

  it('comes back as it was written', () => {
    expect(decodeExportList(encodeExportList(list), 'LIST')).toEqual(list)
    expect(runsOf(list)).toEqual([['000001.sst', '000002.sst'], ['states.sst']])
  })

  it('is refused where any bit of it is another', () => {
    const bytes = encodeExportList(list)
    for (let bit = 0; bit < 8 * bytes.length; bit++) {
      const damaged = bytes.slice()
      damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7))
      expect(() => decodeExportList(damaged, 'LIST')).toThrow(CorruptionError)
    }
    expect(() => decodeExportList(new Uint8Array(0), 'LIST')).toThrow(CorruptionError)
  })

  it.each([[[1]], [[0, 2]], [[0, 1, 0]]])('is refused where its files are not in the order of their runs: %s', (runs) => {
    const files = runs.map((run) => ({ name: 'x.sst', size: 1, checksum: 1, run }))
    expect(() => decodeExportList(encodeExportList({ ...list, files }), 'LIST')).toThrow('runs out of order')
  })

  it('has a digest that knows records, not their order', () => {
    const digestOf = (...rows: readonly (readonly [number, number])[]) => {
      const digest = new RecordDigest()
      for (const [key, value] of rows) digest.add(new Uint8Array([key]), new Uint8Array([value]))
      return [...digest.value(), digest.records]
    }
    expect(digestOf([1, 2], [3, 4], [5, 6])).toEqual(digestOf([5, 6], [1, 2], [3, 4]))
    expect(digestOf([1, 2], [3, 4])).not.toEqual(digestOf([1, 4], [3, 2]))
    expect(digestOf([1, 2], [1, 2])).not.toEqual(digestOf([1, 2]))
  })

  it.each([0, 1, 65_519, 65_520, 200_000])('has a digest of SHA-256 over lengths, key and value: a value of %i bytes', (size) => {
    const [key, value] = [new Uint8Array(8).fill(5), new Uint8Array(size).fill(6)]
    const digest = new RecordDigest()
    digest.add(key, value)
    const lengths = new Uint8Array(8)
    writeU32(lengths, 0, key.length)
    writeU32(lengths, 4, value.length)
    const whole = createHash('sha256').update(lengths).update(key).update(value).digest()
    expect(digest.value()).toEqual(new Uint8Array(whole.subarray(0, 16)))
  })
})
