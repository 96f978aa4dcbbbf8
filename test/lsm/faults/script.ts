import { assert } from '../../../base/assert.ts'
import { SeededRandom } from '../../../base/random.ts'
import type { Database, DatabaseOptions, Expiry } from '../../../lsm/index.ts'
import type { SimProcess } from '../../sim/sim-process.ts'
import { environmentOf, openDatabase } from '../environment.ts'
import { type Change, type Model, recordsOf, text } from '../model.ts'
import { type Checkpoint, modelAfter, type Operation, Performer, randomOperation } from '../random-operations.ts'

/** One fixed history that the sweeps disturb. */
export interface Script {
  readonly seed: number
  readonly wal: boolean
  /** With compression, several compactions at once, and values that expire. */
  readonly rich: boolean
  readonly operations: readonly Operation[]
  /** models[i]: after i operations. */
  readonly models: readonly Model[]
}

/** How far a database has come with it. */
export interface Progress {
  /** All operations up to here were acknowledged as durable, or come before one that was. */
  durable: number
  /** The last operation begun. */
  begun: number
  checkpoint: { at: Checkpoint; content: Model } | undefined
  /** `close` was called. */
  closing: boolean
  done: boolean
  error: Error | undefined
  db: Database | undefined
}

export function newProgress(): Progress {
  return { durable: 0, begun: 0, checkpoint: undefined, closing: false, done: false, error: undefined, db: undefined }
}

const steps = 32

/** The rarer kinds, all of them, in the second half. */
const wantedKinds = new Map<number, Operation['kind']>([
  [16, 'flush'],
  [20, 'checkpoint'],
  [22, 'deleteRange'],
  [24, 'restore'],
  [27, 'ingest'],
  [30, 'excise'],
  [31, 'compact'],
])

export function makeScript(seed: number, wal: boolean, rich = false): Script {
  const random = new SeededRandom(seed)
  const operations: Operation[] = []
  const models: Model[] = [new Map()]
  let checkpoint: Checkpoint | undefined
  for (let i = 1; i <= steps; i++) {
    let operation = randomOperation(random, i)
    const wanted = wantedKinds.get(i)
    while (wanted !== undefined && operation.kind !== wanted) operation = randomOperation(random, i)
    if (rich) operation = withMoments(operation, i, random)
    const before = models[i - 1] as Model
    if (operation.kind === 'checkpoint') checkpoint = { folder: '', content: before }
    operations.push(operation)
    models.push(modelAfter(before, operation, checkpoint))
  }
  return { seed, wal, rich, operations, models }
}

/** `progress`: what has expired follows it. */
export function openScripted(
  script: Script,
  process: SimProcess,
  progress: Progress,
  more: Partial<DatabaseOptions> = {},
): Promise<Database> {
  const { wal, rich } = script
  const varied = rich ? richOptions(progress) : {}
  return openDatabase(environmentOf(process), { wal, memtableBytes: 2048, targetTableBytes: 1024, level1Bytes: 2048, ...varied, ...more })
}

function richOptions(progress: Progress): Partial<DatabaseOptions> {
  // What is durable is history whatever happens: a value that ended with it is wanted by nobody again.
  const horizons: Expiry['horizons'] = ({ lower, upper }) => [{ lower, upper, moment: progress.durable }]
  const expiry = { keyOffset: 0, keyByte: expiringKey.charCodeAt(0), valueOffset: 0, horizons }
  return { compression: 'deflate', maxCompactions: 3, levelFactor: 2, level1Bytes: 1024, expiry }
}

const expiringKey = 'b'

/** Some values of keys that may expire begin with the number of an operation, as a moment: with that operation they end. */
function withMoments(operation: Operation, index: number, random: SeededRandom): Operation {
  if (operation.kind !== 'write' && operation.kind !== 'ingest') return operation
  const changes = operation.changes.map(({ key, value }): Change => {
    const expires = value !== undefined && key.startsWith(expiringKey) && random.below(2) === 0
    return { key, value: expires ? `${String.fromCharCode(index + random.below(8))}${'\0'.repeat(7)}${value}` : value }
  })
  return { ...operation, changes }
}

/** Records without those that have expired when `moment` operations are history: a compaction may have dropped them, or not. */
export function unexpired({ rich }: Script, records: readonly string[], moment: number): readonly string[] {
  if (!rich) return records
  return records.filter((record) => {
    const value = record.slice(record.indexOf('=') + 1)
    const expires = record.startsWith(expiringKey) && value.startsWith('\0'.repeat(7), 1)
    return !expires || value.charCodeAt(0) > moment
  })
}

const takesItsPlace: ReadonlySet<string> = new Set<Operation['kind']>(['write', 'flush', 'excise', 'deleteRange'])

/** Plays the script to its end, or rejects with the first failure. */
export async function play(script: Script, process: SimProcess, progress: Progress, more: Partial<DatabaseOptions> = {}): Promise<void> {
  const db = await openScripted(script, process, progress, more)
  progress.db = db
  const performer = new Performer(db, environmentOf(process), script.wal)
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
    // Several at once, where they take their place when they are called.
    if (takesItsPlace.has(operation.kind) && index % 4 !== 0) {
      pending.push(done)
      done.catch(() => undefined)
    } else await done
  }
  await Promise.all(pending)
  progress.closing = true
  await db.close()
  progress.done = true
}

/** Whether the promise of an operation says that it, and all before it, is durable. */
function isAcknowledged({ wal }: Script, operation: Operation, performer: Performer): boolean {
  if (operation.kind === 'write') return wal && operation.sync
  if (operation.kind === 'deleteRange') return !wal || operation.sync
  if (operation.kind === 'restore') return performer.checkpoint !== undefined
  return operation.kind !== 'compact'
}

/**
 * What an open finds must be the history up to some operation: with a WAL one between the last acknowledged and the last begun; without one exactly
 * that of the durable mark. Throws where it is not.
 */
export function judge(script: Script, progress: Progress, records: readonly string[], mark: Uint8Array | undefined): void {
  if (script.wal) {
    judgeVisible(script, progress, records)
    return
  }
  const index = mark === undefined ? 0 : Number(text(mark))
  assert(
    index >= progress.durable && index <= progress.begun,
    `the durable mark ${index} lies within ${progress.durable} to ${progress.begun}`,
  )
  assert(
    isStateAfter(script, index, records),
    `what is there is the history after operation ${index}, that of the durable mark: ${records}`,
  )
}

/** What a database that is open shows, which need not be durable. */
export function judgeVisible(script: Script, progress: Progress, records: readonly string[]): void {
  for (let i = progress.durable; i <= progress.begun; i++) if (isStateAfter(script, i, records)) return
  assert(false, `what is there is the history after one of the operations ${progress.durable} to ${progress.begun}: ${records}`)
}

function isStateAfter(script: Script, index: number, records: readonly string[]): boolean {
  const expected = recordsOf(script.models[index] as Model)
  return JSON.stringify(unexpired(script, expected, index)) === JSON.stringify(unexpired(script, records, index))
}
