import { assert, must } from '../../../base/assert.ts'
import { CorruptionError } from '../../../base/errors.ts'
import { InlineExecutor } from '../../../base/inline-executor.ts'
import { MemoryFileSystem } from '../../../base/memory-file-system.ts'
import { SeededRandom } from '../../../base/random.ts'
import { lsmJobs, WriteBatch } from '../../../lsm/index.ts'
import { environmentOf, openDatabase, simulate } from '../environment.ts'
import { HastyClock } from '../hasty-clock.ts'
import { bytes, getText, scan } from '../model.ts'
import { CorruptingFileSystem } from './corrupting-file-system.ts'
import { type Image, imageOf, imageOptions, judgeDamaged, makeImage, readAll } from './image.ts'
import { type Region, regionsOf } from './regions.ts'
import { type Dose, newTally, type Tally, tryPoint } from './tally.ts'

export type End = 'close' | 'kill'

/** One bit flipped, in at most about `perKind` places of each kind of region: a tally for each kind. */
export async function sweepFlips(wal: boolean, end: End, perKind: number, seed: number): Promise<Tally[]> {
  const { image, records } = await makeImage(wal, end)
  const random = new SeededRandom(seed)
  const kinds = new Map<string, ({ readonly path: string } & Region)[]>()
  for (const [path, content] of image) {
    for (const region of regionsOf(path, content)) kinds.set(region.kind, [...(kinds.get(region.kind) ?? []), { path, ...region }])
  }
  const tallies: Tally[] = []
  for (const [kind, regions] of [...kinds].sort()) {
    const tally = newTally(`flipped bits, ${kind}, WAL ${wal}, after a ${end}, seed ${seed}`)
    tallies.push(tally)
    const total = regions.reduce((sum, { from, to }) => sum + to - from, 0)
    const stride = Math.max(1, Math.floor(total / perKind))
    let next = random.below(stride)
    for (const { path, from, to, block } of regions) {
      for (; from + next < to; next += stride) {
        const position = from + next
        const mask = 1 << random.below(8)
        await tryPoint(tally, `${path} at ${position}, mask ${mask}`, async () =>
          judgeDamaged(await readAll(image, wal, (disk) => disk.flip(path, position, mask)), records, path, block),
        )
      }
      next -= to - from
    }
  }
  return tallies
}

/** One bit flipped in what the k-th read gives, be it of the open, of a get, an iterator or a compaction; the files are whole. */
export async function sweepFlippedReads(wal: boolean, dose: Dose, seed: number): Promise<Tally> {
  const { image, records } = await makeImage(wal, 'kill')
  const tally = newTally(`flipped bits in what a read gives, WAL ${wal}, seed ${seed}`)
  for (let k = 1 + (dose.first % dose.stride), isOver = false; !isOver; k += dose.stride) {
    await tryPoint(tally, `read ${k}`, async () => {
      const files = new MemoryFileSystem()
      await installIn(files, image)
      const spoiled = new CorruptingFileSystem(files, k, new SeededRandom(seed * 1_000_000 + k))
      const outcome = await readEverything(spoiled.fileSystem, wal, records)
      isOver = spoiled.reads < k
      assert((await readEverything(files, wal, records)) === 'without harm', 'the files are whole')
      return isOver ? 'nothing injected' : outcome
    })
  }
  return tally
}

async function installIn(files: MemoryFileSystem, image: Image): Promise<void> {
  await files.makeFolder('data/db')
  for (const [path, content] of image) {
    const file = await files.open(path, 'create')
    await file.write([content], 0)
    await file.close()
  }
}

/** Opens, scans, gets each key, compacts and scans again, with small caches. Each answer must be right or tell of damage. */
async function readEverything(
  fileSystem: ConstructorParameters<typeof InlineExecutor>[1]['fileSystem'],
  wal: boolean,
  records: readonly string[],
): Promise<'failed openly' | 'without harm'> {
  const clock = new HastyClock()
  const executor = new InlineExecutor(lsmJobs, { fileSystem, clock })
  let outcome: 'failed openly' | 'without harm' = 'without harm'
  const judged = async (found: Promise<readonly string[]>, expected: readonly string[]) => {
    const answer = await found.catch((error: Error) => error)
    if (judgeDamaged(answer, expected, undefined) === 'failed openly') outcome = 'failed openly'
  }
  try {
    const db = await openDatabase({ fileSystem, executor, clock, folder: 'data' }, { wal, ...imageOptions })
    await judged(scan(db), records)
    for (const record of records) {
      const key = record.slice(0, record.indexOf('='))
      const got = async () => [`${key}=${await getText(db, key)}`]
      await judged(got(), [record])
    }
    await judged(
      db.compactRange().then(() => []),
      [],
    )
    await judged(scan(db, undefined, undefined, true), [...records].reverse())
    await db.close()
  } catch (error) {
    assert(error instanceof CorruptionError, `damage is told as such: ${error instanceof Error ? error.stack : error}`)
    outcome = 'failed openly'
  } finally {
    await executor.close()
  }
  return outcome
}

/** Files between a flush's edit of the manifest and the removal of the log that it makes useless; how long the manifest was before. */
async function makeImageOfCommit(
  wal: boolean,
): Promise<{ image: Image; manifest: string; durable: number; before: string[]; after: string[] }> {
  const { world, process, disk } = simulate(1)
  return world.settle(
    (async () => {
      const db = await openDatabase(environmentOf(process), { wal, ...imageOptions })
      const round = async (name: string) => {
        for (let i = 0; i < 10; i++) await db.write(new WriteBatch().put(bytes(`key${i}`), bytes(`${name} ${i}`)))
      }
      await round('first')
      await (wal ? db.flush() : db.seal(bytes('first')))
      const before = await scan(db)
      await round('second')
      await db.settle()
      let started: { manifest: string; durable: number } | undefined
      let image: Image | undefined
      disk.inject = ({ kind, path }) => {
        if (kind === 'write' && path.includes('MANIFEST')) started ??= { manifest: path, durable: disk.bytesOf(path).length }
        else if (kind === 'unlink' && path.endsWith('.log')) image ??= imageOf(disk)
        return undefined
      }
      await (wal ? db.flush() : db.seal(bytes('second')))
      await db.settle()
      const after = await scan(db)
      await db.close()
      return { ...must(started, 'an edit'), image: image ?? imageOf(disk), before: wal ? after : before, after }
    })(),
  )
}

/**
 * The manifest ends at every byte of the edit of a flush: an edit that is not whole was never acknowledged, and what it stood for is in the log, or
 * behind the mark before. Also at every byte before that, with a WAL: what was durable is missed then, for the logs tell of those before them.
 */
export async function sweepTornManifest(wal: boolean, dose: Dose): Promise<Tally> {
  const { image, manifest, durable, before, after } = await makeImageOfCommit(wal)
  const tally = newTally(`torn manifest, WAL ${wal}`)
  const { length } = must(image.get(manifest), 'the manifest')
  for (let end = length - (dose.first % dose.stride); end >= (wal ? 0 : durable); end -= dose.stride) {
    await tryPoint(tally, `cut to ${end} of ${length}, ${durable} of them durable`, async () => {
      const found = await readAll(image, wal, (disk) => disk.cut(manifest, end))
      if (!(found instanceof Error)) return judgeDamaged(found, JSON.stringify(found) === JSON.stringify(after) ? after : before, undefined)
      assert(end < durable, `a torn tail is no damage: ${found.message}`)
      return judgeDamaged(found, after, undefined)
    })
  }
  return tally
}

/**
 * Each file is gone, or empty. It is missed, or was not needed. One that is the newest log can be missed by nobody: a log that was never begun looks
 * the same, and only a disk that forgets a synced name takes it away.
 */
export async function sweepMissingFiles(wal: boolean, end: End): Promise<Tally> {
  const { image, records } = await makeImage(wal, end)
  const tally = newTally(`missing and empty files, WAL ${wal}, after a ${end}`)
  const newestLog = [...image.keys()].filter((path) => path.endsWith('.log')).at(-1)
  for (const path of image.keys()) {
    if (path === newestLog) continue
    // That a log is missing is told of the one behind it.
    const told = path.endsWith('.log') ? newestLog : path
    await tryPoint(tally, `without ${path}`, async () =>
      judgeDamaged(await readAll(image, wal, (disk) => disk.unlink(path)), records, told),
    )
    await tryPoint(tally, `${path} empty`, async () => judgeDamaged(await readAll(image, wal, (disk) => disk.cut(path, 0)), records, path))
  }
  return tally
}
