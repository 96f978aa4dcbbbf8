import { describe, expect, it } from 'vitest'
import { writeU32 } from '../../base/bytes.ts'
import { crc32 } from '../../base/checksum.ts'
import { type FileSystem, readFile } from '../../base/file-system.ts'
import { InlineExecutor } from '../../base/inline-executor.ts'
import { MemoryFileSystem } from '../../base/memory-file-system.ts'
import { NodeClock } from '../../base/node-clock.ts'
import { SeededRandom } from '../../base/random.ts'
import {
  type Damage,
  type Database,
  damageText,
  inspectDatabase,
  lsmJobs,
  verifyDatabase,
  verifyTable,
  WriteBatch,
  writeTable,
} from '../../lsm/index.ts'
import { type BlockHandle, blockChecksum, decodeFooter, footerBytes, tableVersion } from '../../lsm/table-format.ts'
import { TableWriter } from '../../lsm/table-writer.ts'
import { WriteAheadLog } from '../../lsm/write-ahead-log.ts'
import { type Environment, onNode, openDatabase } from './environment.ts'
import { bytes } from './model.ts'

const folder = 'data/db'

interface Report {
  readonly damages: Damage[]
  readonly notes: Damage[]
}

async function verify(fileSystem: FileSystem, path = folder): Promise<Report & Awaited<ReturnType<typeof verifyDatabase>>> {
  const damages: Damage[] = []
  const notes: Damage[] = []
  const done = await verifyDatabase(fileSystem, path, {
    onDamage: (damage) => damages.push(damage),
    onNote: (note) => notes.push(note),
  })
  return { ...done, damages, notes }
}

async function inMemory<T>(test: (environment: Environment) => Promise<T>): Promise<T> {
  const fileSystem = new MemoryFileSystem()
  const clock = new NodeClock()
  const executor = new InlineExecutor(lsmJobs, { fileSystem, clock })
  await fileSystem.makeFolder('data')
  try {
    return await test({ fileSystem, executor, clock, folder: 'data' })
  } finally {
    await executor.close()
  }
}

/** Tables in two levels, some clipped, tombstones; with a WAL a part in the log. */
async function fill(db: Database, wal: boolean): Promise<void> {
  const write = async (round: number) => {
    for (let i = 0; i < 30; i++) {
      const batch = new WriteBatch().put(bytes(`key${(i * 7 + round * 5) % 50}`), bytes(`value ${round} ${i}`.repeat(3)))
      if (i % 6 === 0) batch.delete(bytes(`gone${i}`))
      await db.write(batch)
    }
  }
  const flush = (round: number) => (wal ? db.flush() : db.seal(bytes(`mark${round}`)))
  for (let round = 0; round < 3; round++) {
    await write(round)
    await flush(round)
  }
  await db.settle()
  // So little that the files it is in are kept as they are.
  await db.excise(bytes('key21'), bytes('key22'), wal ? undefined : bytes('excised'))
  for (let round = 3; round < (wal ? 5 : 4); round++) {
    await write(round)
    await flush(round)
  }
  await db.settle()
  await write(5)
  if (!wal) await db.seal(bytes('end'))
}

const options = { memtableBytes: 65536, blockBytes: 200, targetTableBytes: 1024, level0CompactionTrigger: 3, level1Bytes: 4096 } as const

async function makeImage(wal: boolean): Promise<Map<string, Uint8Array>> {
  return inMemory(async (environment) => {
    const db = await openDatabase(environment, { wal, ...options })
    await fill(db, wal)
    await db.close()
    const image = new Map<string, Uint8Array>()
    for (const name of await environment.fileSystem.list(folder)) {
      image.set(`${folder}/${name}`, await readFile(environment.fileSystem, `${folder}/${name}`))
    }
    return image
  })
}

async function install(image: ReadonlyMap<string, Uint8Array>): Promise<MemoryFileSystem> {
  const fileSystem = new MemoryFileSystem()
  await fileSystem.makeFolder(folder)
  for (const [path, content] of image) await put(fileSystem, path, content)
  return fileSystem
}

async function put(fileSystem: FileSystem, path: string, content: Uint8Array): Promise<void> {
  const file = await fileSystem.open(path, (await fileSystem.exists(path)) ? 'write' : 'create')
  await file.truncate(0)
  await file.write([content], 0)
  await file.close()
}

function flipped(content: Uint8Array, position: number, mask: number): Uint8Array {
  const copy = content.slice()
  copy[position] = (copy[position] as number) ^ mask
  return copy
}

describe.each([true, false])('verifyDatabase, with WAL: %s', (wal) => {
  it('finds a database whole: levels, clipped tables, tombstones, logs; closed, in use, and as a crash leaves it', () =>
    inMemory(async (environment) => {
      const { fileSystem } = environment
      const db = await openDatabase(environment, { wal, ...options })
      await fill(db, wal)
      const used = await verify(fileSystem)
      expect(used.damages).toEqual([])
      await db.close()
      const closed = await verify(fileSystem)
      expect([closed.damages, closed.notes]).toEqual([[], []])
      const { manifest } = await inspectDatabase(fileSystem, folder)
      const tables = manifest?.state.levels.flat() ?? []
      expect(manifest?.state.levels.slice(0, 2).every((level) => level.length > 0)).toBe(true)
      expect(tables.some(({ clipped }) => clipped)).toBe(true)
      expect(tables.some(({ tombstones }) => tombstones > 0)).toBe(true)
      expect(closed.entries).toBeGreaterThan(0)
      expect(closed.logged > 0).toBe(wal)
      const again = await openDatabase(environment, { wal, ...options })
      await again.close()
      expect((await verify(fileSystem)).damages).toEqual([])
    }))

  it('finds no damage in a database that flushes and compacts meanwhile', () =>
    inMemory(async (environment) => {
      const db = await openDatabase(environment, { wal })
      let verified = 0
      let state = 'writing'
      const verifyAgainAndAgain = async () => {
        while (state === 'writing') {
          const { damages } = await verify(environment.fileSystem)
          expect(damages).toEqual([])
          verified++
          // Over memory a verification takes no turn of the event loop: the database needs some.
          await new Promise((resolve) => setImmediate(resolve))
        }
      }
      const verifying = verifyAgainAndAgain()
      try {
        for (let i = 0; i < 1500; i++) {
          await db.write(new WriteBatch().put(bytes(`key${(i * 37) % 200}`), bytes('v'.repeat(60))))
          if (i % 50 === 49) await (wal ? db.flush() : db.seal(bytes(`mark${i}`)))
        }
        await db.settle()
      } finally {
        state = 'done'
      }
      await verifying
      await db.close()
      expect(verified).toBeGreaterThan(5)
      expect((await verify(environment.fileSystem)).damages).toEqual([])
    }))

  it('reports a flip of any byte, with the file it lies in; a torn tail only where nothing had to be durable', async () => {
    const seed = 11
    const random = new SeededRandom(seed)
    const image = await makeImage(wal)
    const fileSystem = await install(image)
    let tried = 0
    let torn = 0
    for (const [path, content] of image) {
      // Of what is larger a sample.
      const stride = path.endsWith('.sst') ? 19 : path.endsWith('.log') ? 3 : 1
      for (let position = random.below(stride); position < content.length; position += stride) {
        const mask = 1 << random.below(8)
        await put(fileSystem, path, flipped(content, position, mask))
        const { damages, notes } = await verify(fileSystem)
        const where = `${path} at ${position} of ${content.length}, mask ${mask}, seed ${seed}`
        tried++
        if (damages.length === 0) {
          torn++
          expect(
            notes.map(({ file }) => file),
            where,
          ).toEqual([path])
          expect(notes[0]?.what, where).toMatch(/^torn tail/)
          // Only the last record, which carries a mark and no more.
          expect(position, where).toBeGreaterThanOrEqual(content.length - 24)
        } else {
          expect(new Set(damages.map(({ file }) => file)), where).toEqual(new Set([path]))
          const { offset } = damages[0] as Damage
          if (offset !== undefined) expect(offset, where).toBeLessThanOrEqual(position)
        }
      }
      await put(fileSystem, path, content)
    }
    expect(tried).toBeGreaterThan(500)
    expect(torn).toBeLessThanOrEqual(3 * 24)
    console.log(`lsm verify, WAL ${wal}: ${tried} flips, ${tried - torn} damage, ${torn} torn tail, 0 missed`)
  })

  it('reports every file that counts where it is missing or cut', async () => {
    const image = await makeImage(wal)
    for (const [path, content] of image) {
      if (path.endsWith('.log')) continue
      const without = await install(new Map([...image].filter(([other]) => other !== path)))
      expect(
        (await verify(without)).damages.map(({ file }) => file),
        path,
      ).toContain(path)
      const cut = await install(new Map([...image, [path, content.subarray(0, content.length - 30)]]))
      const { damages, notes } = await verify(cut)
      expect(
        [...damages, ...notes].map(({ file }) => file),
        path,
      ).toContain(path)
    }
  })
})

describe('verifyDatabase', () => {
  it('names block and offset, and goes on: two damaged blocks of one table and one of another', async () => {
    const image = await makeImage(false)
    const fileSystem = await install(image)
    const [first, second] = [...image.keys()].filter((path) => path.endsWith('.sst')) as [string, string]
    const content = flipped(flipped(image.get(first) as Uint8Array, 3, 1), 300, 4)
    await put(fileSystem, first, content)
    await put(fileSystem, second, flipped(image.get(second) as Uint8Array, 10, 1))
    const { damages } = await verify(fileSystem)
    expect(damages).toMatchObject([
      { file: first, offset: 0, block: 0, what: 'damaged block' },
      { file: first, block: 1, what: 'damaged block' },
      { file: second, offset: 0, block: 0, what: 'damaged block' },
    ])
    expect(damageText(damages[0] as Damage)).toBe(`${first} at offset 0, block 0: damaged block`)
  })

  it('tells two tables that have changed places', async () => {
    const image = await makeImage(false)
    const [first, second] = [...image.keys()].filter((path) => path.endsWith('.sst')) as [string, string]
    const swapped = new Map([...image, [first, image.get(second) as Uint8Array], [second, image.get(first) as Uint8Array]])
    const { damages } = await verify(await install(swapped))
    expect(new Set(damages.map(({ file }) => file))).toEqual(new Set([first, second]))
  })

  it('reports a log that is missing from the middle, and one that ends too early', () =>
    inMemory(async (environment) => {
      const { fileSystem } = environment
      await (await openDatabase(environment)).close()
      const [empty] = (await fileSystem.list(folder)).filter((name) => name.endsWith('.log'))
      await fileSystem.unlink(`${folder}/${empty}`)
      const first = Number.parseInt(empty as string, 10)
      for (const number of [first, first + 1, first + 2]) {
        const log = await WriteAheadLog.create(fileSystem, folder, number)
        await log.begin(number === first ? 0 : number - 1)
        const operations = new WriteBatch().put(bytes('key'), bytes('v'.repeat(200))).encoded()
        await log.append([{ sequence: number, operations }])
        await log.sync()
        await log.mark()
        if (number < first + 2) {
          await log.end()
          await log.finish()
        } else await log.close()
      }
      const logs = (await fileSystem.list(folder)).filter((name) => name.endsWith('.log'))
      expect(await verify(fileSystem)).toMatchObject({ damages: [], notes: [], logged: 3 })
      const middle = `${folder}/${logs[1]}`
      const content = await readFile(fileSystem, middle)
      await put(fileSystem, middle, content.subarray(0, 200))
      expect((await verify(fileSystem)).damages).toMatchObject([{ file: middle, what: 'the log ends too early' }])
      await fileSystem.unlink(middle)
      expect((await verify(fileSystem)).damages).toMatchObject([
        { file: `${folder}/${logs[2]}`, what: expect.stringMatching(/is missing$/) },
      ])
    }))

  it('notes what is orphaned and what is foreign, and does not call it damage', async () => {
    const fileSystem = await install(await makeImage(true))
    await put(fileSystem, `${folder}/000999.sst`, bytes('left by a crash'))
    await put(fileSystem, `${folder}/notes.txt`, bytes('somebody else'))
    await put(fileSystem, `${folder}/CURRENT.tmp`, bytes('x'))
    const { damages, notes } = await verify(fileSystem)
    expect(damages).toEqual([])
    expect(notes.map(({ file, what }) => `${file.slice(folder.length + 1)}: ${what}`)).toEqual([
      '000999.sst: nothing refers to it; the next open removes it',
      'CURRENT.tmp: nothing refers to it; the next open removes it',
      "notes.txt: not one of the engine's files",
    ])
  })

  it('finds what no checksum does: a value under a tombstone, an unknown kind', async () => {
    const wrong = async (change: (writer: TableWriter) => void) =>
      inMemory(async ({ fileSystem }) => {
        const writer = await TableWriter.create(fileSystem, 'data/t.sst', 1, { blockBytes: 100, bloomBitsPerKey: 10 })
        change(writer)
        await writer.finish()
        const damages: string[] = []
        await verifyTable(fileSystem, 'data/t.sst', { onDamage: ({ what }) => damages.push(what) })
        return damages
      })
    const add = (writer: TableWriter, key: string, kind: number, value: string) => {
      const [k, v] = [bytes(key), bytes(value)]
      writer.add(k, 0, k.length, kind, 1, v, 0, v.length)
    }
    expect(await wrong((writer) => add(writer, 'a', 1, 'v'))).toEqual([])
    expect(await wrong((writer) => add(writer, 'a', 0, 'v'))).toEqual(['entry 0: a tombstone with a value'])
    expect(await wrong((writer) => add(writer, 'a', 2, 'v'))).toEqual(['unknown kind 2 of entry'])
  })

  it.each<[string, RegExp, (parts: TableParts) => void]>([
    ['a filter that lacks a key', /the filter does not hold the key/, ({ filter }) => filter.fill(0, 0, filter.length - 1)],
    ['a property that lies', /entries is 40, not 41/, ({ properties }) => properties.set([41], properties.indexOf(40))],
    [
      'an index that leads elsewhere',
      /above the index's key of its block|malformed index|begins at/,
      ({ index }) => index.set([0], indexKeyAt(index)),
    ],
  ])('finds %s, behind right checksums', async (_what, message, forge) => {
    await inMemory(async ({ fileSystem }) => {
      const path = 'data/t.sst'
      const entries = Array.from({ length: 40 }, (_, i) => ({ key: bytes(`key${String(i).padStart(2, '0')}`), value: bytes('value') }))
      await writeTable(fileSystem, path, entries, { blockBytes: 100, bloomBitsPerKey: 10 })
      expect(await damagesOf(fileSystem, path)).toEqual([])
      const content = await readFile(fileSystem, path)
      const { filter, index, properties } = decodeFooter(content.subarray(content.length - footerBytes), path, content.length - footerBytes)
      const payload = ({ offset, length }: BlockHandle) => content.subarray(offset, offset + length)
      forge({ filter: payload(filter), index: payload(index), properties: payload(properties) })
      for (const { offset, length } of [filter, index, properties]) {
        writeU32(content, offset + length + 1, blockChecksum(content.subarray(offset, offset + length + 1), offset))
      }
      await put(fileSystem, path, content)
      expect((await damagesOf(fileSystem, path))[0]).toMatch(message)
    })
  })

  it('reports a newer format as what it is', async () => {
    await inMemory(async ({ fileSystem }) => {
      await writeTable(fileSystem, 'data/t.sst', [{ key: bytes('a'), value: bytes('b') }])
      const content = await readFile(fileSystem, 'data/t.sst')
      const footer = content.subarray(content.length - footerBytes)
      writeU32(footer, 48, tableVersion + 1)
      writeU32(footer, 52, crc32(footer.subarray(0, 52)))
      await put(fileSystem, 'data/t.sst', content)
      const damages: Damage[] = []
      await verifyTable(fileSystem, 'data/t.sst', { onDamage: (damage) => damages.push(damage) })
      expect(damages).toMatchObject([{ isNewer: true, what: `table format ${tableVersion + 1}, this version reads ${tableVersion}` }])
    })
  })

  it('works on the real file system, and tells folders from files there', () =>
    onNode(async (environment) => {
      const { fileSystem } = environment
      const db = await openDatabase(environment)
      await db.write(new WriteBatch().put(bytes('a'), bytes('b')))
      await db.close()
      await fileSystem.makeFolder(`${environment.folder}/db/exports`)
      const path = `${environment.folder}/db`
      expect(await verify(fileSystem, path)).toMatchObject({ damages: [], notes: [], logged: 1, files: 3 })
      const { files } = await inspectDatabase(fileSystem, path)
      expect(files.map(({ kind, status }) => `${kind} ${status}`)).toEqual(['log live', 'current live', 'manifest live', 'folder foreign'])
    }))
})

interface TableParts {
  readonly filter: Uint8Array
  readonly index: Uint8Array
  readonly properties: Uint8Array
}

/** Where the first byte of the first entry's key lies. */
function indexKeyAt(index: Uint8Array): number {
  return index.indexOf('k'.charCodeAt(0))
}

async function damagesOf(fileSystem: FileSystem, path: string): Promise<string[]> {
  const damages: string[] = []
  await verifyTable(fileSystem, path, { onDamage: ({ what }) => damages.push(what) })
  return damages
}
