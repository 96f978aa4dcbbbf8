import { describe, expect, it } from 'vitest'
import { joinPath } from '../../base/file-system.ts'
import { SeededRandom } from '../../base/random.ts'
import { type Database, type Expiry, WriteBatch } from '../../lsm/index.ts'
import { type ExportStep, planExport } from '../../lsm/range-export.ts'
import { readTables } from '../../lsm/read-tables.ts'
import { type TableMetadata, tableName } from '../../lsm/table-metadata.ts'
import { Version } from '../../lsm/version.ts'
import { type Environment, environmentOf, onSimulator, openDatabase, simulate } from './environment.ts'
import { bytes, text } from './model.ts'
import { override } from './override.ts'

/** 'L1: 4[a-c] 5[d-f]clipped': id and bounds. Level 0: newest first. */
function version(...lines: string[]): Version {
  const tables: TableMetadata[] = []
  for (const line of lines) {
    const [, level, rest] = /^L(\d): (.*)$/.exec(line) as unknown as [string, string, string]
    for (const [i, table] of rest.split(' ').entries()) {
      const [, id, lower, upper, clipped] = /^(\d+)\[(\w+)-(\w+)\](clipped)?$/.exec(table) as unknown as [
        string,
        string,
        string,
        string,
        string?,
      ]
      tables.push({
        ...{ size: 1, checksum: 0, entries: 1, tombstones: 0, maxSequence: 0, clipped: clipped !== undefined },
        ...{ id: Number(id), file: Number(id), level: Number(level), order: 1000 - i, lower: bytes(lower), upper: bytes(upper) },
      })
    }
  }
  return Version.of(tables)
}

function rangesOf(...ranges: string[]) {
  return ranges.map((range) => {
    const [lower = '', upper = ''] = range.split('-')
    return { lower: bytes(lower), upper: bytes(upper), moment: -1 }
  })
}

function show(steps: readonly ExportStep[]): string[] {
  const named = ({ id, lower, upper }: TableMetadata) => `${id}[${text(lower)}-${text(upper)}]`
  return steps.map((step) =>
    step.kind === 'link'
      ? `link ${step.tables.map(({ id }) => id)}`
      : `merge ${step.inputs.map((run) => run.map(named).join(' ')).join(' | ')}`,
  )
}

describe('the plan of an export', () => {
  it('links what lies in the ranges, and merges what shares tables with others, newest first', () => {
    const tree = version('L0: 9[a-z] 8[a-z]', 'L1: 4[a-c] 5[c-e] 6[e-g] 7[g-i]', 'L2: 2[a-d] 3[d-z]')
    expect(show(planExport(tree, rangesOf('b-h')))).toEqual(['merge 9[b-h] | 8[b-h] | 4[b-c] 7[g-h]', 'link 5,6', 'merge 2[b-d] 3[d-h]'])
  })

  it('merges all into one where nothing lies within a range, and takes no table that overlaps none', () => {
    const tree = version('L0: 9[a-b]', 'L1: 4[a-c] 5[c-k]', 'L3: 2[a-z]')
    expect(show(planExport(tree, rangesOf('d-e', 'f-g')))).toEqual(['merge 5[d-e] 5[f-g] | 2[d-e] 2[f-g]'])
    expect(planExport(tree, rangesOf('zz-zzz'))).toEqual([])
  })

  it('links whole tables of level 0 in their order', () => {
    expect(show(planExport(version('L0: 9[b-c] 8[a-z] 7[b-d]'), rangesOf('b-d')))).toEqual(['link 9', 'merge 8[b-d]', 'link 7'])
  })

  it('writes again what is clipped, though its bounds lie within: its file holds more', () => {
    expect(show(planExport(version('L1: 4[b-c]clipped 5[c-d]'), rangesOf('a-e')))).toEqual(['merge 4[b-c]', 'link 5'])
  })
})

/** A value whose moment is its first eight bytes; keys that begin with 'e' can expire. */
const expiry: Expiry = { keyOffset: 0, keyByte: 'e'.charCodeAt(0), valueOffset: 0, horizons: () => [] }

function ending(moment: number, rest: string): Uint8Array {
  const value = new Uint8Array(8 + rest.length)
  new DataView(value.buffer).setBigUint64(0, BigInt(moment), true)
  value.set(bytes(rest), 8)
  return value
}

async function contentOf(db: Database, snapshot?: Awaited<ReturnType<Database['sealSnapshot']>>): Promise<string[]> {
  const found: string[] = []
  for await (const { key, value } of db.iterate(snapshot && { snapshot })) found.push(`${text(key)}=${text(value)}`)
  return found
}

async function newFolder({ fileSystem }: Environment, folder: string): Promise<string> {
  await fileSystem.makeFolder(folder)
  return folder
}

describe('a snapshot of a seal', () => {
  it('holds what was written before, with its excise, and nothing of what came behind before it was durable', () =>
    onSimulator(async (environment) => {
      const db = await openDatabase(environment, { wal: false })
      db.write(new WriteBatch().put(bytes('a'), bytes('1')).put(bytes('b'), bytes('1')).put(bytes('c'), bytes('1')))
      const sealing = db.sealSnapshot(bytes('one'), { excise: [{ lower: bytes('b'), upper: bytes('c') }] })
      db.write(new WriteBatch().put(bytes('a'), bytes('2')).delete(bytes('c')))
      const behind = db.exciseAll([{ lower: undefined, upper: undefined }], bytes('two'))
      const snapshot = await sealing
      await behind
      await db.settle()
      expect(await contentOf(db, snapshot)).toEqual(['a=1', 'c=1'])
      expect(await contentOf(db)).toEqual([])
      expect(text(db.durableMark ?? new Uint8Array(0))).toBe('two')
      snapshot.release()
      await db.close()
    }))

  it('is refused with a WAL, and one of memtables by the export', () =>
    onSimulator(async (environment) => {
      const logged = await openDatabase(environment)
      await expect(logged.sealSnapshot(bytes('m'))).rejects.toThrow('without a WAL')
      await logged.close()
      const db = await openDatabase({ ...environment, folder: await newFolder(environment, 'data/other') }, { wal: false })
      db.write(new WriteBatch().put(bytes('a'), bytes('1')))
      const snapshot = db.snapshot()
      await expect(db.exportRanges(snapshot, rangesOf('a-b'), 'data')).rejects.toThrow('of tables')
      snapshot.release()
      await expect(db.exportRanges(snapshot, rangesOf('a-b'), 'data')).rejects.toThrow('released')
      await db.close()
    }))
})

it('takes no room that flushes need: what shares tables with other records is not written again where it would', () =>
  onSimulator(async (environment) => {
    let asked = 0
    const space = {
      isLow: false,
      isCritical: false,
      fits: (more: number) => {
        asked += more
        return false
      },
      spend: () => false,
      exhausted: () => Promise.reject(new Error('nothing failed')),
      whenMore: () => new Promise<never>(() => undefined),
    }
    const db = await openDatabase(environment, { wal: false, space })
    for (const key of ['a', 'b', 'c']) db.write(new WriteBatch().put(bytes(key), bytes('1')))
    const snapshot = await db.sealSnapshot(bytes('m'))
    const folder = await newFolder(environment, 'data/export')
    await expect(db.exportRanges(snapshot, rangesOf('b-bb'), folder)).rejects.toMatchObject({ code: 'ENOSPC' })
    expect(asked).toBeGreaterThan(0)
    expect(await environment.fileSystem.list(folder)).toEqual([])
    // A link takes none.
    expect(await db.exportRanges(snapshot, rangesOf('a-d'), folder)).toHaveLength(1)
    snapshot.release()
    await db.close()
  }))

const seeds = Array.from({ length: 12 }, (_, i) => i + 1)

describe('exported ranges', () => {
  it.each(seeds)(
    'are those of the snapshot, ingested into another database in the order of their runs, whatever is done meanwhile (seed %i)',
    async (seed) => {
      const { world, process } = simulate(seed)
      const random = new SeededRandom(seed)
      const environment = environmentOf(process)
      const test = async () => {
        const options = { wal: false, expiry, boundaryOf: { prefixBytes: 2 }, level1Bytes: 3000 } as const
        const db = await openDatabase(environment, options)
        const model = new Map<string, Uint8Array>()
        let serial = 0
        const writeSome = (count: number, kept: Map<string, Uint8Array>) => {
          for (let i = 0; i < count; i++) {
            const key = `${['ea', 'eb', 'ec', 'xa', 'xb'][random.below(5)]}${String(random.below(60)).padStart(2, '0')}`
            const value = ending(
              key[0] === 'e' && random.below(3) === 0 ? 1 + random.below(20) : 0,
              `${serial++}${'.'.repeat(random.below(80))}`,
            )
            const batch = new WriteBatch()
            if (random.below(5) === 0) {
              batch.delete(bytes(key))
              kept.delete(key)
            } else {
              batch.put(bytes(key), value)
              kept.set(key, value)
            }
            db.write(batch)
          }
        }
        for (let round = 6 + random.below(10); round > 0; round--) {
          writeSome(random.below(80), model)
          if (random.below(3) > 0) await db.seal(bytes(`${round}`))
          if (random.below(4) === 0) await db.compactRange(bytes('ea'), bytes('ec'))
          if (random.below(6) === 0) {
            void db.excise(bytes('eb3'), bytes('ec2'), bytes('x'))
            for (const key of [...model.keys()]) if (key >= 'eb3' && key < 'ec2') model.delete(key)
          }
        }
        const sealing = db.sealSnapshot(bytes('cut'))
        const later = new Map<string, Uint8Array>()
        writeSome(200, later)
        const moment = random.below(20)
        const ranges = (seed % 2 === 0 ? ['ea-eb', 'xa-xb'] : ['eb-ec']).flatMap((range) => rangesOf(range))
        const snapshot = await sealing
        const folder = await newFolder(environment, 'data/out')
        const exporting = db.exportRanges(
          snapshot,
          ranges.map((range) => ({ ...range, moment })),
          folder,
        )
        writeSome(100, later)
        await db.excise(undefined, undefined, bytes('gone'))
        const runs = await exporting
        snapshot.release()
        await db.settle()
        await db.close()

        const isWanted = (key: string) => ranges.some(({ lower, upper }) => key >= text(lower) && key < text(upper))
        const isAlive = (key: string, value: Uint8Array) => {
          const end = key[0] === 'e' ? Number(new DataView(value.buffer, value.byteOffset).getBigUint64(0, true)) : 0
          return end === 0 || end > moment
        }
        const wanted = [...model].filter(([key]) => isWanted(key)).sort(([a], [b]) => (a < b ? -1 : 1))
        const alive = wanted.filter(([key, value]) => isAlive(key, value)).map(([key, value]) => `${key}=${text(value)}`)
        const living = (rows: readonly (readonly [string, Uint8Array])[]) =>
          rows.filter(([key, value]) => isAlive(key, value)).map(([key, value]) => `${key}=${text(value)}`)

        const read: [string, Uint8Array][] = []
        const paths = runs.map((run) => run.map(({ name }) => joinPath(folder, name)))
        await readTables(environment.fileSystem, paths, (key, value) => {
          if (value !== undefined) read.push([text(key), Uint8Array.from(value)])
        })
        expect(read.every(([key]) => isWanted(key))).toBe(true)
        expect(living(read)).toEqual(alive)

        // Over what is there, of which some lies between the ranges.
        const target = await openDatabase({ ...environment, folder: await newFolder(environment, 'data/to') }, options)
        for (const key of ['ea01', 'ebz', 'ed', 'xa05', 'xc']) target.write(new WriteBatch().put(bytes(key), ending(0, 'old')))
        await target.seal(bytes('before'))
        const files = runs.flatMap((run) => run.map(({ name, checksum }) => ({ path: joinPath(folder, name), checksum })))
        const excise = ranges.map(({ lower, upper }) => ({ lower, upper }))
        const ingesting = target.ingest(await target.prepareIngest(files), bytes('in'), { excise })
        const found = async () => {
          const rows: [string, Uint8Array][] = []
          for await (const { key, value } of target.iterate()) rows.push([text(key), value])
          return rows
        }
        const others = ['ea01', 'ebz', 'ed', 'xa05', 'xc'].filter((key) => !isWanted(key))
        for (const when of ['on its way', 'durable', 'compacted']) {
          if (when !== 'on its way') await ingesting
          if (when === 'compacted') await target.compactRange()
          const rows = await found()
          expect(living(rows.filter(([key]) => isWanted(key))), when).toEqual(alive)
          expect(
            rows.map(([key]) => key).filter((key) => !isWanted(key)),
            when,
          ).toEqual(others)
        }
        await target.close()
        return alive.length
      }
      expect(await world.settle(test(), 100_000_000)).toBeGreaterThan(3)
    },
  )

  it('are links where tables hold nothing else', () =>
    onSimulator(async (environment) => {
      const db = await openDatabase(environment, { wal: false, boundaryOf: { prefixBytes: 2 } })
      for (let i = 0; i < 60; i++) {
        for (const shard of ['aa', 'bb', 'cc']) db.write(new WriteBatch().put(bytes(`${shard}${i + 100}`), bytes('v'.repeat(200))))
        if (i % 30 === 29) await db.seal(bytes(`${i}`))
      }
      await db.compactRange()
      const snapshot = await db.sealSnapshot(bytes('cut'))
      const folder = await newFolder(environment, 'data/out')
      const runs = await db.exportRanges(snapshot, rangesOf('bb-bc'), folder)
      const inside = snapshot.view.version.tables().filter(({ lower, upper }) => text(lower) >= 'bb' && text(upper) <= 'bc')
      expect(inside.length).toBeGreaterThan(3)
      expect(runs.flat().map(({ name }) => name)).toEqual(expect.arrayContaining(inside.map(({ file }) => tableName(file))))
      snapshot.release()
      await db.excise(undefined, undefined, bytes('gone'))
      await db.settle()
      // The database is rid of its names; the files live on.
      expect((await environment.fileSystem.list('data/db')).filter((name) => name.endsWith('.sst'))).toEqual([])
      const keys: string[] = []
      await readTables(
        environment.fileSystem,
        runs.map((run) => run.map(({ name }) => joinPath(folder, name))),
        (key) => keys.push(text(key)),
      )
      expect(keys).toEqual(Array.from({ length: 60 }, (_, i) => `bb${i + 100}`))
      await db.close()
    }))

  it('end behind the step that runs when the database is closed, which waits for it', () =>
    onSimulator(async (environment) => {
      const { fileSystem } = environment
      let isClosed = false
      const linked: boolean[] = []
      const link = async (from: string, to: string) => {
        await fileSystem.link(from, to)
        linked.push(isClosed)
      }
      const db = await openDatabase(
        { ...environment, fileSystem: override(fileSystem, { link }) },
        { wal: false, level0CompactionTrigger: 100 },
      )
      for (const key of ['a', 'b', 'c']) {
        db.write(new WriteBatch().put(bytes(key), bytes('1')))
        await db.seal(bytes(key))
      }
      const snapshot = await db.sealSnapshot(bytes('cut'))
      const exporting = db.exportRanges(snapshot, rangesOf('a-d'), await newFolder(environment, 'data/out'))
      const refused = expect(exporting).rejects.toThrow('the database is closed')
      await db.close()
      isClosed = true
      await refused
      expect(linked).toEqual([false])
      snapshot.release()
    }))

  it('end between two steps when they are wanted no more', () =>
    onSimulator(async (environment) => {
      const db = await openDatabase(environment, { wal: false })
      db.write(new WriteBatch().put(bytes('a'), bytes('1')))
      const snapshot = await db.sealSnapshot(bytes('cut'))
      const folder = await newFolder(environment, 'data/out')
      const ending = new AbortController()
      ending.abort(new Error('wanted no more'))
      await expect(db.exportRanges(snapshot, rangesOf('a-b'), folder, { signal: ending.signal })).rejects.toThrow('wanted no more')
      expect(await environment.fileSystem.list(folder)).toEqual([])
      snapshot.release()
      await db.close()
    }))
})
