import { must } from '../base/assert.ts'
import { type Clock, sleep } from '../base/clock.ts'
import { CorruptionError } from '../base/errors.ts'
import type { MaybePromise } from '../base/maybe-promise.ts'
import { type KeyRange, WriteBatch } from '../lsm/index.ts'
import type { Entry } from '../raft/core/types.ts'
import { decodeMark, encodeMark } from '../raft/mark.ts'
import { exportDatabase, prepareReplacement } from '../raft/snapshot-description.ts'
import type { Standing } from '../raft/standing.ts'
import type { ExportedSnapshot, StateMachine } from '../raft/state-machine.ts'
import { ApplyRun, type GroupResult } from './apply-run.ts'
import { readDelta } from './delta-read.ts'
import { DeltaTail } from './delta-tail.ts'
import { ExpiryHorizons, timesOf } from './expiry-horizons.ts'
import type { GroupStore } from './group-store.ts'
import type { MigrationBreak } from './migration-break.ts'
import { MigrationFiles } from './migration-files.ts'
import { type Pause, type ReadOutcome, readRecord, type ScanOptions, type ScanOutcome, scanRecords } from './reads.ts'
import { RecordWriter, shardRange } from './record.ts'
import type { MigrationFilesOptions } from './shard-exports.ts'
import type {
  BroughtFiles,
  DeltaOutcome,
  DeltaWanted,
  ExportSource,
  HeldImport,
  LocalMigration,
  ShardMigrations,
} from './shard-migrations.ts'
import { type ShardRecord, type ShardStateName, unbornShard } from './shard-state.ts'
import { nextTurn, pauserOf, sliceMs } from './slices.ts'
import { exportedShardState, type GroupSmallState, type ShardSmallState } from './small-state.ts'
import { SmallStateHandOver } from './small-state-hand-over.ts'
import { loadShard, loadSmallState } from './small-state-load.ts'
import { hashSnapshot } from './state-hash.ts'
import type { StepEffect } from './step-effect.ts'

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
export class GroupStateMachine implements StateMachine<GroupResult>, ShardMigrations {
  onDurable: (() => void) | undefined
  onMigration: (() => void) | undefined
  readonly #store: GroupStore
  readonly #clock: Clock
  /** Another object after a snapshot was installed. */
  #state: GroupSmallState
  #batch = new WriteBatch()
  /** Largest size that `#batch` had: its buffer never shrinks. */
  #batchPeakBytes = 0
  readonly #writer = new RecordWriter()
  #deltaTail = new DeltaTail()
  #durable: Standing
  #applied: Standing
  readonly #files: MigrationFiles
  readonly #horizons: ExpiryHorizons
  readonly #onFailure: ((error: Error) => void) | undefined
  readonly #breaks: ReadonlySet<MigrationBreak>
  /** An ingest is applied and its small state on the way: no digest before that. */
  #loading: Promise<void> | undefined
  /** The index of the newest seal, durable or on its way. */
  #sealedIndex: number
  #sealing: Promise<void> = Promise.resolve()
  readonly #handOver: SmallStateHandOver
  /** While everything is replaced by a snapshot: the store has it already, the small state not yet. */
  #installing: Promise<void> | undefined
  #failure: Error | undefined

  constructor(store: GroupStore, state: GroupSmallState, durable: Standing, files: MigrationFiles, options: LoadOptions) {
    this.#store = store
    this.#clock = options.clock
    this.#state = state
    this.#files = files
    this.#onFailure = options.onFailure
    this.#breaks = options.breaks ?? new Set()
    this.#horizons = options.horizons ?? new ExpiryHorizons()
    this.#horizons.begin(state)
    state.servesReleased = this.#breaks.has('released-reads')
    this.#durable = durable
    this.#applied = durable
    this.#sealedIndex = durable.index
    this.#handOver = new SmallStateHandOver({
      clock: options.clock,
      writeSome: (isOver) => {
        const isAll = this.#state.writeSome(this.#batch, isOver)
        if (this.#batch.count > 0) this.#writeBatch()
        return isAll
      },
      onFailure: (error) => this.#fail(error),
    })
  }

  get durable(): Standing {
    return this.#durable
  }

  get bytes(): number {
    return this.#store.bytes
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
    const run = this.#newRun(entries)
    if (this.#store.writeDelayMs > 0 || this.#handOver.running !== undefined) return this.#drive(run, undefined)
    const fetched = run.fetch()
    if (fetched instanceof Promise || (run.seals && !this.#handOver.writeSlice())) return this.#drive(run, fetched)
    this.#runSlice(run)
    return run.done && this.#loading === undefined ? run.results : this.#drive(run, undefined)
  }

  #newRun(entries: readonly Entry[]): ApplyRun {
    return new ApplyRun(entries, {
      standing: this.#applied,
      state: this.#state,
      store: this.#store,
      deltaTail: this.#deltaTail,
      batch: this.#batch,
      writer: this.#writer,
      prepareIngest: (step) => this.#files.imports.prepare(step),
      breaks: this.#breaks,
    })
  }

  async #drive(run: ApplyRun, fetched: MaybePromise<void>): Promise<readonly GroupResult[]> {
    if (fetched instanceof Promise) {
      await fetched
      await this.#runReady(run)
    }
    await this.#loading
    while (!run.done) {
      await nextTurn(this.#clock)
      if (this.#store.writeDelayMs > 0) await sleep(this.#clock, this.#store.writeDelayMs)
      if (run.needsFetch) await run.fetch()
      await this.#runReady(run)
      await this.#loading
    }
    return run.results
  }

  async #runReady(run: ApplyRun): Promise<void> {
    if (run.seals) await this.#handOver.before(() => undefined)
    while (this.#handOver.running !== undefined) await this.#handOver.running
    this.#runSlice(run)
  }

  #runSlice(run: ApplyRun): void {
    if (this.#failure !== undefined) throw this.#failure
    run.run(this.#clock, this.#clock.monotonicMs() + sliceMs)
    if (run.batch.count > 0) {
      this.#writeBatch()
    }
    this.#applied = run.standing
    const effect = run.takeEffect()
    if (effect !== undefined) this.#perform(effect)
    else if (this.#store.wantsSeal) this.#sealSoon()
    if (!run.hasMoved || this.#loading !== undefined) return
    run.hasMoved = false
    this.onMigration?.()
  }

  /** What a step asks of the store and the files, in the turn in which it was applied. */
  #perform({ step, index, excised, cut, ingest, ended, seals }: StepEffect): void {
    const mark = encodeMark(this.#applied)
    // Where it asks nothing of the store: an ingest before it may still be on its way.
    let durable = this.#sealing
    if (seals) this.#writeDirty()
    if (cut && step.kind === 'export') durable = this.#cut(step, index, excised, mark)
    else if (ingest && step.kind === 'ingest') {
      durable = this.#pushed(this.#store.ingest(this.#files.imports.take(step), mark, { excise: excised }))
      this.#loading = this.#load(step.shards)
      this.#loading.catch(() => undefined)
    } else if (excised.length > 0) durable = this.#pushed(this.#store.exciseAll(excised, mark))
    if (step.kind === 'import') this.#files.imports.end(step.id, step.attempt)
    if (step.kind === 'ingest' || ended) this.#files.imports.end(step.id, undefined, durable)
    if (ended) this.#files.exports.end(step.id)
    this.#files.exports.tell()
  }

  /** Resolves when what is cut is durable. */
  #cut(
    { id, attempt, shards }: { id: number; attempt: number; shards: readonly number[] },
    index: number,
    excise: readonly KeyRange[],
    mark: Uint8Array,
  ) {
    const snapshot = this.#store.sealSnapshot(mark, { excise })
    const cut = shards.map((shard) => {
      const state = this.#state.shards.get(shard) as ShardSmallState
      const timeMs = this.#state.timeOf(state)
      return { shard, timeMs, state: exportedShardState(state, timeMs) }
    })
    this.#files.exports.begin({ id, attempt, index, shards: cut, snapshot })
    return this.#pushed(snapshot.then(() => undefined))
  }

  /** The small state that came with an ingest. */
  async #load(shards: readonly number[]): Promise<void> {
    const pause = this.#pauser()
    for (const shard of shards) await loadShard(this.#store, this.#state.shards.get(shard) as ShardSmallState, pause)
    this.#loading = undefined
    this.onMigration?.()
  }

  flush(): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    if (this.#sealedIndex >= this.#applied.index) return this.#sealing
    if (this.#handOver.running !== undefined) return this.#handOver.running.then(() => this.flush())
    const begun = this.#handOver.before(() => this.#seal())
    return begun instanceof Promise ? begun.then(() => this.#sealing) : this.#sealing
  }

  /** Writes all that is applied anew, so that what was deleted or overwritten takes no room. */
  async compact(): Promise<void> {
    await this.#whole()
    await this.flush()
    await this.#store.compactRange()
  }

  async exportSnapshot(folder: string): Promise<ExportedSnapshot> {
    await this.#whole()
    await this.flush()
    return await exportDatabase(this.#store, folder).catch(this.#readFailed)
  }

  async installSnapshot(snapshot: ExportedSnapshot, folder: string): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    while (this.#loading !== undefined) await this.#loading
    const replace = await prepareReplacement(this.#store, snapshot, folder)
    while (this.#handOver.running !== undefined) await this.#handOver.running
    this.#installing = this.#install(snapshot.meta, replace)
    this.#sealing = this.#installing
    await this.#installing
    this.#installing = undefined
    this.onDurable?.()
    this.onMigration?.()
    await this.#files.replaced(this.#state)
  }

  async #install(meta: Standing, replace: () => Promise<void>): Promise<void> {
    try {
      // From here on nothing is sealed before the new state is in memory.
      this.#sealedIndex = Math.max(this.#sealedIndex, meta.index)
      // Tables of the new state are there before the small state is: it may know other lives of the shards, with earlier times.
      this.#horizons.forget()
      const replaced = replace()
      const [state] = await Promise.all([loadSmallState(this.#store, this.#pauser()), replaced])
      state.servesReleased = this.#breaks.has('released-reads')
      this.#state = state
      this.#batch = new WriteBatch()
      // What came with the snapshot is in the store alone.
      this.#deltaTail = new DeltaTail()
      this.#applied = meta
      this.#durable = meta
      this.#sealedIndex = meta.index
      this.#horizons.begin(state)
    } catch (error) {
      this.#fail(error)
      throw error
    }
  }

  /** Resolves in a turn in which store and small state belong together, and none of it is being handed over. */
  async #whole(): Promise<void> {
    for (;;) {
      const busy = this.#installing ?? this.#loading ?? this.#handOver.running
      if (busy === undefined) return
      await busy
    }
  }

  #sealSoon(): void {
    const begun = this.#handOver.before(() => this.#seal())
    if (begun instanceof Promise) begun.catch((error: unknown) => this.#fail(error))
  }

  #seal(): void {
    this.#writeDirty()
    void this.#pushed(this.#store.seal(encodeMark(this.#applied)))
  }

  /** The memtable, and what followed it, are on their way with the mark of what is applied. A failure is kept. */
  #pushed(durable: Promise<void>): Promise<void> {
    const meta = this.#applied
    const times = timesOf(this.#state)
    this.#sealedIndex = meta.index
    this.#sealing = durable.then(() => {
      this.#durable = meta
      this.#horizons.becomeDurable(times)
      this.onDurable?.()
    })
    this.#sealing.catch((error: unknown) => this.#fail(error))
    return this.#sealing
  }

  #fail(error: unknown): void {
    this.#failure ??= error instanceof Error ? error : new Error(String(error))
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
    if (this.#installing !== undefined) return this.#installing.then(() => this.read(shard, key, leaderTimeMs))
    try {
      const outcome = readRecord(this.#state, this.#store, shard, key, leaderTimeMs)
      return outcome instanceof Promise ? outcome.catch(this.#readFailed) : outcome
    } catch (error) {
      return this.#readFailed(error)
    }
  }

  /** One page over some shards, as of this turn. See `scanRecords`. */
  scan(options: ScanOptions): Promise<ScanOutcome> {
    if (this.#installing !== undefined) return this.#installing.then(() => this.scan(options))
    return scanRecords(this.#state, this.#store, options, this.#pauser()).catch(this.#readFailed)
  }

  /** The store only refuses a read of what is damaged. Whoever asks again would be refused again, so it is told of as any failure of the store is. */
  readonly #readFailed = (error: unknown): never => {
    if (error instanceof CorruptionError) this.#onFailure?.(error)
    throw error
  }

  get exports(): ExportSource {
    return this.#files.exportsFor(() => this.#state)
  }

  shardRecord(shard: number): ShardRecord {
    return this.#state.shards.get(shard)?.record ?? unbornShard
  }

  migrations(): readonly LocalMigration[] {
    return this.#state.migrations()
  }

  importFolder(id: number, attempt: number): string {
    return this.#files.imports.folderOf(id, attempt)
  }

  stageImport(id: number, attempt: number, brought: BroughtFiles): Promise<HeldImport> {
    return this.#files.imports.stage(id, attempt, brought, (list) => {
      const local = this.#wantedImport(id, attempt)
      // Files of some of the shards would be held, and at the ingest of all of them every replica would lack files.
      const sameShards = list.shards.length === local?.shards.length && list.shards.every((shard, i) => shard === local.shards[i])
      return list.id === id && list.attempt === attempt && sameShards
    })
  }

  async bringImport(id: number, attempt: number, bring: (signal: AbortSignal) => Promise<void>): Promise<void> {
    try {
      await this.#files.imports.whileOpen(bring)
    } finally {
      if (this.#wantedImport(id, attempt) === undefined) this.#files.imports.end(id, attempt + 1, this.#sealing)
    }
  }

  #wantedImport(id: number, attempt: number): LocalMigration | undefined {
    return this.migrations().find((each) => each.id === id && each.state === 'importing' && each.attempt === attempt && !each.ingested)
  }

  holdsImport(id: number, attempt: number): HeldImport | undefined {
    return this.#files.imports.holds(id, attempt)
  }

  workOn(id: number, attempt: number): number {
    return this.#files.workOn(id, attempt)
  }

  async delta(wanted: DeltaWanted): Promise<DeltaOutcome> {
    await this.#installing
    const world = { state: this.#state, store: this.#store, tail: this.#deltaTail, applied: this.applied, pause: this.#pauser() }
    return await readDelta(world, wanted).catch(this.#readFailed)
  }

  shardBytes(shard: number): Promise<number> {
    const known = this.#state.shards.get(shard)
    if (known?.isServing && known.isUntouched) return Promise.resolve(0)
    const { lower, upper } = shardRange(shard)
    return this.#store.approximateBytes(lower, upper).catch(this.#readFailed)
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
    await this.#whole()
    const { index, snapshot, times } = await this.#handOver.before(() => this.#view())
    return { index, hash: await hashSnapshot(this.#store, snapshot, times, this.#pauser()).catch(this.#readFailed) }
  }

  #view() {
    this.#writeDirty()
    const times = new Map<number, number>()
    for (const shard of this.#state.shards.values()) times.set(shard.shard, this.#state.timeOf(shard))
    return { index: this.applied, snapshot: this.#store.snapshot(), times }
  }

  async close(): Promise<void> {
    await this.#files.close()
    while (this.#handOver.running !== undefined) await this.#handOver.running
    await this.#sealing.catch(() => undefined)
    await this.#store.close()
  }

  #pauser(): Pause {
    return pauserOf(this.#clock)
  }
}

export interface LoadOptions extends MigrationFilesOptions {
  /** Where the group stands before its first entry. Asked only where the store does not say who the members are. */
  first(): MaybePromise<Standing>
  /** For proving that the simulator catches them. Never set otherwise. */
  readonly breaks?: ReadonlySet<MigrationBreak> | undefined
  /** Those that the store's compaction asks; kept here. */
  readonly horizons?: ExpiryHorizons
}

/** A new store gets its first mark. */
export async function loadGroupStateMachine(store: GroupStore, options: LoadOptions): Promise<GroupStateMachine> {
  if (store.durableMark === undefined) await store.seal(encodeMark(await options.first()))
  let durable = decodeMark(must(store.durableMark, 'a sealed store has a mark'), 'the mark of a group store')
  if (durable.nodes.size === 0) durable = { ...durable, nodes: (await options.first()).nodes }
  const state = await loadSmallState(store, pauserOf(options.clock))
  const files = new MigrationFiles(options, store)
  await files.reopen(state)
  return new GroupStateMachine(store, state, durable, files, options)
}
