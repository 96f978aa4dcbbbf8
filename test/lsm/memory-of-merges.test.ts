import { afterAll, beforeAll, expect, it } from 'vitest'
import type { File, FileSystem } from '../../base/file-system.ts'
import { readFile } from '../../base/file-system.ts'
import { InlineExecutor } from '../../base/inline-executor.ts'
import { MemoryFileSystem } from '../../base/memory-file-system.ts'
import { NodeClock } from '../../base/node-clock.ts'
import { CompactionPace } from '../../lsm/compaction-pace.ts'
import { lsmJobs } from '../../lsm/index.ts'
import { type CompactionInput, compactionJobName } from '../../lsm/jobs.ts'
import { SpareMemory } from '../../lsm/spare-memory.ts'
import { decodeFooter, type Footer, footerBytes } from '../../lsm/table-format.ts'
import { type TableMetadata, tableName, type WrittenTable } from '../../lsm/table-metadata.ts'
import { writeTable } from '../../lsm/table-writer.ts'
import { bytes } from './model.ts'
import { override } from './override.ts'

/**
 * What a merge of many tables needs is what its runs need: pieces of 100 KiB and more that come and go with each table stay with the allocator of the thread
 * long after the collector has freed them.
 */

interface Access {
  readonly path: string
  readonly position: number
  readonly length: number
  readonly memory: ArrayBufferLike
}

const reads: Access[] = []
const writes: Access[] = []
const footers = new Map<string, Footer>()
const runs = 2
const tablesOfRun = 5
/** Merges of the same tables, one after the other. */
const merges = 2
const written: WrittenTable[] = []

function watch(inner: FileSystem): FileSystem {
  const access = (path: string, { buffer, length }: Uint8Array, position: number): Access => ({ path, position, length, memory: buffer })
  const watched = (file: File): File =>
    override(file, {
      read: (target, position) => {
        reads.push(access(file.path, target, position))
        return file.read(target, position)
      },
      readNow: () => undefined,
      write: (chunks, position) => {
        for (const chunk of chunks) writes.push(access(file.path, chunk, position))
        return file.write(chunks, position)
      },
    })
  return override(inner, { open: async (path, mode) => watched(await inner.open(path, mode)) })
}

beforeAll(async () => {
  const fileSystem = new MemoryFileSystem()
  await fileSystem.makeFolder('data')
  const value = new Uint8Array(1000).fill(7)
  const inputs: TableMetadata[][] = []
  for (let run = 0; run < runs; run++) {
    const tables: TableMetadata[] = []
    for (let part = 0; part < tablesOfRun; part++) {
      const file = 1 + run * tablesOfRun + part
      const path = `data/${tableName(file)}`
      const entries = Array.from({ length: 600 }, (_, i) => ({ key: bytes(`${part}-${String(i).padStart(4, '0')}-${run}`), value }))
      tables.push({ ...(await writeTable(fileSystem, path, entries)), file, id: file, level: 1 + run, order: 0, clipped: false })
      const content = await readFile(fileSystem, path)
      footers.set(path, decodeFooter(content.subarray(content.length - footerBytes), path, content.length - footerBytes))
    }
    inputs.push(tables)
  }
  const executor = new InlineExecutor(lsmJobs, { fileSystem: watch(fileSystem), clock: new NodeClock() })
  for (let merge = 0; merge < merges; merge++) {
    const tables = await executor.run<CompactionInput, WrittenTable[]>(compactionJobName, {
      folder: 'data',
      outputFolder: 'data',
      inputs,
      firstFile: 100 + 100 * merge,
      fileCount: 100,
      targetTableBytes: 600_000,
      boundaryPrefixBytes: 0,
      deeper: [],
      pace: new CompactionPace(Number.POSITIVE_INFINITY).cell,
      expiry: undefined,
      writer: { blockBytes: 4096, bloomBitsPerKey: 10 },
    })
    written.push(...tables)
  }
  await executor.close()
})

afterAll(() => {
  reads.length = 0
  writes.length = 0
})

const memoriesOf = (accesses: readonly Access[]) => new Set(accesses.map(({ memory }) => memory)).size
const footerOf = ({ path }: Access) => footers.get(path) as Footer

it('the tables of a run are read through the memory of one', () => {
  const ofData = reads.filter((read) => read.position < footerOf(read).filter.offset)
  expect(new Set(ofData.map(({ path }) => path)).size).toBe(runs * tablesOfRun)
  expect(memoriesOf(ofData)).toBe(merges * runs)
})

it('indexes are read into one place, as long as no two are read at once', () => {
  const ofIndexes = reads.filter((read) => read.position === footerOf(read).index.offset)
  expect(ofIndexes).toHaveLength(merges * runs * tablesOfRun)
  // The runs of a merge begin together: all but one of them take memory of their own then.
  expect(memoriesOf(ofIndexes)).toBeLessThanOrEqual(1 + merges * (runs - 1))
})

it('filters are not read: a merge looks nothing up', () => {
  expect(
    reads.filter((read) => read.position <= footerOf(read).filter.offset && read.position + read.length > footerOf(read).filter.offset),
  ).toEqual([])
})

it('the tables that it writes, and those of the next merge, are put together in the memory of one', () => {
  expect(written.length).toBeGreaterThan(merges * tablesOfRun)
  expect(written.reduce((sum, { entries }) => sum + entries, 0)).toBe(merges * runs * tablesOfRun * 600)
  expect(new Set(writes.map(({ path }) => path)).size).toBe(written.length)
  expect(memoriesOf(writes)).toBe(1)
})

it('spare memory is one taker’s at a time, and kept up to its bound', () => {
  const spare = new SpareMemory(1000)
  const first = spare.take(100)
  const second = spare.take(100)
  expect(second).not.toBe(first)
  spare.give(first)
  spare.give(second)
  expect(spare.take(200)).toBe(first)
  const large = spare.take(1001)
  expect(large.length).toBe(1001)
  spare.give(large)
  expect(spare.take(1)).not.toBe(large)
})
