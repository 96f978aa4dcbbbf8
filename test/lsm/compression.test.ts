import { describe, expect, it } from 'vitest'
import { copyBytes, writeU32, writeVarint } from '../../base/bytes.ts'
import { deflate } from '../../base/deflate.ts'
import { CorruptionError, NewerFormatError } from '../../base/errors.ts'
import { type FileSystem, readFile } from '../../base/file-system.ts'
import { MemoryFileSystem } from '../../base/memory-file-system.ts'
import { SeededRandom } from '../../base/random.ts'
import { BlockCache } from '../../lsm/block-cache.ts'
import { bloomHash } from '../../lsm/bloom.ts'
import {
  type Compression,
  compress,
  compressionNumber,
  compressions,
  decompress,
  maxCompressedPayloadBytes,
} from '../../lsm/compression.ts'
import {
  compressionOf,
  type Damage,
  type Database,
  readTables,
  TableInspection,
  verifyDatabase,
  verifyTable,
  WriteBatch,
  writeTable,
} from '../../lsm/index.ts'
import { blockChecksum, blockTrailerBytes, decodeFooter, footerBytes } from '../../lsm/table-format.ts'
import { TableReader } from '../../lsm/table-reader.ts'
import { type Environment, onNode, onSimulator, openDatabase } from './environment.ts'
import { bytes, scan, text } from './model.ts'

const codecs = compressions.filter((name) => name !== 'none')
const path = 'data/t.sst'

/** `count` records of 100 bytes; those of `isRandom` cannot be made smaller. */
function records(random: SeededRandom, count: number, isRandom: (i: number) => boolean): { key: Uint8Array; value: Uint8Array }[] {
  return Array.from({ length: count }, (_, i) => ({
    key: bytes(`key${String(i).padStart(4, '0')}`),
    value: isRandom(i) ? noise(random, 100) : bytes(`value ${i % 7} `.repeat(12).slice(0, 100)),
  }))
}

function noise(random: SeededRandom, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random.below(256))
}

async function makeTable(compression: Compression, isRandom: (i: number) => boolean, seed = 1): Promise<MemoryFileSystem> {
  const fileSystem = new MemoryFileSystem()
  await fileSystem.makeFolder('data')
  const entries = records(new SeededRandom(seed), 200, isRandom)
  await writeTable(fileSystem, path, entries, { blockBytes: 500, bloomBitsPerKey: 10, compression })
  return fileSystem
}

async function damagesOf(fileSystem: FileSystem): Promise<Damage[]> {
  const damages: Damage[] = []
  await verifyTable(fileSystem, path, { onDamage: (damage) => damages.push(damage) })
  return damages
}

/** What `inspect` shows of each block. */
async function compressionsIn(fileSystem: FileSystem, table = path): Promise<string[]> {
  const inspection = await TableInspection.open(fileSystem, table, (damage) => {
    throw new Error(damage.what)
  })
  const names: string[] = []
  for (let i = 0; i < (inspection.index?.length ?? 0); i++) names.push(compressionOf((await inspection.rawBlock(i)) as Uint8Array))
  await inspection.close()
  return names
}

async function replace(fileSystem: FileSystem, content: Uint8Array): Promise<void> {
  const file = await fileSystem.open(path, 'write')
  await file.write([content], 0)
  await file.close()
}

/** What each way of reading says: whole walk, by key with a cache, at once, verify. */
async function errorsOf(fileSystem: FileSystem, key: string): Promise<unknown[]> {
  const errors: unknown[] = []
  const caught = (error: unknown) => errors.push(error)
  await readTables(fileSystem, [[path]], () => undefined).catch(caught)
  const reader = await TableReader.open(fileSystem, path, new BlockCache(1e6), undefined)
  const hash = bloomHash(bytes(key), 0, key.length)
  try {
    await reader.get(bytes(key), hash)
  } catch (error) {
    caught(error)
  }
  try {
    reader.getSync(bytes(key), hash)
  } catch (error) {
    caught(error)
  }
  await reader.close()
  return errors
}

/** Puts `stored` in the place of the first block, which is as long, behind a right checksum. */
function forgeFirstBlock(content: Uint8Array, length: number, stored: Uint8Array, compression: number): void {
  content.fill(0, 0, length)
  content.set(stored.subarray(0, length))
  content[length] = compression
  writeU32(content, length + 1, blockChecksum(content.subarray(0, length + 1), 0))
}

async function firstLength(fileSystem: FileSystem): Promise<number> {
  const reader = await TableReader.open(fileSystem, path, undefined, undefined)
  const length = reader.blockLength(0)
  await reader.close()
  return length
}

describe('the registry', () => {
  it('has numbers that never change, and refuses other names', () => {
    expect(compressions.map(compressionNumber)).toEqual([0, 1, 2])
    expect(() => compressionNumber('lz4')).toThrow('compression must be one of none, deflate, snappy, not lz4')
    expect(() => compressionNumber(1)).toThrow(RangeError)
  })

  // What these releases wrote must be read for ever: the bytes of 'abab…', 64 of them.
  it.each([
    ['deflate', '404b4c4aa4080200'],
    ['snappy', '4040046162f60200'],
  ] as const)('reads what was written once by %s', (name, hex) => {
    const payload = decompress(compressionNumber(name), Uint8Array.from(Buffer.from(hex, 'hex')), 'F', 0)
    expect(text(payload)).toBe('ab'.repeat(32))
  })

  it.each(codecs)('%s: gives back what saves an eighth, and leaves the rest as it is (seed 3)', (name) => {
    const number = compressionNumber(name)
    const random = new SeededRandom(3)
    let compressed = 0
    for (let i = 0; i < 300; i++) {
      const length = random.below(i % 10 === 0 ? 60_000 : 5000)
      const noisy = random.below(length + 1)
      const payload = Uint8Array.from({ length }, (_, at) => (at < noisy ? random.below(256) : at % 11))
      const stored = compress(number, payload)
      if (stored === undefined) continue
      compressed++
      expect(stored.length, `length ${length}, noise ${noisy}`).toBeLessThanOrEqual((length * 7) / 8)
      expect(Buffer.compare(decompress(number, stored, 'F', 0), payload), `length ${length}, noise ${noisy}`).toBe(0)
    }
    expect(compressed).toBeGreaterThan(100)
    expect(compressed).toBeLessThan(300)
    expect(compress(number, noise(random, 4096))).toBeUndefined()
    expect(compress(number, new Uint8Array(0))).toBeUndefined()
    expect(compress(compressionNumber('none'), new Uint8Array(4096))).toBeUndefined()
  })

  it.each(codecs)('%s: refuses every cut, every other length, a claim above the bound', (name) => {
    const number = compressionNumber(name)
    const payload = bytes('all work and no play '.repeat(50))
    const stored = compress(number, payload) as Uint8Array
    const head = writeVarint(new Uint8Array(10), 0, payload.length)
    const refusal = (of: Uint8Array) => {
      try {
        decompress(number, of, 'F', 8)
      } catch (error) {
        return error
      }
      return undefined
    }
    for (let length = 0; length < stored.length; length++)
      expect(refusal(stored.subarray(0, length)), `${length}`).toBeInstanceOf(CorruptionError)
    for (const claimed of [0, 1, payload.length - 1, payload.length + 1, 2 * payload.length, maxCompressedPayloadBytes, 2 ** 31, 2 ** 52]) {
      const forged = new Uint8Array(20 + stored.length)
      const end = writeVarint(forged, 0, claimed)
      forged.set(stored.subarray(head), end)
      const error = refusal(forged.subarray(0, end + stored.length - head))
      expect(error, `${claimed}`).toBeInstanceOf(CorruptionError)
      expect(String(error)).toContain(`F at offset 8, data block: malformed block of compression ${number} (${name})`)
    }
  })

  it.each(codecs)('%s: takes payloads up to the bound, and stores longer ones as they are', (name) => {
    const number = compressionNumber(name)
    expect(compress(number, new Uint8Array(maxCompressedPayloadBytes + 1))).toBeUndefined()
    const stored = compress(number, new Uint8Array(maxCompressedPayloadBytes)) as Uint8Array
    expect(decompress(number, stored, 'F', 0).length).toBe(maxCompressedPayloadBytes)
  })

  it('makes no room for more than a block says, nor for more than the bound, whatever the bytes of the codec hold', () => {
    const bomb = (name: Compression, claimed: number, from: Uint8Array) => {
      const forged = Uint8Array.of(...varint(claimed), ...from)
      return () => decompress(compressionNumber(name), forged, 'F', 0)
    }
    const deflated = deflate(new Uint8Array(1_000_000))
    expect(bomb('deflate', 100, deflated)).toThrow('larger than 100 bytes')
    expect(bomb('deflate', maxCompressedPayloadBytes + 1, deflated)).toThrow(`claims ${maxCompressedPayloadBytes + 1} bytes`)
    const snapped = Uint8Array.of(...varint(2 ** 32 - 1), 0, 0)
    expect(bomb('snappy', 100, snapped)).toThrow(`${2 ** 32 - 1} bytes, not 100`)
    expect(bomb('snappy', 2 ** 32 - 1, snapped)).toThrow(`claims ${2 ** 32 - 1} bytes`)
  })
})

describe.each(codecs)('a table of %s', (compression) => {
  it('holds blocks compressed and not, which are read by key, at once, in both directions of a scan, cached or not (seed 1)', async () => {
    const isRandom = (i: number) => i % 20 < 10
    const fileSystem = await makeTable(compression, isRandom)
    const all = records(new SeededRandom(1), 200, isRandom)
    expect(new Set(await compressionsIn(fileSystem))).toEqual(new Set(['none', compression]))
    expect(await damagesOf(fileSystem)).toEqual([])
    const walked: string[] = []
    await readTables(fileSystem, [[path]], (key, value) => walked.push(`${text(key)}=${value && text(value)}`))
    expect(walked).toEqual(all.map(({ key, value }) => `${text(key)}=${text(value)}`))
    for (const capacity of [1e6, 70_000, 1000, 0]) {
      const cache = new BlockCache(capacity)
      const reader = await TableReader.open(fileSystem, path, cache, undefined)
      for (const round of [0, 1, 2]) {
        for (const { key, value } of all) {
          const hash = bloomHash(key, 0, key.length)
          const found = round === 1 ? reader.getSync(key, hash) : await reader.get(key, hash)
          expect(found && text(found), text(key)).toBe(text(value))
        }
        expect(cache.bytes).toBeLessThanOrEqual(capacity)
      }
      // What is kept is what was there before it was compressed.
      if (capacity === 1e6) expect(cache.bytes).toBeGreaterThan(200 * 100)
      await reader.close()
      expect(cache.bytes).toBe(0)
    }
  })

  it('is smaller, by what its blocks take', async () => {
    const size = async (name: Compression) => (await readFile(await makeTable(name, () => false), path)).length
    expect(await size(compression)).toBeLessThan((await size('none')) / 2)
  })

  it('where nothing can be saved is, byte for byte, the table without compression', async () => {
    const content = async (name: Compression) => readFile(await makeTable(name, () => true), path)
    expect(Buffer.compare(await content(compression), await content('none'))).toBe(0)
  })

  it('shows every flip of a byte in a compressed block, to who reads and to verify', async () => {
    const fileSystem = await makeTable(compression, () => false)
    const content = await readFile(fileSystem, path)
    const end = (await firstLength(fileSystem)) + blockTrailerBytes
    for (let at = 0; at < end; at++) {
      const damaged = copyBytes(content)
      damaged[at] = (damaged[at] as number) ^ (1 << (at % 8))
      await replace(fileSystem, damaged)
      const errors = await errorsOf(fileSystem, 'key0000')
      expect(errors, `byte ${at}`).toHaveLength(3)
      for (const error of errors) expect(error).toMatchObject({ name: 'CorruptionError', file: path, offset: 0, what: 'damaged block' })
      expect((await damagesOf(fileSystem)).length, `byte ${at}`).toBeGreaterThan(0)
    }
  })

  it.each<[string, (stored: Uint8Array) => Uint8Array]>([
    ['cut short', (stored) => stored.subarray(0, stored.length >> 1)],
    ['a bomb', (stored) => Uint8Array.of(...varint(maxCompressedPayloadBytes + 1), ...stored.subarray(2))],
    ['longer than it says', (stored) => Uint8Array.of(...varint(130), ...stored.subarray(2))],
    ['shorter than it says', (stored) => Uint8Array.of(...varint(16_000), ...stored.subarray(2))],
  ])('behind a right checksum is damage where a block is %s', async (_what, forge) => {
    const fileSystem = await makeTable(compression, () => false)
    const content = await readFile(fileSystem, path)
    const length = await firstLength(fileSystem)
    forgeFirstBlock(content, length, forge(content.slice(0, length)), compressionNumber(compression))
    await replace(fileSystem, content)
    const errors = await errorsOf(fileSystem, 'key0000')
    expect(errors).toHaveLength(3)
    for (const error of errors) {
      expect(error).toMatchObject({
        name: 'CorruptionError',
        file: path,
        offset: 0,
        what: expect.stringMatching(/^malformed block of compression/),
      })
    }
    expect(await damagesOf(fileSystem)).toMatchObject([{ file: path, what: expect.stringMatching(/malformed block of compression/) }])
  })
})

function varint(value: number): Uint8Array {
  const encoded = new Uint8Array(10)
  return encoded.slice(0, writeVarint(encoded, 0, value))
}

describe('a compression that this release does not know', () => {
  it('of a data block is refused by its number, as a newer format', async () => {
    const fileSystem = await makeTable('deflate', () => false)
    const content = await readFile(fileSystem, path)
    const length = await firstLength(fileSystem)
    forgeFirstBlock(content, length, content.slice(0, length), 9)
    await replace(fileSystem, content)
    const errors = await errorsOf(fileSystem, 'key0000')
    expect(errors).toHaveLength(3)
    for (const error of errors) {
      expect(error).toBeInstanceOf(NewerFormatError)
      expect(String(error)).toContain('unknown compression 9')
    }
    expect(await damagesOf(fileSystem)).toMatchObject([{ isNewer: true, what: 'unknown compression 9' }])
    expect((await compressionsIn(fileSystem))[0]).toBe('unknown (9)')
  })

  it('of an index block is refused too: only data blocks are compressed', async () => {
    const fileSystem = await makeTable('deflate', () => false)
    const content = await readFile(fileSystem, path)
    const { index } = decodeFooter(content.subarray(content.length - footerBytes), path, content.length - footerBytes)
    const end = index.offset + index.length
    content[end] = compressionNumber('deflate')
    writeU32(content, end + 1, blockChecksum(content.subarray(index.offset, end + 1), index.offset))
    await replace(fileSystem, content)
    await expect(TableReader.open(fileSystem, path, undefined, undefined)).rejects.toThrow('compression 1 of a block that is not of data')
    await expect(TableReader.open(fileSystem, path, undefined, undefined)).rejects.toBeInstanceOf(NewerFormatError)
  })
})

describe('a database', () => {
  for (const [where, runIn] of [
    ['the real file system', onNode],
    ['a simulated disk', onSimulator],
  ] as const) {
    it(`whose tables are of all kinds is one database, and compaction brings them to the kind that is set, on ${where}`, () =>
      runIn(async (environment) => {
        const model = new Map<string, string>()
        const quiet = { level0CompactionTrigger: 100, level0SlowdownTrigger: 101, level0StopTrigger: 102 }
        for (const [round, compression] of compressions.entries()) {
          const db = await openDatabase(environment, { ...quiet, compression, memtableBytes: 65_536, blockCache: new BlockCache(20_000) })
          await put(db, model, round, 'key')
          await db.flush()
          await put(db, model, round + 3, 'key')
          await expectModel(db, model)
          await db.close()
        }
        const found = await kindsOf(environment)
        expect([...found].sort()).toEqual([...compressions].sort())
        const db = await openDatabase(environment, { ...quiet, compression: 'deflate', blockCache: new BlockCache(0) })
        const staged = `${environment.folder}/staged`
        const entries = records(new SeededRandom(2), 50, () => false)
        const written = await writeTable(environment.fileSystem, staged, entries, {
          blockBytes: 400,
          bloomBitsPerKey: 10,
          compression: 'snappy',
        })
        const snapshot = db.snapshot()
        const before = await scan(db)
        await db.ingest([{ path: staged, checksum: written.checksum }])
        for (const { key, value } of entries) model.set(text(key), text(value))
        await expectModel(db, model)
        await db.flush()
        await db.compactRange()
        await expectModel(db, model)
        expect(await scan(db, undefined, undefined, false, snapshot)).toEqual(before)
        snapshot.release()
        await db.close()
        expect([...(await kindsOf(environment))].filter((name) => name === 'snappy')).toEqual([])
        const again = await openDatabase(environment)
        await expectModel(again, model)
        await again.close()
        const damages: Damage[] = []
        await verifyDatabase(environment.fileSystem, `${environment.folder}/db`, { onDamage: (damage) => damages.push(damage) })
        expect(damages).toEqual([])
      }))
  }
})

async function put(db: Database, model: Map<string, string>, round: number, prefix: string): Promise<void> {
  const random = new SeededRandom(round)
  for (let i = 0; i < 60; i++) {
    const key = `${prefix}${String((i * 7 + round * 13) % 90).padStart(4, '0')}`
    const value = i % 15 < 5 ? noise(random, 90) : bytes(`round ${round} `.repeat(10))
    model.set(key, text(value))
    await db.write(new WriteBatch().put(bytes(key), value))
  }
}

async function expectModel(db: Database, model: ReadonlyMap<string, string>): Promise<void> {
  for (const [key, value] of model) {
    const [now, later] = [db.getSync(bytes(key)), await db.get(bytes(key))]
    expect(now && text(now), key).toBe(value)
    expect(later && text(later), key).toBe(value)
  }
  const expected = [...model].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => `${key}=${value}`)
  expect(await scan(db)).toEqual(expected)
  expect(await scan(db, undefined, undefined, true)).toEqual(expected.reverse())
}

/** Of all blocks of the tables there are. */
async function kindsOf({ fileSystem, folder }: Environment): Promise<Set<string>> {
  const kinds = new Set<string>()
  for (const name of await fileSystem.list(`${folder}/db`)) {
    if (!name.endsWith('.sst')) continue
    for (const kind of await compressionsIn(fileSystem, `${folder}/db/${name}`)) kinds.add(kind)
  }
  return kinds
}
