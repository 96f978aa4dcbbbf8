import type { SeededRandom } from '../../base/random.ts'
import { type Database, WriteBatch, writeTable } from '../../lsm/index.ts'
import type { Environment } from './environment.ts'
import { applyChanges, bytes, type Change, type Model, text, within, without } from './model.ts'

/** One step of a random history, with all that it will do decided beforehand. */
export type Operation =
  | { readonly kind: 'write'; readonly changes: readonly Change[]; readonly sync: boolean }
  | { readonly kind: 'flush' }
  | { readonly kind: 'compact'; readonly lower: string | undefined; readonly upper: string | undefined }
  | { readonly kind: 'excise'; readonly lower: string | undefined; readonly upper: string | undefined }
  /** The changes, in order of keys, in `files` tables. */
  | { readonly kind: 'ingest'; readonly changes: readonly Change[]; readonly files: number }
  /** Makes a checkpoint. */
  | { readonly kind: 'checkpoint' }
  /** Puts [lower, upper) back to what the last checkpoint held, in one edit: excise and ingest of its tables, clipped, at their levels. */
  | { readonly kind: 'restore'; readonly lower: string; readonly upper: string }

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
  if (draw < 88) return { kind: 'excise', ...randomRange(random) }
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
  if (operation.kind === 'excise') return without(model, operation.lower, operation.upper)
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
      case 'compact':
        return db.compactRange(optional(operation.lower), optional(operation.upper))
      case 'excise':
        return db.excise(optional(operation.lower), optional(operation.upper), mark)
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
        return db.ingest(files, mark)
      }
      case 'checkpoint': {
        // Without a WAL a checkpoint holds what is durable.
        if (mark !== undefined) await db.seal(mark)
        const folder = `${this.#environment.folder}/checkpoint-${index}`
        this.#checkpointFiles = (await db.checkpoint(folder)).files
        this.checkpoint = { folder, content }
        return
      }
      case 'restore':
        return this.#restore(operation, mark)
    }
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
