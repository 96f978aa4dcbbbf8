import { assert, must } from '../base/assert.ts'
import { type Clock, sleep } from '../base/clock.ts'
import type { Executor } from '../base/executor.ts'
import type { FileSystem } from '../base/file-system.ts'
import type { Logger } from '../base/logger.ts'
import type { MaybePromise } from '../base/maybe-promise.ts'
import { isShardCount } from '../base/slot.ts'
import { type BlockCache, Database, type MemtableBudget, WriteBatch } from '../lsm/index.ts'
import type { ConfState, Entry, SnapshotMeta } from '../raft/core/types.ts'
import { decodeMark, encodeMark } from '../raft/mark.ts'
import type { StateMachine } from '../raft/state-machine.ts'
import { ApplyRun, type GroupResult } from './apply-run.ts'
import type { GroupStore } from './group-store.ts'
import { type ReadOutcome, readRecord, type ScanOptions, type ScanOutcome, scanRecords } from './reads.ts'
import { RecordWriter } from './record.ts'
import type { ShardStateName } from './shard-state.ts'
import type { GroupSmallState } from './small-state.ts'
import { loadSmallState } from './small-state-load.ts'
import { hashSnapshot } from './state-hash.ts'

/** How long one turn applies, scans or digests, ms. */
const sliceMs = 2
/** A buffer that grew beyond it for one large entry is let go. */
const keptBatchBytes = 8 * 1024 * 1024

export interface ShardStatus {
  readonly shard: number
  readonly state: ShardStateName
  readonly epoch: number
  readonly revision: number
}

export interface GroupStatus {
  /** Index of the last entry applied. */
  readonly applied: number
  readonly configNumber: number
  /** The group's time as its entries have it, ms. */
  readonly timeMs: number
  /** Those that the group ever knew, ascending. */
  readonly shards: readonly ShardStatus[]
}

/**
 * What a group replicates: the records and sessions of its shards. Store and small state always are those of one entry: `applied`, whenever
 * no code of this class is on the stack. So reads and digests may come between the slices of an `apply`.
 */
export class GroupStateMachine implements StateMachine<GroupResult> {
  onDurable: (() => void) | undefined
  readonly #store: GroupStore
  readonly #clock: Clock
  readonly #state: GroupSmallState
  #batch = new WriteBatch()
  /** Largest size that `#batch` had: its buffer never shrinks. */
  #batchPeakBytes = 0
  readonly #writer = new RecordWriter()
  #durable: SnapshotMeta
  #applied: SnapshotMeta
  /** The index of the newest seal, durable or on its way. */
  #sealedIndex: number
  #sealing: Promise<void> = Promise.resolve()
  #failure: Error | undefined

  constructor(store: GroupStore, clock: Clock, state: GroupSmallState, durable: SnapshotMeta) {
    this.#store = store
    this.#clock = clock
    this.#state = state
    this.#durable = durable
    this.#applied = durable
    this.#sealedIndex = durable.index
  }

  get durable(): SnapshotMeta {
    return this.#durable
  }

  /** Index of the last entry applied. */
  get applied(): number {
    return this.#applied.index
  }

  get timeMs(): number {
    return this.#state.timeMs
  }

  apply(entries: readonly Entry[]): MaybePromise<readonly GroupResult[]> {
    if (this.#failure !== undefined) throw this.#failure
    if (entries.length === 0) return []
    if (this.#batchPeakBytes > keptBatchBytes) {
      this.#batch = new WriteBatch()
      this.#batchPeakBytes = 0
    }
    const run = new ApplyRun(entries, this.#state, this.#store, this.#batch, this.#writer)
    if (this.#store.writeDelayMs > 0) return this.#drive(run)
    const fetched = run.fetch()
    if (fetched instanceof Promise) return this.#drive(run, fetched)
    this.#runSlice(run)
    return run.done ? run.results : this.#drive(run)
  }

  async #drive(run: ApplyRun, fetched?: Promise<void>): Promise<readonly GroupResult[]> {
    if (fetched !== undefined) {
      await fetched
      this.#runSlice(run)
    }
    while (!run.done) {
      await this.#nextTurn()
      if (this.#store.writeDelayMs > 0) await sleep(this.#clock, this.#store.writeDelayMs)
      if (run.needsFetch) await run.fetch()
      this.#runSlice(run)
    }
    return run.results
  }

  #runSlice(run: ApplyRun): void {
    if (this.#failure !== undefined) throw this.#failure
    run.run(this.#clock, this.#clock.monotonicMs() + sliceMs)
    if (run.batch.count > 0) {
      this.#writeBatch()
    }
    this.#applied = { index: run.index, term: run.term, conf: this.#applied.conf }
    if (this.#store.wantsSeal) this.#seal()
  }

  flush(): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    if (this.#sealedIndex < this.#applied.index) this.#seal()
    return this.#sealing
  }

  #seal(): void {
    const meta = this.#applied
    this.#writeDirty()
    this.#sealedIndex = meta.index
    this.#sealing = this.#store.seal(encodeMark(meta)).then(() => {
      this.#durable = meta
      this.onDurable?.()
    })
    this.#sealing.catch((error: unknown) => {
      this.#failure ??= error instanceof Error ? error : new Error(String(error))
    })
  }

  #writeDirty(): void {
    this.#state.writeDirty(this.#batch)
    this.#writeBatch()
  }

  #writeBatch(): void {
    this.#batchPeakBytes = Math.max(this.#batchPeakBytes, this.#batch.bytes)
    this.#store.write(this.#batch)
    this.#batch.clear()
  }

  /** One record. Call it in the turn in which the read index was confirmed. See `readRecord`. */
  read(shard: number, key: Uint8Array, leaderTimeMs: number): MaybePromise<ReadOutcome> {
    return readRecord(this.#state, this.#store, shard, key, leaderTimeMs)
  }

  /** One page over some shards, as of this turn. See `scanRecords`. */
  scan(options: ScanOptions): Promise<ScanOutcome> {
    return scanRecords(this.#state, this.#store, options, this.#pauser())
  }

  /** 'unborn': the group never knew it. */
  shardState(shard: number): ShardStateName {
    return this.#state.shards.get(shard)?.record.state ?? 'unborn'
  }

  status(): GroupStatus {
    const shards = [...this.#state.shards.values()]
      .sort((a, b) => a.shard - b.shard)
      .map((shard) => ({ shard: shard.shard, state: shard.record.state, epoch: shard.epoch, revision: shard.revision }))
    return { applied: this.applied, configNumber: this.#state.configNumber, timeMs: this.#state.timeMs, shards }
  }

  /** A digest of live records, sessions and shard states as of `index`; equal on every replica. Reads everything, in slices. */
  async stateHash(): Promise<{ readonly index: number; readonly hash: string }> {
    const index = this.applied
    this.#writeDirty()
    const snapshot = this.#store.snapshot()
    const times = new Map<number, number>()
    for (const shard of this.#state.shards.values()) times.set(shard.shard, this.#state.timeOf(shard))
    return { index, hash: await hashSnapshot(this.#store, snapshot, times, this.#pauser()) }
  }

  async close(): Promise<void> {
    await this.#sealing.catch(() => undefined)
    await this.#store.close()
  }

  #nextTurn(): Promise<void> {
    return new Promise((resolve) => this.#clock.soon(resolve))
  }

  #pauser(): () => Promise<void> | undefined {
    let untilMs = this.#clock.monotonicMs() + sliceMs
    return () => {
      if (this.#clock.monotonicMs() < untilMs) return undefined
      return this.#nextTurn().then(() => {
        untilMs = this.#clock.monotonicMs() + sliceMs
      })
    }
  }
}

/** A new store gets its first mark: nothing applied, the membership `initialConf`. */
export async function loadGroupStateMachine(store: GroupStore, clock: Clock, initialConf: ConfState): Promise<GroupStateMachine> {
  if (store.durableMark === undefined) await store.seal(encodeMark({ index: 0, term: 0, conf: initialConf }))
  const durable = decodeMark(must(store.durableMark, 'a sealed store has a mark'), 'the mark of a group store')
  return new GroupStateMachine(store, clock, await loadSmallState(store), durable)
}

export interface GroupStateMachineOptions {
  readonly fileSystem: FileSystem
  /** Its registry must hold `lsmJobs`. */
  readonly executor: Executor
  readonly clock: Clock
  readonly logger: Logger
  /** Of this replica; made if absent. */
  readonly folder: string
  /** The group's first membership: the mark of a folder that is made. */
  readonly initialConf: ConfState
  /** May be shared. */
  readonly blockCache: BlockCache
  /** May be shared. */
  readonly memtableBudget: MemtableBudget
  readonly shardCount: number
  /** Called once, when the store takes no more writes: its disk failed, its files are damaged, or it has met a bug of ours. */
  readonly onFailure?: (error: Error) => void
}

/** Opens or makes a replica's state. CorruptionError where its files are damaged. */
export async function openGroupStateMachine(options: GroupStateMachineOptions): Promise<GroupStateMachine> {
  const { fileSystem, executor, clock, logger, folder, blockCache, memtableBudget, onFailure } = options
  assert(isShardCount(options.shardCount), `shard count ${options.shardCount}`)
  const database = await Database.open({
    fileSystem,
    executor,
    clock,
    logger,
    folder,
    wal: false,
    memtableBudget,
    blockCache,
    boundaryOf: { prefixBytes: 2 },
    ...(onFailure === undefined ? {} : { onFailure }),
  })
  try {
    return await loadGroupStateMachine(database, clock, options.initialConf)
  } catch (error) {
    await database.close()
    throw error
  }
}
