/**
 * Databases as earlier releases wrote them (test/fixtures/lsm/vN/NAME/, beside each NAME.txt with all its records): every later release must
 * open them. They are never written again: a new format gets a folder of its own, made by
 * `OSTRAKA_WRITE_FIXTURES=1 npx vitest run test/lsm/fixtures.test.ts`, which writes only what is not there.
 */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { readU32, writeU32 } from '../../base/bytes.ts'
import { crc32 } from '../../base/checksum.ts'
import { NewerFormatError } from '../../base/errors.ts'
import { readFile } from '../../base/file-system.ts'
import { encodeRecordFile } from '../../base/framed-record.ts'
import { InlineExecutor } from '../../base/inline-executor.ts'
import { MemoryFileSystem } from '../../base/memory-file-system.ts'
import { NodeClock } from '../../base/node-clock.ts'
import { SeededRandom } from '../../base/random.ts'
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
]

/** One line for each record: key and value as JSON strings of latin1. */
async function listing(db: Database): Promise<string> {
  const lines: string[] = []
  for await (const { key, value } of db.iterate()) lines.push(`${JSON.stringify(text(key))} ${JSON.stringify(text(value))}\n`)
  return lines.join('')
}

async function make({ name, wal, compression = 'none', fill }: Recipe, folder: string): Promise<void> {
  const fileSystem = new MemoryFileSystem()
  await fileSystem.makeFolder('data')
  const clock = new NodeClock()
  const executor = new InlineExecutor(lsmJobs, { fileSystem, clock })
  const db = await openDatabase({ fileSystem, executor, clock, folder: 'data' }, { wal, compression, ...options })
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
  for (const recipe of recipes) {
    if (!existsSync(path.join(root, 'v1', recipe.name))) await make(recipe, path.join(root, 'v1'))
  }
}

const versions = readdirSync(root)
const fixtures = versions.flatMap((version) =>
  readdirSync(path.join(root, version))
    .filter((name) => name.endsWith('.txt'))
    .map((name) => [version, name.slice(0, -4)] as const),
)

describe('databases of earlier formats', () => {
  it('are there, each with what it is for', async () => {
    expect(fixtures.map(([, name]) => name)).toEqual(expect.arrayContaining(recipes.map(({ name }) => name)))
    await onNode(async ({ fileSystem }) => {
      const inspect = async (name: string) => inspectDatabase(fileSystem, path.join(root, 'v1', name))
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
        const folder = path.join(root, 'v1', `${codec}-blocks`)
        for (const name of readdirSync(folder).filter((file) => file.endsWith('.sst'))) {
          const table = await TableInspection.open(fileSystem, path.join(folder, name), () => undefined)
          for (let i = 0; i < (table.index?.length ?? 0); i++) kinds.add(compressionOf((await table.rawBlock(i)) as Uint8Array))
          await table.close()
        }
        expect([...kinds].sort()).toEqual([codec, 'none'].sort())
      }
    })
  })

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
