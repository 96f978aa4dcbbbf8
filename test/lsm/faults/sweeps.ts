import { assert } from '../../../base/assert.ts'
import { DiskSpace } from '../../../base/disk-space.ts'
import { CorruptionError, systemErrorCode } from '../../../base/errors.ts'
import type { Database, DatabaseOptions } from '../../../lsm/index.ts'
import { WriteBatch } from '../../../lsm/index.ts'
import type { DiskOperation, Fault, SimDisk } from '../../sim/sim-disk.ts'
import type { SimProcess } from '../../sim/sim-process.ts'
import { type Simulation, simulate } from '../environment.ts'
import { bytes, recordsOf, scan } from '../model.ts'
import { judge, judgeVisible, newProgress, openScripted, type Progress, play, type Script, unexpired } from './script.ts'
import { type Dose, newTally, pointsOf, type Tally, tryPoint } from './tally.ts'

/** Virtual. */
const patienceMs = 10_000_000

/** What happens at the operations from the k-th on, the first being 0. */
type Injection = (behind: number, operation: DiskOperation) => Fault | undefined

const once =
  (fault: Fault): Injection =>
  (behind) =>
    behind === 0 ? fault : undefined

/** Injects from the k-th operation from now on; the function returned ends it. */
function arm(disk: SimDisk, k: number, injection: Injection): () => void {
  const target = disk.operations + k
  disk.inject = (operation) => (operation.index >= target ? injection(operation.index - target, operation) : undefined)
  return () => {
    disk.inject = undefined
  }
}

interface Played {
  readonly simulation: Simulation
  readonly progress: Progress
}

/** Plays the script until the process is dead, or the script at its end or failed. `closes`: a database that failed is closed, too. */
async function playWith(
  script: Script,
  k: number,
  injection: Injection,
  more?: (process: SimProcess) => Promise<Partial<DatabaseOptions>>,
  closes = false,
) {
  const simulation = simulate(k)
  const { world, process, disk } = simulation
  const progress = newProgress()
  const options = more === undefined ? {} : await world.settle(more(process))
  const disarm = arm(disk, k, injection)
  play(script, process, progress, options).catch(async (error: unknown) => {
    if (closes) await progress.db?.close().catch(() => undefined)
    progress.error = error instanceof Error ? error : new Error(String(error))
  })
  await world.runUntil(() => !process.alive || progress.done || progress.error !== undefined, patienceMs)
  disarm()
  return { simulation, progress } satisfies Played
}

/** How many operations on files the script takes, undisturbed. */
async function countOperations(script: Script, seed = 1): Promise<number> {
  const { simulation, progress } = await playWith(script, seed, () => undefined)
  assert(progress.error === undefined && progress.done, `an undisturbed script comes to its end: ${progress.error}`)
  return simulation.disk.operations
}

/** A process that died opens again, twice: what was acknowledged is there, and stays. */
async function verify(script: Script, { simulation, progress }: Played, process: SimProcess): Promise<void> {
  const within = <T>(promise: Promise<T>) => simulation.world.settle(promise, patienceMs)
  const db = await within(openScripted(script, process, progress))
  const shown = async (from: Database, reverse = false) =>
    unexpired(script, await within(scan(from, undefined, undefined, reverse)), progress.durable)
  const records = await shown(db)
  judge(script, progress, records, db.durableMark)
  assertSame(await shown(db, true), [...records].reverse(), 'in reverse')
  await within(db.settle())
  await within(db.close())
  // A second open must find the same, whatever the first one had to mend.
  const again = await within(openScripted(script, process, progress))
  assertSame(await shown(again), records, 'opened again')
  await within(again.close())
  if (progress.checkpoint === undefined) return
  const { at, content } = progress.checkpoint
  const copy = await within(openScripted(script, process, progress, { folder: at.folder }))
  assertSame(await shown(copy), unexpired(script, recordsOf(content), progress.durable), 'the checkpoint')
  await within(copy.close())
}

function assertSame(found: readonly string[], expected: readonly string[], what: string): void {
  assert(JSON.stringify(found) === JSON.stringify(expected), `${what}: found ${found}, expected ${expected}`)
}

/** Loses power, or is killed: what was written, and not synced, is lost only by the first. */
function die({ process }: Simulation, isPowerLoss: boolean): SimProcess {
  if (isPowerLoss) process.powerLoss()
  else process.kill()
  return process.restart()
}

/** The power is cut at the k-th operation: of what was not synced blocks, parts of blocks and names are lost. */
export async function sweepPowerLoss(script: Script, dose: Dose): Promise<Tally> {
  const tally = newTally(`power loss, ${nameOf(script)}`)
  for (const k of pointsOf(await countOperations(script), dose)) {
    await tryPoint(tally, `operation ${k}`, async () => {
      const played = await playWith(script, k, once('crash'))
      const { error } = played.progress
      await verify(script, played, die(played.simulation, true))
      return error === undefined ? 'without harm' : 'failed openly'
    })
  }
  return tally
}

/**
 * An open database that has met an error: it shows nothing wrong, and once it has failed it takes no more writes. Then it is closed, or not, and
 * the process dies one way or the other.
 */
async function verifyAfterError(script: Script, played: Played, k: number): Promise<'failed openly' | 'without harm'> {
  const { simulation, progress } = played
  const within = <T>(promise: Promise<T>) => simulation.world.settle(promise, patienceMs)
  const { db } = progress
  if (progress.error !== undefined && db !== undefined && !progress.closing) {
    // What is still under way may be acknowledged while the scan goes on, which shows the moment at which it began.
    const atStart = { ...progress }
    const records = await within(scan(db).catch(() => undefined))
    if (records !== undefined) judgeVisible(script, atStart, records)
    if (db.failed !== undefined) {
      const written = await within((async () => db.write(new WriteBatch().put(bytes('late'), bytes('x'))))().catch((error: Error) => error))
      assert(written === db.failed, 'a database that failed fails all writes with its failure')
    }
    if (k % 4 >= 2) await within(db.close().catch(() => undefined))
  }
  const failed = progress.error !== undefined
  await verify(script, played, die(simulation, k % 2 === 0))
  return failed ? 'failed openly' : 'without harm'
}

/** One error, EIO or ENOSPC, at the k-th operation. A failed sync makes nothing durable, then or later. */
export async function sweepErrors(script: Script, dose: Dose): Promise<Tally> {
  const tally = newTally(`one error, ${nameOf(script)}`)
  for (const k of pointsOf(await countOperations(script), dose)) {
    const fault = Math.floor(k / dose.stride) % 3 === 0 ? 'ENOSPC' : 'EIO'
    await tryPoint(tally, `${fault} at operation ${k}`, async () => verifyAfterError(script, await playWith(script, k, once(fault)), k))
  }
  return tally
}

/** One error at the k-th operation, and the power is cut at a later one, of the script or, where that failed, of the database that is closed then. */
export async function sweepErrorThenPowerLoss(script: Script, dose: Dose, later: Dose): Promise<Tally> {
  const tally = newTally(`one error, then power loss, ${nameOf(script)}`)
  for (const k of pointsOf(await countOperations(script), dose)) {
    const fault = Math.floor(k / dose.stride) % 3 === 0 ? 'ENOSPC' : 'EIO'
    for (let j = 1 + (later.first % later.stride), isOver = false; !isOver; j += later.stride) {
      await tryPoint(tally, `${fault} at operation ${k}, power loss ${j} operations later`, async () => {
        const injection: Injection = (behind) => (behind === 0 ? fault : behind === j ? 'crash' : undefined)
        const played = await playWith(script, k, injection, undefined, true)
        isOver = played.simulation.process.alive
        await verify(script, played, die(played.simulation, true))
        if (isOver) return 'nothing injected'
        return played.progress.db?.failed === undefined ? 'without harm' : 'failed openly'
      })
    }
  }
  return tally
}

/** What runs at most at the same time while the script is played undisturbed. */
export async function countCompactions(script: Script): Promise<number> {
  let running = 0
  let most = 0
  await playWith(
    script,
    1,
    () => undefined,
    async ({ executor }) => ({
      compactionExecutor: {
        run: async (name, input) => {
          most = Math.max(most, ++running)
          try {
            return await executor.run(name, input)
          } finally {
            running--
          }
        },
        close: () => executor.close(),
      },
    }),
  )
  return most
}

/** From the k-th operation on the process may open nothing more, neither file nor folder. */
export async function sweepOpenLimit(script: Script, dose: Dose): Promise<Tally> {
  const tally = newTally(`no more open files, ${nameOf(script)}`)
  const limit: Injection = (_behind, { kind }) => (kind === 'open' || kind === 'syncFolder' ? 'EMFILE' : undefined)
  for (const k of pointsOf(await countOperations(script), dose)) {
    await tryPoint(tally, `operation ${k}`, async () => verifyAfterError(script, await playWith(script, k, limit), k))
  }
  return tally
}

/** From the k-th operation on files do not grow. */
export async function sweepFullDisk(script: Script, dose: Dose): Promise<Tally> {
  const tally = newTally(`full disk, ${nameOf(script)}`)
  for (const k of pointsOf(await countOperations(script), dose)) {
    await tryPoint(tally, `operation ${k}`, async () => {
      let disk: SimDisk | undefined
      const played = await playWith(
        script,
        k,
        () => {
          if (disk !== undefined) disk.quotaBytes = Math.min(disk.quotaBytes, disk.usedBytes())
          return undefined
        },
        async (process) => {
          disk = process.disk
          return {}
        },
      )
      // An open that finds no room says so, and spoils nothing; then there is room again.
      const { world, disk: full } = played.simulation
      const failed = played.progress.error !== undefined
      let process = die(played.simulation, k % 2 === 0)
      await world.settle(
        openScripted(script, process, played.progress).catch((error: unknown) => assert(systemErrorCode(error) === 'ENOSPC', `${error}`)),
        patienceMs,
      )
      process.kill()
      process = process.restart()
      full.quotaBytes = Number.POSITIVE_INFINITY
      await verify(script, played, process)
      return failed ? 'failed openly' : 'without harm'
    })
  }
  return tally
}

/** The disk is full from the k-th operation on for a while, and the database waits for room: without a WAL it must come to the end of the script. */
export async function sweepFullDiskWaitedFor(script: Script, dose: Dose): Promise<Tally> {
  assert(!script.wal, 'with a WAL a write that finds no room fails')
  const tally = newTally(`full disk that is waited for, ${nameOf(script)}`)
  for (const k of pointsOf(await countOperations(script), dose)) {
    await tryPoint(tally, `operation ${k}`, async () => {
      let process: SimProcess | undefined
      let isFull = false
      let space: DiskSpace | undefined
      const fill: Injection = (behind) => {
        if (behind !== 0 || process === undefined) return undefined
        const { disk } = process
        isFull = true
        disk.quotaBytes = disk.usedBytes()
        process.schedule(5_000, 'room again', () => {
          disk.quotaBytes = Number.POSITIVE_INFINITY
        })
        return undefined
      }
      const played = await playWith(script, k, fill, async (started) => {
        process = started
        const { fileSystem, clock, logger } = started
        space = await DiskSpace.open({ fileSystem, clock, logger, folder: 'data', reserveBytes: 0, lowBytes: 0 })
        return { space }
      })
      const { error, db, begun } = played.progress
      assert(db?.failed === undefined, `a full disk is no failure: ${db?.failed}`)
      // What makes files for the caller, a checkpoint or a table to ingest, does not wait; nor does a compaction that he asks for.
      const kind = script.operations[begun - 1]?.kind
      assert(error === undefined || kind === 'checkpoint' || kind === 'ingest' || kind === 'compact', `a ${kind} waits for room: ${error}`)
      played.simulation.disk.quotaBytes = Number.POSITIVE_INFINITY
      await played.simulation.world.settle(space?.close() ?? Promise.resolve())
      await verify(script, played, die(played.simulation, k % 2 === 0))
      assert(isFull || error === undefined, 'nothing fails before the disk is full')
      return error === undefined ? 'without harm' : 'failed openly'
    })
  }
  return tally
}

/** Images that are worth recovering: what the process left that lost its power at these operations. */
function* imagesOf(total: number, count: number): Generator<number> {
  for (let i = 1; i <= count; i++) yield Math.floor((i * total) / (count + 0.5))
}

/** Opens with an injection from the j-th operation on, until the process is dead or the open has ended. */
async function openWith(script: Script, { simulation, progress }: Played, process: SimProcess, j: number, injection: Injection) {
  const { world, disk } = simulation
  const before = disk.operations
  const disarm = arm(disk, j, injection)
  let outcome: Database | Error | undefined
  openScripted(script, process, progress).then(
    (db) => (outcome = db),
    (error: Error) => (outcome = error),
  )
  await world.runUntil(() => !process.alive || outcome !== undefined, patienceMs)
  disarm()
  return { outcome, operations: disk.operations - before }
}

/** The recovery is cut off by a power loss at its j-th operation, and then the next one, too; the third must find all. */
export async function sweepRecoveryPowerLoss(script: Script, dose: Dose, images: number): Promise<Tally> {
  const tally = newTally(`power loss during recovery, twice, ${nameOf(script)}`)
  const total = await countOperations(script)
  for (const k of imagesOf(total, images)) {
    for (let j = 1 + (dose.first % dose.stride); ; j += dose.stride) {
      let isOver = false
      await tryPoint(tally, `after operation ${k}, operation ${j} of the recovery`, async () => {
        const played = await playWith(script, k, once('crash'))
        let process = die(played.simulation, true)
        for (let round = 0; round < 2; round++) {
          const { outcome } = await openWith(script, played, process, j, once('crash'))
          if (outcome instanceof Error) throw outcome
          // An open that was done before its j-th operation loses its power now.
          if (round === 0 && outcome !== undefined) isOver = true
          process.powerLoss()
          process = process.restart()
        }
        await verify(script, played, process)
        return isOver ? 'nothing injected' : 'without harm'
      })
      if (isOver) break
    }
  }
  return tally
}

/** The recovery meets an error at its j-th operation: it says so, or is done; and the next one finds all. */
export async function sweepRecoveryErrors(script: Script, dose: Dose, images: number): Promise<Tally> {
  const tally = newTally(`one error during recovery, ${nameOf(script)}`)
  const faults: Fault[] = ['EIO', 'ENOSPC', 'EMFILE', 'EACCES']
  const total = await countOperations(script)
  for (const k of imagesOf(total, images)) {
    for (let j = 1 + (dose.first % dose.stride); ; j += dose.stride) {
      const fault = faults[Math.floor(j / dose.stride) % faults.length] as Fault
      let isOver = false
      await tryPoint(tally, `after operation ${k}, ${fault} at operation ${j} of the recovery`, async () => {
        const played = await playWith(script, k, once('crash'))
        const process = die(played.simulation, true)
        const { outcome, operations } = await openWith(script, played, process, j, once(fault))
        isOver = operations < j
        if (outcome instanceof Error) assert(!(outcome instanceof CorruptionError), `an error of the system is no damage: ${outcome}`)
        if (j % 2 === 0) process.powerLoss()
        else process.kill()
        await verify(script, played, process.restart())
        if (isOver) return 'nothing injected'
        return outcome instanceof Error ? 'failed openly' : 'without harm'
      })
      if (isOver) break
    }
  }
  return tally
}

/** With syncs that do nothing: how many power losses the sweep takes notice of. */
export async function countNoticedLies(script: Script): Promise<number> {
  let noticed = 0
  for (let k = 40; k <= 400; k += 20) {
    const played = await playWith(script, k, once('crash'), async (process) => {
      process.disk.lyingSync = true
      return {}
    })
    await verify(script, played, die(played.simulation, true)).catch(() => noticed++)
  }
  return noticed
}

function nameOf({ wal, rich, seed }: Script): string {
  return `WAL ${wal}${rich ? ', rich' : ''}, seed ${seed}`
}
