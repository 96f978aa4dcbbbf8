import { assert } from '../../base/assert.ts'
import type { SeededRandom } from '../../base/random.ts'
import { type Abortable, type Database, WriteBatch, writeTable } from '../../lsm/index.ts'
import type { Environment } from './environment.ts'
import { applyChanges, bytes, type Change, type Model, recordsOf, scan, text, within, without } from './model.ts'

/** One step of a random history, with all that it will do decided beforehand. */
export type Operation =
  | { readonly kind: 'write'; readonly changes: readonly Change[]; readonly sync: boolean }
  | { readonly kind: 'flush' }
  | ({ readonly kind: 'compact'; readonly lower: string | undefined; readonly upper: string | undefined } & Aborted)
  | { readonly kind: 'excise'; readonly lower: string | undefined; readonly upper: string | undefined }
  /** Without a WAL: an excise. */
  | { readonly kind: 'deleteRange'; readonly lower: string | undefined; readonly upper: string | undefined; readonly sync: boolean }
  /** The changes, in order of keys, in `files` tables. */
  | ({ readonly kind: 'ingest'; readonly changes: readonly Change[]; readonly files: number } & Aborted)
  /** Makes a checkpoint. */
  | ({ readonly kind: 'checkpoint' } & Aborted)
  /** Puts [lower, upper) back to what the last checkpoint held, in one edit: excise and ingest of its tables, clipped, at their levels. */
  | { readonly kind: 'restore'; readonly lower: string; readonly upper: string }

/** Of long work: what was ended before it was done must have changed nothing, and is then done without being disturbed. */
interface Aborted {
  /** Turns after which it is aborted, if it is not done by then; -1: before it begins. Not given: it is not. */
  readonly abortAfter?: number
}

const keyCount = 120

export function randomKey(random: SeededRandom): string {
  const number = random.below(keyCount)
  // Keys of several lengths, some of which begin others, with two shards' worth of prefixes.
  return `${number % 2 === 0 ? 'a' : 'b'}${'xy'.repeat(number % 5)}${String(number).padStart(3, '0')}${number % 7 === 0 ? '\u0001' : ''}`
}

export function randomRange(random: SeededRandom): { lower: string | undefined; upper: string | undefined } {
  const [lower, upper] = [randomKey(random), randomKey(random)].sort() as [string, string]
  const shape = random.below(8)
  return { lower: shape === 0 ? undefined : lower, upper: shape === 1 ? undefined : upper }
}

function randomChange(random: SeededRandom, serial: number): Change {
  const key = randomKey(random)
  if (random.below(4) === 0) return { key, value: undefined }
  return { key, value: `v${serial}${'.'.repeat(random.below(10) === 0 ? 600 : random.below(60))}` }
}

export function randomOperation(random: SeededRandom, serial: number): Operation {
  const draw = random.below(100)
  if (draw < 70) {
    const changes = Array.from({ length: 1 + random.below(8) }, () => randomChange(random, serial))
    return { kind: 'write', changes, sync: random.below(4) > 0 }
  }
  if (draw < 80) return { kind: 'flush' }
  if (draw < 84) return { kind: 'compact', ...randomRange(random) }
  if (draw < 86) return { kind: 'excise', ...randomRange(random) }
  if (draw < 88) return { kind: 'deleteRange', ...randomRange(random), sync: draw === 86 }
  if (draw < 93) {
    const changes = new Map<string, Change>()
    for (let i = 1 + random.below(12); i > 0; i--) {
      const change = randomChange(random, serial)
      changes.set(change.key, change)
    }
    const sorted = [...changes.values()].sort((a, b) => (a.key < b.key ? -1 : 1))
    return { kind: 'ingest', changes: sorted, files: 1 + random.below(Math.min(3, sorted.length)) }
  }
  if (draw < 96) return { kind: 'checkpoint' }
  const [lower, upper] = [randomKey(random), randomKey(random)].sort() as [string, string]
  return { kind: 'restore', lower, upper: `${upper}~` }
}

/** A checkpoint that a history has made. */
export interface Checkpoint {
  readonly folder: string
  readonly content: Model
}

/** What the database holds after `operation`. */
export function modelAfter(model: Model, operation: Operation, checkpoint: Checkpoint | undefined): Model {
  if (operation.kind === 'write' || operation.kind === 'ingest') return applyChanges(model, operation.changes)
  if (operation.kind === 'excise' || operation.kind === 'deleteRange') return without(model, operation.lower, operation.upper)
  if (operation.kind === 'restore' && checkpoint !== undefined) {
    const { lower, upper } = operation
    const restored = [...checkpoint.content].filter(([key]) => within(key, lower, upper))
    return new Map([...without(model, lower, upper), ...restored])
  }
  return model
}

/** Does operations to a database, under marks that count them where it has no WAL. */
export class Performer {
  /** May be another one of the same folder, opened again. */
  db: Database
  readonly #environment: Environment
  readonly #wal: boolean
  checkpoint: Checkpoint | undefined
  #checkpointFiles: Awaited<ReturnType<Database['checkpoint']>>['files'] = []

  constructor(db: Database, environment: Environment, wal: boolean) {
    this.db = db
    this.#environment = environment
    this.#wal = wal
  }

  /** The promise for the durability of `operation`, the `index`-th, or of what it does; `content`: the model before it. */
  async perform(operation: Operation, index: number, content: Model): Promise<void> {
    const { db } = this
    const mark = this.#wal ? undefined : bytes(String(index))
    switch (operation.kind) {
      case 'write': {
        const batch = new WriteBatch()
        for (const { key, value } of operation.changes) {
          if (value === undefined) batch.delete(bytes(key))
          else batch.put(bytes(key), bytes(value))
        }
        return db.write(batch, { sync: operation.sync })
      }
      case 'flush':
        return mark === undefined ? db.flush() : db.seal(mark)
      case 'compact': {
        const { lower, upper, abortAfter } = operation
        await this.#isAborted(abortAfter, (more) => db.compactRange(optional(lower), optional(upper), more))
        return
      }
      case 'excise':
        return db.excise(optional(operation.lower), optional(operation.upper), mark)
      case 'deleteRange': {
        const { lower, upper, sync } = operation
        if (mark !== undefined) return db.excise(optional(lower), optional(upper), mark)
        return db.deleteRange(optional(lower), optional(upper), { sync })
      }
      case 'ingest': {
        const entries = operation.changes.map(({ key, value }) => ({
          key: bytes(key),
          value: value === undefined ? undefined : bytes(value),
        }))
        const files: { path: string }[] = []
        for (let i = 0; i < operation.files; i++) {
          const path = `${this.#environment.folder}/ingest-${index}-${i}.sst`
          const [from, to] = [i, i + 1].map((part) => Math.floor((part * entries.length) / operation.files))
          await writeTable(this.#environment.fileSystem, path, entries.slice(from, to))
          files.push({ path })
        }
        if (!(await this.#isAborted(operation.abortAfter, (more) => db.ingest(files, mark, more)))) return
        const found = await scan(db)
        assert(JSON.stringify(found) === JSON.stringify(recordsOf(content)), `an aborted ingest changes nothing: ${found}`)
        return db.ingest(files, mark)
      }
      case 'checkpoint': {
        // Without a WAL a checkpoint holds what is durable.
        if (mark !== undefined) await db.seal(mark)
        const folder = `${this.#environment.folder}/checkpoint-${index}`
        const make = async (at: string, more?: Abortable) => {
          this.#checkpointFiles = (await db.checkpoint(at, more)).files
          this.checkpoint = { folder: at, content }
        }
        if (!(await this.#isAborted(operation.abortAfter, (more) => make(folder, more)))) return
        const { fileSystem } = this.#environment
        const left = (await fileSystem.exists(folder)) ? await fileSystem.list(folder) : []
        assert(!left.some((name) => name.endsWith('.sst')), `an aborted checkpoint leaves no table: ${left}`)
        return make(`${folder}-again`)
      }
      case 'restore':
        return this.#restore(operation, mark)
    }
  }

  /** Runs `long` with a signal that is aborted after so many turns; whether that ended it. */
  async #isAborted(turns: number | undefined, long: (more?: Abortable) => Promise<void>): Promise<boolean> {
    if (turns === undefined) {
      await long()
      return false
    }
    const controller = new AbortController()
    const reason = new Error('aborted')
    if (turns < 0) controller.abort(reason)
    const ended = long({ signal: controller.signal }).then(
      () => false,
      (error: unknown) => {
        if (error === reason) return true
        throw error
      },
    )
    ended.catch(() => undefined)
    const { clock } = this.#environment
    for (let turn = 1; turn <= turns; turn++) await (turn % 4 === 0 ? new Promise<void>((resolve) => clock.soon(resolve)) : undefined)
    controller.abort(reason)
    return await ended
  }

  async #restore({ lower, upper }: { lower: string; upper: string }, mark: Uint8Array | undefined): Promise<void> {
    const { checkpoint } = this
    if (checkpoint === undefined) return
    const files = this.#checkpointFiles.flatMap(({ name, checksum, parts }) =>
      parts.map((part) => ({
        path: `${checkpoint.folder}/${name}`,
        checksum,
        level: part.level,
        lower: text(part.lower) > lower ? part.lower : bytes(lower),
        upper: text(part.upper) < upper ? part.upper : bytes(upper),
      })),
    )
    await this.db.ingest(files, mark, { excise: [{ lower: bytes(lower), upper: bytes(upper) }] })
  }
}

function optional(key: string | undefined): Uint8Array | undefined {
  return key === undefined ? undefined : bytes(key)
}
