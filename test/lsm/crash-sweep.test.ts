import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../base/random.ts'
import type { Database } from '../../lsm/index.ts'
import type { Fault, SimDisk } from '../sim/sim-disk.ts'
import type { SimProcess } from '../sim/sim-process.ts'
import { environmentOf, openDatabase, type Simulation, simulate } from './environment.ts'
import { type Model, recordsOf, scan, text } from './model.ts'
import { type Checkpoint, modelAfter, type Operation, Performer, randomOperation } from './random-operations.ts'

/**
 * One fixed history, with the power cut at its k-th file operation for every k, and then during the recovery. What was acknowledged must be
 * there, what is there must be the history up to some operation: with a WAL one between the last acknowledged and the last begun; without
 * one exactly that of the durable mark.
 */
interface Script {
  readonly wal: boolean
  readonly operations: readonly Operation[]
  /** models[i]: after i operations. */
  readonly models: readonly Model[]
}

interface Progress {
  /** All operations up to here were acknowledged as durable, or come before one that was. */
  durable: number
  /** The last operation begun. */
  begun: number
  checkpoint: { at: Checkpoint; content: Model } | undefined
  done: boolean
  error: Error | undefined
}

const steps = 32

function makeScript(seed: number, wal: boolean): Script {
  const random = new SeededRandom(seed)
  const operations: Operation[] = []
  const models: Model[] = [new Map()]
  let checkpoint: Checkpoint | undefined
  for (let i = 1; i <= steps; i++) {
    // The rarer kinds, all of them, in the second half.
    let operation = randomOperation(random, i)
    const wanted = new Map<number, Operation['kind']>([
      [16, 'flush'],
      [20, 'checkpoint'],
      [24, 'restore'],
      [27, 'ingest'],
      [30, 'excise'],
      [31, 'compact'],
    ]).get(i)
    while (wanted !== undefined && operation.kind !== wanted) operation = randomOperation(random, i)
    const before = models[i - 1] as Model
    if (operation.kind === 'checkpoint') checkpoint = { folder: '', content: before }
    operations.push(operation)
    models.push(modelAfter(before, operation, checkpoint))
  }
  return { wal, operations, models }
}

const options = { memtableBytes: 2048, targetTableBytes: 1024, level1Bytes: 2048 } as const

async function play(script: Script, process: SimProcess, progress: Progress): Promise<void> {
  const environment = environmentOf(process)
  const db = await openDatabase(environment, { wal: script.wal, ...options })
  const performer = new Performer(db, environment, script.wal)
  const pending: Promise<void>[] = []
  for (const [i, operation] of script.operations.entries()) {
    const index = i + 1
    progress.begun = index
    const before = script.models[i] as Model
    const done = performer.perform(operation, index, before).then(() => {
      if (isAcknowledged(script, operation, performer)) progress.durable = Math.max(progress.durable, index)
      if (operation.kind === 'checkpoint' && performer.checkpoint !== undefined) {
        progress.checkpoint = { at: performer.checkpoint, content: before }
      }
    })
    // Several at once, where they take their place when they are called: all but those that first see to files.
    const takesItsPlace = operation.kind === 'write' || operation.kind === 'flush' || operation.kind === 'excise'
    if (takesItsPlace && index % 4 !== 0) {
      pending.push(done)
      done.catch(() => undefined)
    } else await done
  }
  await Promise.all(pending)
  await db.close()
  progress.done = true
}

/** `fault` hits the k-th operation from now on, unless the function returned is called before. */
function arm(disk: SimDisk, k: number, fault: Fault): () => void {
  const target = disk.operations + k
  disk.inject = ({ index }) => (index === target ? fault : undefined)
  return () => {
    disk.inject = undefined
  }
}

/** Whether the promise of an operation says that it, and all before it, is durable. */
function isAcknowledged({ wal }: Script, operation: Operation, performer: Performer): boolean {
  if (operation.kind === 'write') return wal && operation.sync
  if (operation.kind === 'restore') return performer.checkpoint !== undefined
  return operation.kind !== 'compact'
}

function newProgress(): Progress {
  return { durable: 0, begun: 0, checkpoint: undefined, done: false, error: undefined }
}

/** Runs the script with `fault` at its k-th file operation, until the process is dead or the script at its end or failed. */
async function playWithFault(
  script: Script,
  seed: number,
  k: number,
  fault: Fault,
): Promise<{ simulation: Simulation; progress: Progress }> {
  const simulation = simulate(seed)
  const { world, process, disk } = simulation
  const progress = newProgress()
  const disarm = arm(disk, k, fault)
  play(script, process, progress).catch((error: unknown) => {
    progress.error = error instanceof Error ? error : new Error(String(error))
  })
  await world.runUntil(() => !process.alive || progress.done || progress.error !== undefined, 10_000_000)
  disarm()
  return { simulation, progress }
}

/** Opens, with the power cut at the j-th operation if j is given; the process that then lives, with its database. */
async function reopen(script: Script, simulation: Simulation, dead: SimProcess, j: number): Promise<{ process: SimProcess; db: Database }> {
  const { world, disk } = simulation
  let process = dead.restart()
  if (j > 0) {
    const disarm = arm(disk, j, 'crash')
    let opened = false
    let failure: unknown
    openDatabase(environmentOf(process), { wal: script.wal, ...options }).then(
      () => (opened = true),
      (error: unknown) => (failure = error),
    )
    await world.runUntil(() => !process.alive || opened || failure !== undefined, 10_000_000)
    disarm()
    if (failure !== undefined) throw failure
    // An open that was done before its j-th operation loses its power now.
    process.powerLoss()
    process = process.restart()
  }
  const db = await world.settle(openDatabase(environmentOf(process), { wal: script.wal, ...options }), 10_000_000)
  return { process, db }
}

/** The number of operations whose result `records` are, as far as that may be; throws where it is none that is allowed. */
function judge(script: Script, progress: Progress, records: readonly string[], mark: Uint8Array | undefined): void {
  const found = JSON.stringify(records)
  const at = (i: number) => JSON.stringify(recordsOf(script.models[i] as Model)) === found
  if (!script.wal) {
    const index = mark === undefined ? 0 : Number(text(mark))
    expect(index, 'the durable mark is at or above what was acknowledged').toBeGreaterThanOrEqual(progress.durable)
    expect(index).toBeLessThanOrEqual(progress.begun)
    expect(records).toEqual(recordsOf(script.models[index] as Model))
    return
  }
  for (let i = progress.durable; i <= progress.begun; i++) if (at(i)) return
  expect(records, `the history after operation ${progress.durable} to ${progress.begun}`).toEqual(
    recordsOf(script.models[progress.durable] as Model),
  )
}

async function verify(script: Script, simulation: Simulation, progress: Progress, dead: SimProcess, j: number): Promise<void> {
  const { world } = simulation
  const { process, db } = await reopen(script, simulation, dead, j)
  const within = <T>(promise: Promise<T>) => world.settle(promise, 10_000_000)
  const records = await within(scan(db))
  judge(script, progress, records, db.durableMark)
  expect(await within(scan(db, undefined, undefined, true))).toEqual([...records].reverse())
  await within(db.settle())
  await within(db.close())
  // A second open must find the same, whatever the first one had to mend.
  const again = await within(openDatabase(environmentOf(process), { wal: script.wal, ...options }))
  expect(await within(scan(again))).toEqual(records)
  await within(again.close())
  if (progress.checkpoint !== undefined) {
    const { folder } = progress.checkpoint.at
    const copy = await within(openDatabase(environmentOf(process), { wal: script.wal, ...options, folder }))
    expect(await within(scan(copy))).toEqual(recordsOf(progress.checkpoint.content))
    await within(copy.close())
  }
}

async function countOperations(script: Script): Promise<number> {
  const { simulation, progress } = await playWithFault(script, 1, 1_000_000_000, 'crash')
  expect(progress.error).toBeUndefined()
  expect(progress.done).toBe(true)
  return simulation.disk.operations
}

describe.each([
  [true, 11],
  [false, 12],
])('a history with WAL: %s (seed %i)', (wal, seed) => {
  const script = makeScript(seed, wal)

  it('holds all kinds of operation', () => {
    expect(new Set(script.operations.map((operation) => operation.kind)).size).toBe(7)
  })

  it('survives a power loss at each of its file operations, and one more during the recovery', async () => {
    const total = await countOperations(script)
    let recoveryCrashes = 0
    for (let k = 1; k <= total; k++) {
      try {
        const { simulation, progress } = await playWithFault(script, k, k, 'crash')
        const j = k % 2 === 0 ? 1 + ((k * 7) % 30) : 0
        if (j > 0) recoveryCrashes++
        simulation.process.powerLoss()
        await verify(script, simulation, progress, simulation.process, j)
      } catch (error) {
        throw new Error(`power loss at operation ${k} (seed ${k}): ${error instanceof Error ? error.message : error}`, { cause: error })
      }
    }
    console.log(
      `lsm crash sweep, WAL ${wal}: ${total} points tried, ${recoveryCrashes} with a second crash during recovery, 0 lost, 0 wrong`,
    )
  })

  it('gives no wrong value after an error at each of its file operations', async () => {
    const total = await countOperations(script)
    let failed = 0
    for (let k = 1; k <= total; k++) {
      try {
        const { simulation, progress } = await playWithFault(script, k, k, k % 3 === 0 ? 'ENOSPC' : 'EIO')
        if (progress.error !== undefined) failed++
        // What a process that met an error leaves behind, and then loses its power or is killed.
        if (k % 2 === 0) simulation.process.powerLoss()
        else simulation.process.kill()
        await verify(script, simulation, progress, simulation.process, 0)
      } catch (error) {
        throw new Error(`error at operation ${k} (seed ${k}): ${error instanceof Error ? error.message : error}`, { cause: error })
      }
    }
    console.log(`lsm error sweep, WAL ${wal}: ${total} points tried, ${failed} failed openly, 0 lost, 0 wrong`)
  })
})

it('the sweep itself finds a disk whose syncs do nothing', async () => {
  const script = makeScript(11, true)
  let caught = 0
  for (let k = 40; k <= 400; k += 20) {
    const simulation = simulate(k)
    simulation.disk.lyingSync = true
    const progress = newProgress()
    arm(simulation.disk, k, 'crash')
    play(script, simulation.process, progress).catch(() => undefined)
    await simulation.world.runUntil(() => !simulation.process.alive || progress.done, 10_000_000)
    simulation.process.powerLoss()
    await verify(script, simulation, progress, simulation.process, 0).catch(() => caught++)
  }
  expect(caught).toBeGreaterThan(3)
})
