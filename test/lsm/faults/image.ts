import { assert } from '../../../base/assert.ts'
import { type BlockKind, CorruptionError } from '../../../base/errors.ts'
import { inspectDatabase, WriteBatch } from '../../../lsm/index.ts'
import { flushJobName } from '../../../lsm/jobs.ts'
import type { SimDisk } from '../../sim/sim-disk.ts'
import { environmentOf, openDatabase, simulate } from '../environment.ts'
import { bytes, getText, scan } from '../model.ts'
import { override } from '../override.ts'

/** The files of a database, by path. */
export type Image = ReadonlyMap<string, Uint8Array>

export const imageOptions = {
  memtableBytes: 65536,
  blockBytes: 200,
  level0CompactionTrigger: 100,
  level0SlowdownTrigger: 101,
  level0StopTrigger: 102,
} as const

/**
 * A database that was closed or whose process was killed, and what it holds: a table in a deeper level, of which two clipped parts count, and others
 * in level 0; where there is a WAL some of it in a log, and after a kill in one that was ended and one that follows it.
 */
export async function makeImage(wal: boolean, end: 'close' | 'kill' = 'close'): Promise<{ image: Image; records: string[] }> {
  const { world, process, disk } = simulate(1)
  const environment = environmentOf(process)
  let holdsFlushes = false
  const executor = override(environment.executor, {
    run: <Input, Output>(name: string, input: Input) =>
      holdsFlushes && name === flushJobName ? new Promise<Output>(() => undefined) : environment.executor.run<Input, Output>(name, input),
  })
  const records = await world.settle(
    (async () => {
      const db = await openDatabase({ ...environment, executor }, { wal, ...imageOptions })
      for (let round = 0; round < 4; round++) {
        for (let i = 0; i < 12; i++) {
          const batch = new WriteBatch().put(bytes(`key${(i * 5 + round) % 30}`), bytes(`value ${round} ${i}`))
          if (i === 7) batch.delete(bytes(`key${round}`))
          await db.write(batch)
        }
        if (!wal) await db.seal(bytes(`mark${round}`))
        else if (round < 3) await db.flush()
        if (round === 1) {
          await db.compactRange()
          await db.excise(bytes('key15'), bytes('key16'), wal ? undefined : bytes('mark1'))
        }
      }
      const [shallow = [], ...deeper] = (await inspectDatabase(process.fileSystem, 'data/db')).manifest?.state.levels ?? []
      const parts = deeper.flat().filter(({ clipped }) => clipped)
      assert(shallow.length > 0 && parts.length === 2, 'tables in level 0, and two parts of one below it')
      if (wal && end === 'kill') {
        // The log is ended, and nothing makes a table of it any more.
        holdsFlushes = true
        db.flush().catch(() => undefined)
        for (let i = 0; i < 3; i++) await db.write(new WriteBatch().put(bytes(`key${7 * i}`), bytes(`last ${i}`)))
      }
      const found = await scan(db)
      if (end === 'close') await db.close()
      return found
    })(),
  )
  // What is acknowledged is guarded a moment later, also where nobody closes.
  await world.runFor(10)
  process.kill()
  return { image: imageOf(disk), records }
}

export function imageOf(disk: SimDisk): Image {
  return new Map(disk.paths().map((path) => [path, disk.bytesOf(path)]))
}

export function install(disk: SimDisk, image: Image): void {
  for (const [path, content] of image) {
    disk.makeFolder(path.slice(0, path.lastIndexOf('/')))
    const file = disk.openFile(path, 'create')
    file.write(content, 0)
    file.endSync(file.beginSync())
  }
}

/** What a damaged image gives: its records, read in every way, or the error that it was met with. */
export async function readAll(image: Image, wal: boolean, damage: (disk: SimDisk) => void): Promise<string[] | Error> {
  const { world, process, disk } = simulate(1)
  install(disk, image)
  damage(disk)
  const read = async () => {
    const db = await openDatabase(environmentOf(process), { wal, ...imageOptions })
    const records = await scan(db)
    const reversed = await scan(db, undefined, undefined, true)
    assert(JSON.stringify(reversed.reverse()) === JSON.stringify(records), 'both directions give the same')
    for (const record of records) {
      const [key, value] = record.split('=') as [string, string]
      assert((await getText(db, key)) === value, `a get gives what the scan gives: ${key}`)
    }
    await db.close()
    return records
  }
  return world.settle(read().catch((error: Error) => error))
}

/** Records must be `expected`; an error must be one of damage, and name `path` and `block` if given. Says which it was. */
export function judgeDamaged(
  found: readonly string[] | Error,
  expected: readonly string[],
  path: string | undefined,
  block?: BlockKind,
): 'failed openly' | 'without harm' {
  if (found instanceof Error) {
    assert(found instanceof CorruptionError, `damage is told as such: ${found.stack}`)
    assert(path === undefined || found.file === path, `damage is told of ${path}: ${found.message}`)
    assert(block === undefined || found.block === block, `damage is told of a block of kind ${block}: ${found.message}`)
    return 'failed openly'
  }
  assert(JSON.stringify(found) === JSON.stringify(expected), `no wrong value: found ${found}, expected ${expected}`)
  return 'without harm'
}
