/**
 * Databases as releases wrote them (test/fixtures/lsm/vN/NAME/, N the version of their tables, beside each NAME.txt with all its records): every
 * later release must open them, and this one those of the present version. They are never written again: a new format gets a folder of its own, made
 * by `OSTRAKA_WRITE_FIXTURES=1 npx vitest run test/lsm/fixtures.test.ts`, which writes only what is not there.
 */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { readU32, writeU32 } from '../../base/bytes.ts'
import { crc32 } from '../../base/checksum.ts'
import { NewerFormatError } from '../../base/errors.ts'
import { type FileSystem, readFile } from '../../base/file-system.ts'
import { encodeRecordFile } from '../../base/framed-record.ts'
import { InlineExecutor } from '../../base/inline-executor.ts'
import { MemoryFileSystem } from '../../base/memory-file-system.ts'
import { NodeClock } from '../../base/node-clock.ts'
import { SeededRandom } from '../../base/random.ts'
import { bloomHash, bloomMayHold } from '../../lsm/bloom.ts'
import {
  type Compression,
  compressionOf,
  type Damage,
  type Database,
  inspectDatabase,
  lsmJobs,
  TableInspection,
  verifyDatabase,
  WriteBatch,
} from '../../lsm/index.ts'
import { manifestSalt } from '../../lsm/manifest.ts'
import { footerBytes, tableVersion } from '../../lsm/table-format.ts'
import { onNode, openDatabase } from './environment.ts'
import { bytes, text } from './model.ts'

const root = fileURLToPath(new URL('../fixtures/lsm', import.meta.url))
const writes = process.env.OSTRAKA_WRITE_FIXTURES === '1'
const options = { blockBytes: 200, targetTableBytes: 1024, level0CompactionTrigger: 3, level1Bytes: 4096, memtableBytes: 65536 } as const

interface Recipe {
  readonly name: string
  readonly wal: boolean
  readonly compression?: Compression
  /** Of tables; default that of `options`. */
  readonly targetTableBytes?: number
  /** The first version that has it; default 1. */
  readonly since?: number
  readonly fill: (db: Database) => Promise<void>
}

async function putRound(db: Database, round: number): Promise<void> {
  for (let i = 0; i < 20; i++) {
    const batch = new WriteBatch().put(bytes(`key${(i * 7 + round * 3) % 30}`), bytes(`round ${round}, write ${i}`))
    if (i % 5 === 0) batch.put(Uint8Array.of(0xff, 0, i, round), Uint8Array.of(0, 0xfe, i))
    if (i % 6 === 0) batch.delete(bytes(`key${(i + round) % 30}`))
    await db.write(batch)
  }
}

/** Values that a codec makes smaller beside such that none does. */
async function fillBlocks(db: Database): Promise<void> {
  const random = new SeededRandom(1)
  for (let i = 0; i < 60; i++) {
    const value = i % 20 < 8 ? Uint8Array.from({ length: 60 }, () => random.below(256)) : bytes(`value ${i % 3} `.repeat(7))
    await db.write(new WriteBatch().put(bytes(`key${i}`), value))
    if (i % 20 === 19) await db.flush()
  }
}

const recipes: readonly Recipe[] = [
  { name: 'deflate-blocks', wal: true, compression: 'deflate', fill: fillBlocks },
  { name: 'snappy-blocks', wal: true, compression: 'snappy', fill: fillBlocks },
  {
    name: 'log-and-two-levels',
    wal: true,
    async fill(db) {
      for (let round = 0; round < 5; round++) {
        await putRound(db, round)
        await db.flush()
        if (round === 2) await db.settle()
      }
      await putRound(db, 5)
    },
  },
  {
    name: 'marks-and-tombstones',
    wal: false,
    async fill(db) {
      await putRound(db, 0)
      await db.seal(bytes('mark 1'))
      const batch = new WriteBatch()
      for (let i = 0; i < 30; i += 2) batch.delete(bytes(`key${i}`))
      await db.write(batch)
      await db.seal(bytes('mark 2'))
    },
  },
  {
    name: 'clipped-by-excise',
    wal: true,
    async fill(db) {
      for (let round = 0; round < 3; round++) {
        await putRound(db, round)
        await db.flush()
      }
      await db.settle()
      await db.excise(bytes('key12'), bytes('key25'))
    },
  },
  {
    // Filters of many parts, and keys of all lengths that the hash treats apart.
    name: 'large-filters',
    wal: true,
    since: 2,
    targetTableBytes: 65536,
    async fill(db) {
      for (const from of [0, 300]) {
        const batch = new WriteBatch()
        for (let i = from; i < from + 400; i++) batch.put(keyOf(i), bytes(`${i}`))
        await db.write(batch)
        await db.flush()
        await db.compactRange()
      }
      const batch = new WriteBatch()
      for (let i = 0; i < 800; i += 9) batch.delete(keyOf(i))
      await db.write(batch)
      await db.flush()
    },
  },
]

function keyOf(i: number): Uint8Array {
  return bytes(`${i}`.padStart(4, '0') + 'abcdefg'.slice(i % 8))
}

/** What a listing has as a string of latin1. */
function unquoted(quoted: string): Uint8Array {
  return Uint8Array.from(JSON.parse(quoted) as string, (letter) => letter.charCodeAt(0))
}

/** One line for each record: key and value as JSON strings of latin1. */
async function listing(db: Database): Promise<string> {
  const lines: string[] = []
  for await (const { key, value } of db.iterate()) lines.push(`${JSON.stringify(text(key))} ${JSON.stringify(text(value))}\n`)
  return lines.join('')
}

async function make(
  { name, wal, compression = 'none', targetTableBytes = options.targetTableBytes, fill }: Recipe,
  folder: string,
): Promise<void> {
  const fileSystem = new MemoryFileSystem()
  await fileSystem.makeFolder('data')
  const clock = new NodeClock()
  const executor = new InlineExecutor(lsmJobs, { fileSystem, clock })
  const db = await openDatabase({ fileSystem, executor, clock, folder: 'data' }, { wal, compression, ...options, targetTableBytes })
  await fill(db)
  await db.settle()
  const records = await listing(db)
  await db.close()
  await executor.close()
  mkdirSync(path.join(folder, name), { recursive: true })
  for (const file of await fileSystem.list('data/db')) {
    writeFileSync(path.join(folder, name, file), await readFile(fileSystem, `data/db/${file}`), { flag: 'wx' })
  }
  writeFileSync(path.join(folder, `${name}.txt`), records, { flag: 'wx' })
}

if (writes) {
  const folder = path.join(root, `v${tableVersion}`)
  for (const recipe of recipes) if (!existsSync(path.join(folder, recipe.name))) await make(recipe, folder)
}

const versions = readdirSync(root)
const namesOf = (version: string) => recipes.filter(({ since = 1 }) => since <= versionOf(version)).map(({ name }) => name)
const fixtures = versions.flatMap((version) =>
  readdirSync(path.join(root, version))
    .filter((name) => name.endsWith('.txt'))
    .map((name) => [version, name.slice(0, -4)] as const),
)

function versionOf(folder: string): number {
  return Number(folder.slice(1))
}

/** Each table of a fixture. */
async function eachTable(
  fileSystem: FileSystem,
  [version, name]: readonly [string, string],
  visit: (table: TableInspection) => Promise<void> | void,
): Promise<void> {
  const folder = path.join(root, version, name)
  for (const file of readdirSync(folder).filter((found) => found.endsWith('.sst'))) {
    const table = await TableInspection.open(fileSystem, path.join(folder, file), (damage) => expect(damage).toBeUndefined())
    await visit(table)
    await table.close()
  }
}

describe('databases of all formats', () => {
  it('are there, of the present one too', () =>
    expect(versions.map(versionOf).sort((a, b) => a - b)).toEqual(Array.from({ length: tableVersion }, (_, i) => i + 1)))

  it.each(versions)('are there, each with what it is for: %s', async (version) => {
    expect(fixtures.filter((fixture) => fixture[0] === version).map(([, name]) => name)).toEqual(namesOf(version).sort())
    await onNode(async ({ fileSystem }) => {
      const inspect = async (name: string) => inspectDatabase(fileSystem, path.join(root, version, name))
      const both = await inspect('log-and-two-levels')
      expect(both.manifest?.state.levels.filter((level) => level.length > 0).length).toBeGreaterThanOrEqual(2)
      expect(both.manifest?.records.filter(({ edit }) => edit !== undefined).length).toBeGreaterThan(3)
      expect(both.files.find(({ kind }) => kind === 'log')?.bytes).toBeGreaterThan(1000)
      const marks = await inspect('marks-and-tombstones')
      expect(text(marks.manifest?.state.mark ?? bytes(''))).toBe('mark 2')
      const tables = (await inspect('clipped-by-excise')).manifest?.state.levels.flat() ?? []
      expect(tables.some(({ clipped }) => clipped)).toBe(true)
      expect(marks.manifest?.state.levels.flat().some(({ tombstones }) => tombstones > 0)).toBe(true)
      for (const codec of ['deflate', 'snappy']) {
        const kinds = new Set<string>()
        await eachTable(fileSystem, [version, `${codec}-blocks`], async (table) => {
          for (let i = 0; i < (table.index?.length ?? 0); i++) kinds.add(compressionOf((await table.rawBlock(i)) as Uint8Array))
        })
        expect([...kinds].sort()).toEqual([codec, 'none'].sort())
      }
    })
  })

  // That they hold each key of their table `verifyDatabase` tells.
  it.each(fixtures)('%s/%s has tables of that version, whose filters spare the reads of keys that are not there', (version, name) =>
    onNode(async ({ fileSystem }) => {
      let largest = 0
      let held = 0
      let asked = 0
      await eachTable(fileSystem, [version, name], ({ footer, filter = bytes('') }) => {
        expect(footer?.version).toBe(versionOf(version))
        largest = Math.max(largest, filter.length)
        for (let i = 0; i < 1000; i++) {
          const key = bytes(`absent ${i}`)
          asked++
          if (bloomMayHold(filter, bloomHash(key, 0, key.length))) held++
        }
      })
      expect(held).toBeLessThan(0.03 * asked)
      if (name === 'large-filters') expect(largest).toBeGreaterThan(500)
    }),
  )

  it.each(fixtures)('%s/%s is whole, opens, and holds what its listing says, also after it was written by this release', (version, name) =>
    onNode(async (environment) => {
      const { fileSystem } = environment
      const folder = `${environment.folder}/db`
      cpSync(path.join(root, version, name), folder, { recursive: true })
      const damages: Damage[] = []
      await verifyDatabase(fileSystem, folder, { onDamage: (damage) => damages.push(damage) })
      expect(damages).toEqual([])
      const expected = readFileSync(path.join(root, version, `${name}.txt`), 'utf8')
      const first = await openDatabase(environment, options)
      expect(await listing(first)).toBe(expected)
      for (const line of expected.split('\n').slice(0, -1)) {
        const between = line.indexOf('" "') + 1
        expect(first.getSync(unquoted(line.slice(0, between))), line).toEqual(unquoted(line.slice(between)))
      }
      await first.write(new WriteBatch().put(bytes('key1'), bytes('new')))
      await first.compactRange()
      await first.close()
      const again = await openDatabase(environment, options)
      await again.write(new WriteBatch().delete(bytes('key1')))
      const without = (lines: string) =>
        lines
          .split('\n')
          .filter((line) => !line.startsWith('"key1" '))
          .join('\n')
      expect(await listing(again)).toBe(without(expected))
      await again.close()
      await verifyDatabase(fileSystem, folder, { onDamage: (damage) => damages.push(damage) })
      expect(damages).toEqual([])
    }),
  )
})

describe('a newer format is refused as what it is', () => {
  it('in a table', () =>
    onNode(async (environment) => {
      const folder = `${environment.folder}/db`
      cpSync(path.join(root, 'v1', 'marks-and-tombstones'), folder, { recursive: true })
      for (const name of readdirSync(folder).filter((file) => file.endsWith('.sst'))) {
        const content = readFileSync(path.join(folder, name))
        const footer = content.subarray(content.length - footerBytes)
        writeU32(footer, 48, tableVersion + 1)
        writeU32(footer, 52, crc32(footer.subarray(0, 52)))
        writeFileSync(path.join(folder, name), content)
      }
      const db = await openDatabase(environment, options)
      await expect(listing(db)).rejects.toBeInstanceOf(NewerFormatError)
      await db.close()
    }))

  it('in a version edit, before anything is written', () =>
    onNode(async (environment) => {
      const folder = `${environment.folder}/db`
      cpSync(path.join(root, 'v1', 'marks-and-tombstones'), folder, { recursive: true })
      const name = readdirSync(folder).find((file) => file.startsWith('MANIFEST-')) as string
      const content = readFileSync(path.join(folder, name))
      const edit = content.subarray(24, 24 + readU32(content, 8))
      const newer = encodeRecordFile(Uint8Array.of(2, ...edit.subarray(1)), manifestSalt + Number(name.slice(9)))
      writeFileSync(path.join(folder, name), newer)
      const before = readdirSync(folder)
      await expect(openDatabase(environment, options)).rejects.toBeInstanceOf(NewerFormatError)
      expect(readdirSync(folder)).toEqual(before)
      expect(new Uint8Array(readFileSync(path.join(folder, name)))).toEqual(newer)
    }))
})
