import { describe, expect, it } from 'vitest'
import { readFile } from '../../base/file-system.ts'
import { InlineExecutor } from '../../base/inline-executor.ts'
import { silentLogger } from '../../base/logger.ts'
import { MemoryFileSystem } from '../../base/memory-file-system.ts'
import { NodeClock } from '../../base/node-clock.ts'
import { SeededRandom } from '../../base/random.ts'
import { lsmJobs, WriteBatch } from '../../lsm/index.ts'
import { DataDirectory } from '../../raft/data-directory.ts'
import { SharedLog } from '../../raft/log/shared-log.ts'
import { openDatabase } from '../lsm/environment.ts'
import { FakeWorld } from './fake-world.ts'

/** A world whose disk holds a data directory `n1` with a log and a replica's database: two tables, one of them clipped, a log. */
async function makeWorld(): Promise<{ world: FakeWorld; files: MemoryFileSystem }> {
  const world = new FakeWorld()
  const files = new MemoryFileSystem()
  world.files = files
  const clock = new NodeClock()
  const executor = new InlineExecutor(lsmJobs, { fileSystem: files, clock })
  const directory = await DataDirectory.open(files, new SeededRandom(1), 'n1', 'server', 'n1')
  await directory.markStarted('g1@1', 1)
  await files.makeFolder('n1/log')
  const log = await SharedLog.open({
    fileSystem: files,
    clock,
    logger: silentLogger,
    folder: 'n1/log',
    onFailure: (error) => {
      throw error
    },
  })
  const entry = (index: number) => ({ index, term: 1, kind: 0, data: Buffer.from(`entry ${index}`) })
  for (const index of [1, 2]) {
    await new Promise<void>((resolve) => log.group({ uid: 'g1@1', replica: 1 }).append([entry(index)], undefined, resolve))
  }
  await log.close()
  await files.makeFolder('n1/groups/g1@1.1')
  const db = await openDatabase({ fileSystem: files, executor, clock, folder: 'n1/groups/g1@1.1' })
  for (const round of [0, 1]) {
    for (let i = 0; i < 10; i++) await db.write(new WriteBatch().put(Buffer.from(`key${i}`), Buffer.from(`value ${round}`)))
    await db.write(new WriteBatch().delete(Uint8Array.of(0xff, 1)))
    await db.flush()
  }
  await db.write(new WriteBatch().put(Buffer.from('logged'), Buffer.from('later')))
  await db.close()
  await executor.close()
  return { world, files }
}

const folder = 'n1/groups/g1@1.1/db'

async function find(files: MemoryFileSystem, pattern: RegExp): Promise<string> {
  const name = (await files.list(folder)).find((each) => pattern.test(each))
  return `${folder}/${name}`
}

async function flip(files: MemoryFileSystem, path: string, position: number): Promise<void> {
  const content = await readFile(files, path)
  content[position] = (content[position] as number) ^ 1
  const file = await files.open(path, 'write')
  await file.write([content], 0)
  await file.close()
}

async function contents(files: MemoryFileSystem, path: string): Promise<[string, Uint8Array][]> {
  return Promise.all((await files.list(path)).map(async (name) => [name, await readFile(files, `${path}/${name}`)] as [string, Uint8Array]))
}

describe('verify', () => {
  it('of a data directory: its identity, log and databases, whole: 0, nothing changed', async () => {
    const { world, files } = await makeWorld()
    const before = await contents(files, folder)
    const result = await world.run('verify', 'n1', '--json')
    expect(result).toMatchObject({ code: 0, stderr: '' })
    expect(result.json()).toMatchObject({
      folder: 'n1',
      whole: true,
      damages: [],
      stores: [{ kind: 'data' }, { kind: 'database', folder }, { kind: 'log', files: 1 }],
    })
    const people = await world.run('verify', 'n1/')
    expect(people.stdout.toString()).toMatch(/whole: \d+ files/)
    expect(await contents(files, folder)).toEqual(before)
  })

  it('of a damaged database: 65, with file, offset and block, in a table and in JSON', async () => {
    const { world, files } = await makeWorld()
    const table = await find(files, /\.sst$/)
    await flip(files, table, 3)
    const result = await world.run('verify', folder, '--json')
    expect(result.code).toBe(65)
    const damage = { file: table, offset: 0, block: 0, what: 'damaged block' }
    const message = `${table} at offset 0, block 0: damaged block`
    expect(result.json()).toMatchObject({ whole: false, damages: [damage], error: { code: 'CORRUPTION', message, definite: true } })
    expect(result.stderr).toBe(`ostraka: ${message}\n`)
    const people = await world.run('verify', folder)
    expect(people.code).toBe(65)
    expect(people.stdout.toString()).toContain('damaged block')
  })

  it('of a damaged identity and a damaged shared log: 65', async () => {
    const { world, files } = await makeWorld()
    await flip(files, 'n1/identity', 40)
    expect((await world.run('verify', 'n1', '--json')).json()).toMatchObject({ damages: [{ file: 'n1/identity', offset: 0 }] })
    await flip(files, 'n1/identity', 40)
    expect((await world.run('verify', 'n1')).code).toBe(0)
    const segment = 'n1/log/0000000000000001.log'
    const position = Buffer.from(await readFile(files, segment)).indexOf('entry 1')
    await flip(files, segment, position)
    const { damages } = (await world.run('verify', 'n1', '--json')).json() as { damages: object[] }
    expect(damages).toMatchObject([{ file: segment, what: 'damaged record body (group 1) (replica 1 of g1@1)' }])
    const inspected = await world.run('inspect', segment)
    expect(inspected.stdout.toString()).toMatch(/name, group 1 \(g1@1, replica 1\)/)
    expect(inspected.stdout.toString()).toContain('damaged record body (group 1)')
  })

  it('of what is none of ours, or not there: 2', async () => {
    const { world, files } = await makeWorld()
    await files.makeFolder('empty')
    for (const path of ['empty', 'nowhere', 'n1/identity']) expect((await world.run('verify', path)).code, path).toBe(2)
  })

  it('of a disk that cannot be read: 74', async () => {
    const { world, files } = await makeWorld()
    const open = files.open.bind(files)
    files.open = async (path, mode) => {
      if (path.endsWith('.sst')) throw Object.assign(new Error('EIO'), { code: 'EIO' })
      return await open(path, mode)
    }
    const result = await world.run('verify', folder, '--json')
    expect(result.code).toBe(74)
    expect(result.json()).toMatchObject({ error: { code: 'DISK_ERROR' } })
  })
})

describe('inspect', () => {
  it('of a table: footer, properties, blocks, and with flags entries and values', async () => {
    const { world, files } = await makeWorld()
    const path = await find(files, /\.sst$/)
    const plain = await world.run('inspect', path, '--json')
    expect(plain.json()).toMatchObject({
      kind: 'table',
      footer: { version: 2 },
      filter: { probes: 6 },
      properties: { entries: 10, lower: 'key0' },
      blocks: [{ block: 0, offset: 0, compression: 'none', entries: 10, firstKey: 'key0', lastKey: 'key9' }],
      damages: [],
    })
    const full = (await world.run('inspect', path, '--block', '0', '--values', '--json')).json() as { blocks: { content: object[] }[] }
    expect(full.blocks[0]?.content[3]).toMatchObject({ key: 'key3', kind: 'value', valueBytes: 7, value: 'value 1' })
    expect((await world.run('inspect', path, '--entries')).stdout.toString()).toMatch(/"key3" {2}value of 7 bytes {2}sequence \d+\n/)
    expect((await world.run('inspect', path, '--block', '9')).code).toBe(2)
    await flip(files, path, 3)
    const damaged = await world.run('inspect', path)
    expect(damaged.code).toBe(65)
    expect(damaged.stdout.toString()).toContain('entries: 10')
  })

  it('of a log, a manifest, CURRENT and the identity', async () => {
    const { world, files } = await makeWorld()
    const log = await world.run('inspect', await find(files, /\.log$/), '--values', '--json')
    expect(log.json()).toMatchObject({
      kind: 'log',
      records: [
        { type: 'start' },
        { type: 'batches', batches: [{ content: [{ key: 'logged', kind: 'value', value: 'later' }] }] },
        { type: 'mark' },
        { type: 'mark' },
      ],
      ending: { state: 'whole', ended: false },
    })
    const text = (await world.run('inspect', await find(files, /\.log$/), '--entries')).stdout.toString()
    expect(text).toContain('put "logged", value of 5 bytes')
    const manifest = await world.run('inspect', await find(files, /^MANIFEST/), '--json')
    expect(manifest.json()).toMatchObject({
      kind: 'manifest',
      ending: { state: 'whole' },
      state: { levels: expect.arrayContaining([{ level: 6, bytes: 0, tables: [] }]) },
    })
    expect((await world.run('inspect', `${folder}/CURRENT`)).stdout.toString()).toMatch(/the manifest that counts is MANIFEST-\d{6}\n/)
    expect((await world.run('inspect', 'n1/identity', '--json')).json()).toMatchObject({
      identity: { id: 'n1', role: 'server', replicas: { 'g1@1': 1 } },
    })
  })

  it('of a folder: every store in it, which files count, levels and totals', async () => {
    const { world, files } = await makeWorld()
    await (await files.open(`${folder}/000999.sst`, 'create')).close()
    const result = (await world.run('inspect', 'n1', '--json')).json() as { stores: { kind: string; files?: object[] }[] }
    expect(result.stores.map(({ kind }) => kind)).toEqual(['data', 'database', 'log'])
    expect(result.stores[1]?.files).toContainEqual({ name: '000999.sst', kind: 'table', number: 999, status: 'orphaned', bytes: 0 })
    expect((await world.run('inspect', folder)).stdout.toString()).toMatch(/000999\.sst +table +orphaned/)
  })

  it('of what is none of ours: 2', async () => {
    const { world, files } = await makeWorld()
    await (await files.open('n1/notes.txt', 'create')).close()
    for (const path of ['n1/notes.txt', 'nowhere']) expect((await world.run('inspect', path)).code, path).toBe(2)
    expect((await world.run('inspect', 'n1', '--block', 'x')).code).toBe(2)
  })
})
