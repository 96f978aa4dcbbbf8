import { describe, expect, it } from 'vitest'
import type { File, FileSystem } from '../../base/file-system.ts'
import { BlockCache } from '../../lsm/block-cache.ts'
import { bloomHash } from '../../lsm/bloom.ts'
import { TableReader } from '../../lsm/table-reader.ts'
import { type TablePart, TableSource } from '../../lsm/table-source.ts'
import { writeTable } from '../../lsm/table-writer.ts'
import { onNode } from './environment.ts'
import { bytes, text } from './model.ts'

const KiB = 1024
const count = 300

/** The file system, and what was read of the files that it opens since `reads` was emptied. `mayReadNow` answers each try to read at once. */
class Watched {
  readonly reads: { readonly now: boolean; readonly bytes: number }[] = []
  mayReadNow: () => boolean | 'fails' = () => true
  /** What who may not is to wait for. */
  turn: Promise<void> | undefined
  readonly fileSystem: FileSystem

  constructor(under: FileSystem) {
    this.fileSystem = new Proxy(under, {
      get: (target, name) =>
        name === 'open'
          ? async (path: string, mode: 'read') => this.#watch(await target.open(path, mode))
          : Reflect.get(target, name).bind(target),
    })
  }

  #watch(file: File): File {
    return {
      ...bound(file),
      path: file.path,
      read: (target, position) => {
        this.reads.push({ now: false, bytes: target.length })
        return file.read(target, position)
      },
      readNow: (target, position) => {
        const may = this.mayReadNow()
        if (may === 'fails') throw Object.assign(new Error('EIO'), { code: 'EIO' })
        if (!may || target.length > 64 * KiB) return undefined
        this.reads.push({ now: true, bytes: target.length })
        return file.readSync(target, position)
      },
      nextTurn: () => this.turn,
    }
  }
}

function bound(file: File): File {
  const methods = ['readSync', 'write', 'sync', 'truncate', 'size', 'close'] as const
  return Object.fromEntries(methods.map((name) => [name, (file[name] as () => unknown).bind(file)])) as unknown as File
}

/** Record 200 takes a block of 100 KiB. */
function recordOf(i: number): string {
  return String(i % 10).repeat(i === 200 ? 100 * KiB : 4000)
}

const keyOf = (i: number) => `k${String(i).padStart(4, '0')}`

async function walk(reader: TableReader, part: TablePart, isReverse: boolean): Promise<number[]> {
  const source = new TableSource(reader, part, isReverse)
  const found: number[] = []
  for (await source.seek(undefined); source.valid; await source.advance()) {
    const i = Number(text(source.keyBuffer.slice(source.keyStart + 1, source.keyEnd)))
    expect(text(source.valueBuffer.slice(source.valueStart, source.valueEnd))).toBe(recordOf(i))
    found.push(i)
  }
  return found
}

/** `body` gets the table's reader, with a cache of 64 KiB. */
function withReader(body: (watched: Watched, reader: TableReader, part: TablePart) => Promise<void>): Promise<void> {
  return onNode(async ({ fileSystem, folder }) => {
    const watched = new Watched(fileSystem)
    const entries = Array.from({ length: count }, (_, i) => ({ key: bytes(keyOf(i)), value: bytes(recordOf(i)) }))
    const table = await writeTable(fileSystem, `${folder}/t`, entries, { blockBytes: 4 * KiB, bloomBitsPerKey: 10 })
    const reader = await TableReader.open(watched.fileSystem, `${folder}/t`, new BlockCache(64 * KiB), table)
    watched.reads.length = 0
    await body(watched, reader, { ...table, clipped: false })
    await reader.close()
  })
}

describe('lookups', () => {
  const getOf = (reader: TableReader, i: number) => reader.get(bytes(keyOf(i)), bloomHash(bytes(keyOf(i)), 0, keyOf(i).length))

  it('that come when the turn has had its share wait for the next one together, and then read at once', () =>
    withReader(async (watched, reader) => {
      let begin = () => {}
      watched.turn = new Promise((resolve) => {
        begin = resolve
      })
      watched.mayReadNow = () => watched.turn === undefined
      const found = Array.from({ length: 100 }, (_, i) => getOf(reader, i))
      expect(found.every((each) => each instanceof Promise)).toBe(true)
      expect(watched.reads).toEqual([])
      watched.turn = undefined
      begin()
      const values = (await Promise.all(found)).map((value) => text(value ?? bytes('')))
      expect(values).toEqual(Array.from({ length: 100 }, (_, i) => recordOf(i)))
      // Two records are in a block: the second finds it cached.
      expect(watched.reads).toHaveLength(50)
      expect(watched.reads.every(({ now }) => now)).toBe(true)
    }))

  it('that come where reads are slow wait for their own', () =>
    withReader(async (watched, reader) => {
      watched.mayReadNow = () => false
      expect(text((await getOf(reader, 7)) ?? bytes(''))).toBe(recordOf(7))
      expect(watched.reads.map(({ now }) => now)).toEqual([false])
    }))
})

describe.each([false, true])('an iteration, backwards: %s', (isReverse) => {
  const inOrder = Array.from({ length: count }, (_, i) => (isReverse ? count - 1 - i : i))

  const withTable = (body: (watched: Watched, walked: () => Promise<number[]>) => Promise<void>) =>
    withReader((watched, reader, part) => body(watched, () => walk(reader, part, isReverse)))

  it('reads pieces of 64 KiB at once where reads are fast, and waits only for the block that is longer', () =>
    withTable(async (watched, walked) => {
      expect(await walked()).toEqual(inOrder)
      expect(watched.reads.filter(({ now }) => !now)).toHaveLength(1)
      const pieces = watched.reads.filter(({ now, bytes }) => now && bytes === 64 * KiB)
      expect(pieces.length).toBeGreaterThan(15)
    }))

  it('waits for pieces that grow to 256 KiB where they are not', () =>
    withTable(async (watched, walked) => {
      watched.mayReadNow = () => false
      expect(await walked()).toEqual(inOrder)
      expect(Math.max(...watched.reads.map(({ bytes }) => bytes))).toBe(256 * KiB)
      expect(watched.reads.length).toBeLessThan(15)
    }))

  it('goes on where reads are fast now and then', () =>
    withTable(async (watched, walked) => {
      let tries = 0
      watched.mayReadNow = () => tries++ % 3 === 0
      expect(await walked()).toEqual(inOrder)
      expect(new Set(watched.reads.map(({ now }) => now))).toEqual(new Set([true, false]))
    }))

  it('waits for what a read at once failed for', () =>
    withTable(async (watched, walked) => {
      let tries = 0
      watched.mayReadNow = () => (tries++ % 4 === 3 ? 'fails' : true)
      expect(await walked()).toEqual(inOrder)
    }))
})
