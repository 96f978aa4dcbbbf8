import { describe, expect, it } from 'vitest'
import { writeU32 } from '../../base/bytes.ts'
import { CorruptionError } from '../../base/errors.ts'
import { readFile } from '../../base/file-system.ts'
import { SeededRandom } from '../../base/random.ts'
import { BlockCache } from '../../lsm/block-cache.ts'
import { bloomHash, bloomMayHold, buildBloom } from '../../lsm/bloom.ts'
import { tombstone } from '../../lsm/kind.ts'
import { Merge, type Source } from '../../lsm/source.ts'
import { blockChecksum, blockTrailerBytes, decodeFooter, footerBytes, tableVersion } from '../../lsm/table-format.ts'
import type { TableMetadata } from '../../lsm/table-metadata.ts'
import { TableReader } from '../../lsm/table-reader.ts'
import { RunSource, TableSource } from '../../lsm/table-source.ts'
import { writeTable } from '../../lsm/table-writer.ts'
import { decodeEdit, encodeEdit } from '../../lsm/version-edit.ts'
import { onNode } from './environment.ts'
import { bytes, text } from './model.ts'

async function drainSource(source: Source, target?: string): Promise<string[]> {
  const entries: string[] = []
  for (await source.seek(target === undefined ? undefined : bytes(target)); source.valid; await source.advance()) {
    const key = text(source.keyBuffer.slice(source.keyStart, source.keyEnd))
    entries.push(`${key}=${source.kind === 0 ? '-' : text(source.valueBuffer.slice(source.valueStart, source.valueEnd))}`)
  }
  return entries
}

function randomEntries(random: SeededRandom, count: number): Map<string, string | undefined> {
  const entries = new Map<string, string | undefined>()
  while (entries.size < count) {
    const key = `${'abc'.slice(0, 1 + random.below(3))}${'-'.repeat(random.below(3))}${random.below(100_000)}`
    entries.set(key, random.below(10) === 0 ? undefined : 'v'.repeat(random.below(80)))
  }
  return new Map([...entries].sort(([a], [b]) => (a < b ? -1 : 1)))
}

describe('table', () => {
  it('gives back what was written: by key, forward, reverse, from anywhere, clipped or not, cached or not (seed 4)', () =>
    onNode(async ({ fileSystem, folder }) => {
      const random = new SeededRandom(4)
      for (const count of [1, 2, 17, 1500]) {
        const entries = randomEntries(random, count)
        const path = `${folder}/t${count}`
        const tableEntries = [...entries].map(([key, value]) => ({
          key: bytes(key),
          value: value === undefined ? undefined : bytes(value),
        }))
        const table = await writeTable(fileSystem, path, tableEntries, { blockBytes: 300, bloomBitsPerKey: 10 })
        expect(table.entries).toBe(count)
        const all = [...entries].map(([key, value]) => `${key}=${value ?? '-'}`)
        const keyOf = (entry: string) => entry.slice(0, entry.indexOf('='))
        for (const cache of [new BlockCache(1e6), new BlockCache(1000), new BlockCache(0), undefined]) {
          const reader = await TableReader.open(fileSystem, path, cache, table)
          for (let i = 0; i < 100 && cache !== undefined; i++) {
            const key = random.below(2) === 0 ? `a${random.below(100_000)}` : keyOf(all[random.below(count)] as string)
            const value = await reader.get(bytes(key), bloomHash(bytes(key), 0, key.length))
            expect(value === tombstone ? '-' : value && text(value)).toBe(entries.has(key) ? (entries.get(key) ?? '-') : undefined)
          }
          expect(cache === undefined || cache.bytes <= cache.capacityBytes).toBe(true)
          for (let i = 0; i < 12; i++) {
            const target = i === 0 ? undefined : i === 1 ? 'zzz' : i === 2 ? 'a' : keyOf(all[random.below(count)] as string)
            const bounds = [keyOf(all[random.below(count)] as string), keyOf(all[random.below(count)] as string)].sort() as [string, string]
            const clipped = i % 2 === 1
            const part = clipped ? { lower: bytes(bounds[0]), upper: bytes(`${bounds[1]}~`), clipped } : { ...table, clipped }
            const inside = clipped ? all.filter((entry) => keyOf(entry) >= bounds[0] && keyOf(entry) < `${bounds[1]}~`) : all
            const from = inside.filter((entry) => target === undefined || keyOf(entry) >= target)
            const below = inside.filter((entry) => target === undefined || keyOf(entry) < target).reverse()
            expect(await drainSource(new TableSource(reader, part, false), target)).toEqual(from)
            expect(await drainSource(new TableSource(reader, part, true), target)).toEqual(below)
          }
          await reader.close()
          expect(cache?.bytes ?? 0).toBe(0)
        }
      }
    }))

  it('in a run follows the table before it, and in a merge yields to newer ones (seed 5)', () =>
    onNode(async ({ fileSystem, folder }) => {
      const random = new SeededRandom(5)
      const model = new Map<string, string>()
      const readers = new Map<number, TableReader>()
      const sources: (reverse: boolean) => RunSource[] = (reverse) =>
        runs.map((run) => new RunSource(run, (table) => readers.get(table.file) as TableReader, reverse))
      const runs: TableMetadata[][] = []
      for (let run = 4; run >= 0; run--) {
        const entries = [...randomEntries(random, 300)]
        const tables: TableMetadata[] = []
        for (let part = 0; part < 3; part++) {
          const file = run * 10 + part
          const slice = entries.slice(part * 100, part * 100 + 100).map(([key]) => ({ key: bytes(key), value: bytes(`${run}`) }))
          const written = await writeTable(fileSystem, `${folder}/${file}`, slice)
          tables.push({ ...written, file, id: file, level: 1, order: 0, clipped: false })
          readers.set(file, await TableReader.open(fileSystem, `${folder}/${file}`, new BlockCache(1e6), written))
          for (const { key } of slice) model.set(text(key), `${run}`)
        }
        runs.unshift(tables)
      }
      const all = [...model].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => `${key}=${value}`)
      for (const reverse of [false, true]) {
        const merge = new Merge(sources(reverse), reverse)
        const merged: string[] = []
        for (await merge.seek(undefined); merge.top !== undefined; await merge.advance()) {
          const { keyBuffer, keyStart, keyEnd, valueBuffer, valueStart, valueEnd } = merge.top
          merged.push(`${text(keyBuffer.slice(keyStart, keyEnd))}=${text(valueBuffer.slice(valueStart, valueEnd))}`)
        }
        expect(merged).toEqual(reverse ? [...all].reverse() : all)
      }
      for (const reader of readers.values()) await reader.close()
    }))

  it('has a filter without false negatives and about one false positive in a hundred', () => {
    const hashes = Uint32Array.from({ length: 5000 }, (_, i) => hashOf(`key${i}`))
    const filter = buildBloom(hashes, hashes.length, 10)
    for (const hash of hashes) expect(bloomMayHold(filter, hash)).toBe(true)
    let wrong = 0
    for (let i = 0; i < 20_000; i++) if (bloomMayHold(filter, hashOf(`other${i}`))) wrong++
    expect(wrong).toBeLessThan(500)
  })

  it.each([
    ['data', 0, 'malformed block'],
    ['filter', 0, 'malformed filter'],
    ['index', 0, 'malformed block'],
    ['properties', 0xff, 'malformed properties'],
  ] as const)('names the block that is damaged, behind a right checksum or a wrong one: %s', (block, fill, malformed) =>
    onNode(async ({ fileSystem, folder }) => {
      const table = await writeTable(fileSystem, `${folder}/whole`, [{ key: bytes('a'), value: bytes('b') }])
      const content = await readFile(fileSystem, `${folder}/whole`)
      const footer = decodeFooter(content.subarray(content.length - footerBytes), 'whole', content.length - footerBytes)
      const { offset, length } = block === 'data' ? { offset: 0, length: footer.filter.offset - blockTrailerBytes } : footer[block]
      content.fill(fill, offset, offset + length)
      for (const what of ['damaged block', malformed]) {
        if (what === malformed) writeU32(content, offset + length + 1, blockChecksum(content.subarray(offset, offset + length + 1), offset))
        const path = `${folder}/${what}`
        const file = await fileSystem.open(path, 'create')
        await file.write([content], 0)
        await file.close()
        const found = TableReader.open(fileSystem, path, new BlockCache(1000), table).then(async (reader) => {
          const reading = (async () => reader.get(bytes('a'), bloomHash(bytes('a'), 0, 1)))()
          return reading.finally(() => reader.close())
        })
        const message = `${path} at offset ${offset}, ${block} block: ${what}`
        await expect(found).rejects.toMatchObject({ name: 'CorruptionError', file: path, offset, block, what, message })
      }
    }),
  )

  it('of another format version is refused by name', () =>
    onNode(async ({ fileSystem, folder }) => {
      const path = `${folder}/t`
      const table = await writeTable(fileSystem, path, [{ key: bytes('a'), value: bytes('b') }])
      await expect(TableReader.open(fileSystem, path, undefined, { ...table, entries: 2 })).rejects.toThrow(
        'another table: entries is 1, not 2',
      )
      const file = await fileSystem.open(path, 'write')
      await file.write([Uint8Array.of(tableVersion + 1)], table.size - 16)
      await file.close()
      await expect(TableReader.open(fileSystem, path, undefined, undefined)).rejects.toThrow(CorruptionError)
    }))
})

describe('version edit', () => {
  it('comes back whole, and is refused with what is not known', () => {
    const table: TableMetadata = {
      id: 2 ** 40,
      file: 7,
      level: 3,
      order: 9,
      size: 2 ** 33,
      checksum: 0xffffffff,
      entries: 5,
      tombstones: 1,
      maxSequence: 2 ** 50,
      clipped: true,
      lower: bytes('a'),
      upper: bytes('b'),
    }
    const edit = { nextNumber: 3, lastSequence: 2 ** 50, logNumber: 5, mark: bytes('mark'), dropped: [1, 300], added: [table] }
    const encoded = encodeEdit(edit)
    expect(decodeEdit(encoded, 'F', 0)).toEqual(edit)
    for (let length = 0; length < encoded.length; length++) {
      // A cut between two fields is a shorter edit: the frame around it is what tells.
      try {
        expect(decodeEdit(encoded.slice(0, length), 'F', 0)).not.toEqual(edit)
      } catch (error) {
        expect(error).toBeInstanceOf(CorruptionError)
      }
    }
    expect(() => decodeEdit(Uint8Array.of(2), 'F', 8)).toThrow('F at offset 8: version edit format 2')
    expect(() => decodeEdit(Uint8Array.of(1, 99, 0), 'F', 8)).toThrow('unknown field 99')
  })
})

function hashOf(key: string): number {
  return bloomHash(bytes(key), 0, key.length)
}
