import { assert, must } from '../../../base/assert.ts'
import type { Database, DatabaseIterator, Snapshot } from '../../../lsm/index.ts'
import type { Environment } from '../environment.ts'
import { bytes, getText, type Model, recordsOf, scan, text } from '../model.ts'
import { type Checkpoint, modelAfter, type Operation, Performer } from '../random-operations.ts'
import type { Bounds, Reading, Step } from './steps.ts'

/** What a list of steps answers: one line for each step, the same for whoever keeps to the contract. */
export type History = readonly string[]

const done = 'done'
const nothing = 'nothing'

function isReading(action: Operation | Reading): action is Reading {
  return readingKinds.has(action.kind)
}

const readingKinds: ReadonlySet<string> = new Set<Reading['kind']>([
  'get',
  'getSync',
  'getMany',
  'scan',
  'snapshot',
  'release',
  'iterator',
  'next',
  'openCheckpoint',
  'reopen',
])

/** Those that take their place in the order when they are called. */
const changeKinds: ReadonlySet<string> = new Set<Operation['kind']>(['write', 'flush', 'excise', 'deleteRange'])

/** The history by the model. */
export function expectedHistory(steps: readonly Step[]): History {
  let model: Model = new Map()
  let checkpoint: Checkpoint | undefined
  const snapshots = new Map<number, Model>()
  const iterators = new Map<number, string[]>()
  const at = (slot: number | undefined) => (slot === undefined ? model : (snapshots.get(slot) ?? model))
  const answer = (action: Reading): string => {
    switch (action.kind) {
      case 'get':
      case 'getSync':
        return String(at(action.snapshot).get(action.key))
      case 'getMany':
        return action.keys.map((key) => String(at(action.snapshot).get(key))).join(' ')
      case 'scan':
        return recordsOf(at(action.snapshot), action.lower, action.upper, action.reverse).join(' ')
      case 'snapshot':
        snapshots.set(action.slot, model)
        return done
      case 'release':
        return snapshots.delete(action.slot) ? done : nothing
      case 'iterator':
        iterators.set(action.slot, recordsOf(at(action.snapshot), action.lower, action.upper, action.reverse))
        return done
      case 'next': {
        const rest = iterators.get(action.slot)
        if (rest === undefined) return nothing
        const found = rest.splice(0, action.count)
        return [...found, ...(found.length < action.count ? ['end'] : [])].join(' ')
      }
      case 'openCheckpoint':
        return checkpoint === undefined ? nothing : recordsOf(checkpoint.content).join(' ')
      case 'reopen':
        snapshots.clear()
        iterators.clear()
        return recordsOf(model).join(' ')
    }
  }
  return steps.map(({ action }) => {
    if (isReading(action)) return answer(action)
    if (action.kind === 'checkpoint') checkpoint = { folder: '', content: model }
    model = modelAfter(model, action, checkpoint)
    return done
  })
}

export interface HistoryOptions {
  readonly wal: boolean
  /** Opens the database of a folder, `db` or a checkpoint's. */
  readonly open: (folder: string, isCheckpoint: boolean) => Promise<Database>
  /** In the place of what each write asks for. */
  readonly sync: boolean | undefined
}

/** The history by a database. What fails ends it, with a line that says so. */
export async function playHistory(steps: readonly Step[], environment: Environment, options: HistoryOptions): Promise<History> {
  const player = new Player(await options.open(`${environment.folder}/db`, false), environment, options)
  const lines: string[] = []
  try {
    for (const [i, step] of steps.entries()) lines.push(await player.play(step, i + 1))
    await player.close()
  } catch (error) {
    lines.push(`failed: ${error instanceof Error ? error.stack : error}`)
    await player.close().catch(() => undefined)
  }
  return lines
}

class Player {
  readonly #performer: Performer
  readonly #environment: Environment
  readonly #options: HistoryOptions
  readonly #snapshots = new Map<number, Snapshot>()
  readonly #iterators = new Map<number, DatabaseIterator>()
  #model: Model = new Map()
  /** Changes under way. */
  #pending: Promise<void>[] = []
  /** Compactions under way: they change no answer. */
  #background: Promise<void>[] = []

  constructor(db: Database, environment: Environment, options: HistoryOptions) {
    this.#performer = new Performer(db, environment, options.wal)
    this.#environment = environment
    this.#options = options
  }

  get #db(): Database {
    return this.#performer.db
  }

  async play({ action, together }: Step, index: number): Promise<string> {
    const isChange = changeKinds.has(action.kind)
    // Without a WAL a change is seen when its call returns, with one when it has resolved.
    if (this.#options.wal && !isChange && action.kind !== 'compact') await this.#settle()
    if (isReading(action)) return this.#read(action, index)
    const { sync } = this.#options
    const operation = 'sync' in action && sync !== undefined ? { ...action, sync } : action
    const changed = this.#performer.perform(operation, index, this.#model)
    changed.catch(() => undefined)
    this.#model = modelAfter(this.#model, operation, this.#performer.checkpoint)
    if (together && action.kind === 'compact') this.#background.push(changed)
    else if (together && isChange) this.#pending.push(changed)
    else await changed
    if (!this.#options.wal && this.#db.wantsSeal) this.#pending.push(this.#db.seal(bytes(String(index))))
    return done
  }

  async close(): Promise<void> {
    for (const snapshot of this.#snapshots.values()) snapshot.release()
    for (const iterator of this.#iterators.values()) iterator.close()
    this.#snapshots.clear()
    this.#iterators.clear()
    await this.#settle()
    await Promise.all(this.#background)
    this.#background = []
    await this.#db.close()
  }

  async #settle(): Promise<void> {
    const pending = this.#pending
    this.#pending = []
    await Promise.all(pending)
  }

  async #read(action: Reading, index: number): Promise<string> {
    const db = this.#db
    switch (action.kind) {
      case 'get':
        return String(await getText(db, action.key, this.#snapshot(action.snapshot)))
      case 'getSync': {
        const value = db.getSync(bytes(action.key), this.#snapshot(action.snapshot))
        return String(value === undefined ? undefined : text(value))
      }
      case 'getMany': {
        const values = await db.getMany(
          action.keys.map((key) => bytes(key)),
          this.#snapshot(action.snapshot),
        )
        return values.map((value) => (value === undefined ? 'undefined' : text(value))).join(' ')
      }
      case 'scan':
        return (await scan(db, action.lower, action.upper, action.reverse, this.#snapshot(action.snapshot))).join(' ')
      case 'snapshot':
        this.#snapshots.get(action.slot)?.release()
        this.#snapshots.set(action.slot, db.snapshot())
        return done
      case 'release': {
        const snapshot = this.#snapshots.get(action.slot)
        snapshot?.release()
        return this.#snapshots.delete(action.slot) ? done : nothing
      }
      case 'iterator':
        this.#iterators.get(action.slot)?.close()
        this.#iterators.set(action.slot, this.#iterate(action, this.#snapshot(action.snapshot)))
        return done
      case 'next':
        return this.#next(action)
      case 'openCheckpoint':
        return this.#readCheckpoint()
      case 'reopen':
        return this.#reopen(index)
    }
  }

  /** Undefined where the slot is empty: what is now. */
  #snapshot(slot: number | undefined): Snapshot | undefined {
    return slot === undefined ? undefined : this.#snapshots.get(slot)
  }

  #iterate({ lower, upper, reverse }: Bounds, snapshot: Snapshot | undefined): DatabaseIterator {
    return this.#db.iterate({
      reverse,
      ...(lower === undefined ? {} : { lower: bytes(lower) }),
      ...(upper === undefined ? {} : { upper: bytes(upper) }),
      ...(snapshot === undefined ? {} : { snapshot }),
    })
  }

  async #next({ slot, count }: { readonly slot: number; readonly count: number }): Promise<string> {
    const iterator = this.#iterators.get(slot)
    if (iterator === undefined) return nothing
    const found: string[] = []
    while (found.length < count && (await iterator.next())) found.push(`${text(iterator.key)}=${text(iterator.value)}`)
    return [...found, ...(found.length < count ? ['end'] : [])].join(' ')
  }

  async #readCheckpoint(): Promise<string> {
    const { checkpoint } = this.#performer
    if (checkpoint === undefined) return nothing
    // It is restored from later: what an open changes, and compacts away, must not be its own.
    const { fileSystem } = this.#environment
    const folder = `${checkpoint.folder}-read`
    await fileSystem.makeFolder(folder)
    for (const name of await fileSystem.list(checkpoint.folder)) await fileSystem.link(`${checkpoint.folder}/${name}`, `${folder}/${name}`)
    const copy = await this.#options.open(folder, true)
    const records = await scan(copy)
    await copy.close()
    await fileSystem.removeFolder(folder)
    return records.join(' ')
  }

  async #reopen(index: number): Promise<string> {
    const { wal, open } = this.#options
    const mark = bytes(String(index))
    if (!wal) await this.#db.seal(mark)
    await this.close()
    this.#performer.db = await open(`${this.#environment.folder}/db`, false)
    if (!wal) assert(text(must(this.#db.durableMark, 'a mark')) === String(index), 'the mark that was sealed last is found again')
    return (await scan(this.#db)).join(' ')
  }
}
