import { createHash } from 'node:crypto'
import { assert } from '../base/assert.ts'
import { DataDirectoryMismatch } from '../base/errors.ts'
import { WriteBatch } from '../lsm/write-batch.ts'
import type { Config } from '../proto/config.ts'
import { type Entry, EntryKind } from '../raft/core/types.ts'
import { decodeMark, encodeMark } from '../raft/mark.ts'
import { exportDatabase, prepareReplacement, type SnapshotDatabase } from '../raft/snapshot-description.ts'
import { type Standing, standBehind } from '../raft/standing.ts'
import type { ExportedSnapshot, StateMachine } from '../raft/state-machine.ts'
import { type RecordReader, readConfig } from './config-records.ts'
import { type ConfigResult, ConfigState } from './config-state.ts'
import { decodeEntry } from './entry.ts'

/** What the state machine needs of `lsm`'s Database, opened without a write-ahead log. */
export interface ConfigDatabase extends RecordReader, SnapshotDatabase {
  write(batch: WriteBatch): void
  readonly wantsSeal: boolean
  seal(mark: Uint8Array): Promise<void>
  readonly durableMark: Uint8Array | undefined
  close(): Promise<void>
}

/**
 * The controllers' replicated state machine. State lies in memory and, as records, in the database, whose memtable becomes durable together
 * with the mark that says up to which entry it stands; what came behind is replayed from the shared log.
 */
export class ConfigStateMachine implements StateMachine<ConfigResult> {
  #state: ConfigState
  /** Shard count that this controller was told to form the cluster with. */
  readonly shardCount: number
  onDurable: (() => void) | undefined
  readonly #database: ConfigDatabase
  readonly #listeners = new Set<() => void>()
  #durable: Standing
  #applied: Standing
  #sealing: Promise<void> = Promise.resolve()
  /** The replacement of everything by a snapshot. */
  #installing: Promise<void> | undefined
  #waitingSeal: Promise<void> | undefined
  #failure: unknown

  constructor(database: ConfigDatabase, state: ConfigState, durable: Standing, shardCount: number) {
    this.#database = database
    this.#state = state
    this.#durable = durable
    this.#applied = durable
    this.shardCount = shardCount
  }

  /** The object changes with each `apply`, and is another one after a snapshot was installed: ask anew each time. */
  get state(): ConfigState {
    return this.#state
  }

  /** As of what is applied. */
  get standing(): Standing {
    return this.#applied
  }

  get durable(): Standing {
    return this.#durable
  }

  /** Calls `listener` after each `apply` that changed something, and after each snapshot, until the returned function is called. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  apply(entries: readonly Entry[]): readonly ConfigResult[] {
    if (this.#failure !== undefined) throw this.#failure
    const batch = new WriteBatch()
    const results = entries.map((entry) => this.#applyEntry(entry, batch))
    if (batch.count > 0) this.#database.write(batch)
    if (this.#database.wantsSeal) this.#sealSoon()
    if (batch.count > 0) this.#tellListeners()
    return results
  }

  #applyEntry(entry: Entry, batch: WriteBatch): ConfigResult {
    assert(entry.index === this.#applied.index + 1, `entry ${entry.index} applied behind ${this.#applied.index}`)
    this.#applied = standBehind(this.#applied, entry)
    if (entry.kind !== EntryKind.Normal || entry.data.length === 0) return { outcome: 'applied', configNumber: this.state.configNumber }
    const decoded = decodeEntry(entry.data)
    // Durable at once: a controller that is started on other --peers must know of the change before it has replayed its log.
    if (decoded.kind === 'controllers') this.#sealSoon()
    return this.state.apply(decoded, batch)
  }

  #sealSoon(): void {
    this.#seal().catch((error: unknown) => (this.#failure = error))
  }

  flush(): Promise<void> {
    return this.#seal()
  }

  async exportSnapshot(folder: string): Promise<ExportedSnapshot> {
    await this.#seal()
    return await exportDatabase(this.#database, folder)
  }

  async installSnapshot(snapshot: ExportedSnapshot, folder: string): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    const replace = await prepareReplacement(this.#database, snapshot, folder)
    // A seal that comes meanwhile waits for it, and finds nothing to do.
    const before = this.#sealing
    this.#installing = this.#install(snapshot.meta, replace, before)
    this.#sealing = this.#installing
    await this.#installing
    this.#installing = undefined
    this.onDurable?.()
    this.#tellListeners()
  }

  async #install(meta: Standing, replace: () => Promise<void>, before: Promise<void>): Promise<void> {
    await before
    const replaced = replace()
    // Of the new records, which readers see already; nobody sees them in memory before they are durable.
    const [state] = await Promise.all([ConfigState.load(this.#database), replaced])
    this.#state = state
    this.#applied = meta
    this.#durable = meta
  }

  #tellListeners(): void {
    for (const listener of [...this.#listeners]) listener()
  }

  /** One seal at a time, and at most one that waits for it: what came meanwhile goes with that one. */
  #seal(): Promise<void> {
    if (this.#waitingSeal !== undefined) return this.#waitingSeal
    const before = this.#sealing
    const seal = async () => {
      await before.catch(() => {})
      this.#waitingSeal = undefined
      const mark = this.#applied
      if (mark.index === this.#durable.index) return
      await this.#database.seal(encodeMark(mark))
      this.#durable = mark
      this.onDurable?.()
    }
    this.#sealing = seal()
    this.#waitingSeal = this.#sealing
    return this.#sealing
  }

  /** A config by its number; undefined if there is none. */
  async configAt(number: number): Promise<Config | undefined> {
    if (number === this.state.configNumber) return this.state.config
    return number > this.state.configNumber ? undefined : await readConfig(this.#database, number)
  }

  /** SHA-256 over all records as of `index`, hex: equal on every replica that has applied the same entries. */
  async stateHash(): Promise<{ readonly index: number; readonly hash: string }> {
    await this.#installing
    const index = this.#applied.index
    const hash = createHash('sha256')
    for await (const { key, value } of this.#database.iterate({})) {
      hash.update(`${key.length} ${value.length} `).update(key).update(value)
    }
    return { index, hash: hash.digest('hex') }
  }

  async close(): Promise<void> {
    await this.#sealing.catch(() => {})
    this.#listeners.clear()
    await this.#database.close()
  }
}

/** The shard count of a cluster never changes. Throws DataDirectoryMismatch where the cluster was formed with another than `shardCount`. */
export function checkShardCount(state: ConfigState, shardCount: number): void {
  const formedWith = state.config?.shardCount
  if (formedWith === undefined || formedWith === shardCount) return
  throw new DataDirectoryMismatch(`this cluster has ${formedWith} shards, not ${shardCount}: start it with --shards ${formedWith}`)
}

/**
 * The state machine that lies in `database`. `shardCount`: what the cluster is formed with if this controller forms it; throws
 * DataDirectoryMismatch where the cluster was formed with another. Throws CorruptionError where the records are not what was written.
 */
export async function loadConfigStateMachine(
  database: ConfigDatabase,
  options: { first: Standing; shardCount: number },
): Promise<ConfigStateMachine> {
  const mark = database.durableMark
  const marked = mark === undefined ? options.first : decodeMark(mark, 'controller database')
  const durable = marked.nodes.size === 0 ? { ...marked, nodes: options.first.nodes } : marked
  const state = await ConfigState.load(database)
  checkShardCount(state, options.shardCount)
  return new ConfigStateMachine(database, state, durable, options.shardCount)
}
