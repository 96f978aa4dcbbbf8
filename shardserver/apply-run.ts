import { must } from '../base/assert.ts'
import type { Clock } from '../base/clock.ts'
import type { MaybePromise } from '../base/maybe-promise.ts'
import type { WriteBatch } from '../lsm/index.ts'
import { encoded } from '../proto/encode.ts'
import { limits } from '../proto/limits.ts'
import { pb } from '../proto/messages.ts'
import { type Entry, EntryKind } from '../raft/core/types.ts'
import { type Standing, standBehind } from '../raft/standing.ts'
import { SnapshotNeeded } from '../raft/state-machine.ts'
import { executeCommand, needsWhole, type ShardView } from './commands.ts'
import { chainDelta, comparedValueCost, deltaKey, encodeDelta } from './delta.ts'
import type { DeltaTail } from './delta-tail.ts'
import type { GroupStore } from './group-store.ts'
import type { MigrationBreak } from './migration-break.ts'
import type { MigrationStep } from './migration-entry.ts'
import { planStep, type StepPlan } from './migration-plan.ts'
import { isMigration, type Parsed, parse, type ReplayedEntry, replayedEntries } from './parsed-entry.ts'
import { encodeKey, KeyKind, type RecordView, type RecordWriter } from './record.ts'
import { isDigestOfNothing } from './record-digest.ts'
import { RecordSlots } from './record-slots.ts'
import { clientText, type WriteResult } from './session.ts'
import type { GroupSmallState, ShardSmallState } from './small-state.ts'
import { effectOf, isBare, type StepEffect } from './step-effect.ts'
import { badNumbers, refuseState, sessionRefusals, tooMuch } from './write-refusals.ts'

/** What an entry did, for its proposer. */
export type GroupResult =
  /** No effect but time: a leader's own entry, a time mark. */
  | { readonly kind: 'none' }
  /** One result for each command, in order. */
  | { readonly kind: 'written'; readonly results: readonly WriteResult[] }
  /** `refused`: the group has known these shards before; nothing happened to them. */
  | { readonly kind: 'born'; readonly born: readonly number[]; readonly refused: readonly number[] }
  /** A step of a migration, or a rebirth, took effect on all of its shards. */
  | { readonly kind: 'migrated'; readonly index: number }
  /** It does not fit the state of some shard: nothing happened. */
  | { readonly kind: 'not-migrated'; readonly reason: string }
  /** The body is no write batch: nothing happened. */
  | { readonly kind: 'malformed'; readonly reason: string }

const chunkBytes = 1024 * 1024
const chunkEntries = 256
/** A chunk ends at the entry with which it reads so many keys, or so many whole values. */
const chunkKeys = 2048
const chunkWholeReads = limits.batchWholeReadsMax
/**
 * What one entry may write: an append or an expire writes a value of 4 MiB for a command of a few bytes. Commands behind the one that passed
 * it are refused, without a trace; all of them, so that none overtakes an earlier one on its key. No other entry can come so far.
 */
const entryWriteBytes = 2 * limits.batchBytesMax
/** A run ends early when it has written so much. */
const batchBytes = 4 * 1024 * 1024
const nothing: GroupResult = { kind: 'none' }

/** Brings in the files of an ingest, so that taking them cannot fail. False: this replica does not have them. */
export type PrepareIngest = (step: Extract<MigrationStep, { kind: 'ingest' }>) => MaybePromise<boolean>

/** Commands of one entry that passed the check of a shard that is being exported. */
interface Kept {
  readonly commands: pb.v1.Command.$Properties[]
  cost: number
}

export interface ApplyRunOptions {
  /** Before the first of the entries. */
  readonly standing: Standing
  readonly state: GroupSmallState
  readonly store: GroupStore
  readonly deltaTail: DeltaTail
  /** May be used again by the next run, as `writer`. */
  readonly batch: WriteBatch
  readonly writer: RecordWriter
  readonly prepareIngest: PrepareIngest
  readonly breaks: ReadonlySet<MigrationBreak>
}

/**
 * One call of `apply`, in two steps that alternate: `fetch` brings in the records that some command of the next entries must read, `run`
 * executes those entries without waiting, seeing what earlier ones wrote. After each `run` the caller writes `batch` in the same turn: then
 * store and small state are those of the entry at which `standing` stands, and reads may come. A step of a migration is fetched for and run alone: what it does
 * to the store (`takeEffect`) must be done before anything of a later entry is read.
 */
export class ApplyRun implements ShardView {
  readonly results: GroupResult[] = []
  /** What was written since the caller emptied it. */
  readonly batch: WriteBatch
  /** Behind the last entry that was run. */
  standing: Standing
  /** A migration record changed. */
  hasMoved = false
  readonly #entries: readonly Entry[]
  readonly #options: ApplyRunOptions
  readonly #state: GroupSmallState
  #next = 0
  #chunk: Parsed[] = []
  #chunkStart = 0
  readonly #slots: RecordSlots
  /** Of the values that the present entry wrote. */
  #entryBytes = 0
  readonly #kept = new Map<ShardSmallState, Kept>()
  /** Of the fetched step, which nothing else is applied before; what it replays is checked once, here. */
  #plan: StepPlan | undefined
  /** What it replays. */
  #replayed: readonly ReplayedEntry[] = []
  /** What it asks of the store. */
  #asked: StepEffect | undefined
  #effect: StepEffect | undefined
  // The command that is being executed:
  #shard: ShardSmallState | undefined
  timeMs = 0

  constructor(entries: readonly Entry[], options: ApplyRunOptions) {
    this.#entries = entries
    this.#options = options
    this.standing = options.standing
    this.#state = options.state
    this.batch = options.batch
    this.#slots = new RecordSlots(options.store, options.writer)
  }

  get done(): boolean {
    return this.#next >= this.#entries.length
  }

  get needsFetch(): boolean {
    return !this.done && this.#next >= this.#chunkStart + this.#chunk.length
  }

  /**
   * Parses the next entries and reads what they must see. UnknownEntryError stops the replica, before anything of these entries happened;
   * SnapshotNeeded where they are an ingest whose files are not here.
   */
  fetch(): MaybePromise<void> {
    this.#slots.clear()
    this.#parseChunk()
    const first = this.#chunk[0]
    if (first?.kind === 'step') return this.#fetchStep(first.step, (this.#entries[this.#next] as Entry).index)
    return this.#slots.fill()
  }

  /** The fetched entry will have the store sealed: with the small state, of which little should be left to be written by then. */
  get seals(): boolean {
    return this.#asked?.seals === true
  }

  #fetchStep(step: MigrationStep, index: number): MaybePromise<void> {
    this.#replayed = []
    const plan = planStep(this.#state, step, index, this.#options.breaks)
    this.#plan = plan
    if (plan.kind === 'refused') return
    this.#asked = effectOf(this.#state, plan.moves, step, index)
    if (step.kind === 'ingest') {
      if (isDigestOfNothing(step.digest)) return
      const held = this.#options.prepareIngest(step)
      return held instanceof Promise ? held.then((isHeld) => mustHold(isHeld, step, index)) : mustHold(held, step, index)
    }
    if (plan.moves.every(({ effect }) => effect !== 'replay') || !('deltas' in step)) return
    this.#replayed = replayedEntries(step.deltas)
    for (const { batch } of this.#replayed) this.#slots.gather(batch)
    return this.#slots.fill()
  }

  /** Runs at least one fetched entry, and more until `clock` passes `untilMs` or an entry must be fetched for. */
  run(clock: Pick<Clock, 'monotonicMs'>, untilMs: number): void {
    const end = this.#chunkStart + this.#chunk.length
    let last: Entry
    do {
      const entry = this.#entries[this.#next] as Entry
      this.results.push(this.#runOne(this.#chunk[this.#next - this.#chunkStart] as Parsed, entry.index))
      if (entry.kind !== EntryKind.Normal) this.standing = standBehind(this.standing, entry)
      last = entry
      this.#next++
    } while (this.#next < end && this.batch.bytes + this.#slots.dirtyBytes < batchBytes && clock.monotonicMs() < untilMs)
    this.standing = { ...this.standing, index: last.index, term: last.term }
    this.#slots.writeTo(this.batch)
  }

  /** What the last run's step asks of the store; once. */
  takeEffect(): StepEffect | undefined {
    const effect = this.#effect
    this.#effect = undefined
    return effect
  }

  #parseChunk(): void {
    this.#chunkStart = this.#next
    this.#chunk = []
    let bytes = 0
    let wholeReads = 0
    for (let i = this.#next; i < this.#entries.length && bytes < chunkBytes && this.#chunk.length < chunkEntries; i++) {
      const entry = this.#entries[i] as Entry
      const isAlone = isMigration(entry)
      if (isAlone && this.#chunk.length > 0) return
      const parsed = parse(entry)
      this.#chunk.push(parsed)
      if (isAlone) return
      bytes += entry.data.length
      if (parsed.kind === 'write') wholeReads += this.#slots.gather(parsed.batch)
      if (wholeReads >= chunkWholeReads || this.#slots.size >= chunkKeys) return
    }
  }

  #runOne(parsed: Parsed, index: number): GroupResult {
    if (parsed.kind === 'nothing') return nothing
    this.#state.timeTo(parsed.timeMs)
    switch (parsed.kind) {
      case 'malformed':
        return { kind: 'malformed', reason: parsed.reason }
      case 'time-mark':
        return this.#mark(index)
      case 'birth':
        return this.#birth(parsed.configNumber, parsed.shards)
      case 'rebirth':
        return this.#rebirth(parsed.shard, parsed.epoch, index)
      case 'step':
        return this.#step(parsed.step, index)
      case 'write':
        return this.#write(parsed.batch, index)
    }
  }

  #birth(configNumber: number, shards: readonly number[]): GroupResult {
    this.#state.configTo(configNumber)
    const born: number[] = []
    const refused: number[] = []
    for (const shard of shards) {
      const result = this.#state.move(shard, { kind: 'birth' })
      if (result.kind === 'moved') this.hasMoved = true
      ;(result.kind === 'moved' ? born : refused).push(shard)
    }
    return { kind: 'born', born, refused }
  }

  #rebirth(shard: number, epoch: number, index: number): GroupResult {
    const result = this.#state.move(shard, { kind: 'rebirth', epoch })
    if (result.kind === 'refused') return { kind: 'not-migrated', reason: `shard ${shard} is ${result.reason}` }
    this.hasMoved = true
    return { kind: 'migrated', index }
  }

  #step(step: MigrationStep, index: number): GroupResult {
    let plan = must(this.#plan, 'a step is run once it is fetched')
    const asked = this.#asked
    this.#asked = undefined
    if (plan.kind === 'refused') return { kind: 'not-migrated', reason: plan.reason }
    if (plan.moves.some(({ effect }) => effect === 'replay')) {
      this.#replay()
      if (step.kind === 'activate' && !this.#finish(step)) plan = planStep(this.#state, step, index, this.#options.breaks, true)
    }
    if (plan.kind === 'refused') return { kind: 'not-migrated', reason: plan.reason }
    for (const { shard, next, effect } of plan.moves) {
      if (effect === 'excise' && isBare(this.#state, shard)) this.batch.delete(encodeKey(shard, KeyKind.ShardState))
      this.#state.become(shard, next)
      if (effect === 'cut' || effect === 'end-export' || effect === 'excise') this.#options.deltaTail.drop(shard)
      if (effect === 'ingest' && asked?.ingest !== true) this.#state.makeUntouched(shard)
    }
    this.hasMoved = true
    this.#effect = asked
    return { kind: 'migrated', index }
  }

  /** Executes what was fetched: the source's commands, at the times that they had there. */
  #replay(): void {
    for (const { shard, timeMs, batch } of this.#replayed) {
      const state = this.#state.shards.get(shard) as ShardSmallState
      state.timeOffsetMs = Math.max(state.timeOffsetMs, timeMs)
      this.#state.touch(state)
      const client = clientText(batch.clientId ?? new Uint8Array(0))
      for (const command of batch.commands ?? []) this.#execute(state, timeMs, client, command)
    }
    this.#replayed = []
  }

  /** Takes over the source's time. False: the replayed commands did not come to its revisions. */
  #finish(step: Extract<MigrationStep, { kind: 'activate' }>): boolean {
    const { breaks } = this.#options
    const agrees = step.deltas.every((delta) => this.#state.shards.get(delta.shard ?? 0)?.revision === (delta.revision ?? 0))
    if (!agrees && !breaks.has('replay-without-cursor')) return false
    for (const delta of step.deltas) {
      const shard = this.#state.shards.get(delta.shard ?? 0) as ShardSmallState
      shard.timeOffsetMs = Math.max(shard.timeOffsetMs, delta.timeMs ?? 0)
      if (breaks.has('sessions-left-behind')) shard.sessions.endAll()
    }
    return true
  }

  /** A shard that is being exported keeps the time. */
  #mark(index: number): GroupResult {
    for (const shard of this.#state.shards.values()) {
      if (shard.record.state === 'exporting') this.#keepDelta(shard, index, new Uint8Array(0), 0)
    }
    return nothing
  }

  #write(batch: pb.v1.WriteBatch.$Properties, index: number): GroupResult {
    const clientId = batch.clientId ?? new Uint8Array(0)
    const client = clientText(clientId)
    const results: WriteResult[] = []
    this.#entryBytes = 0
    for (const command of batch.commands ?? []) results.push(this.#command(client, command))
    for (const [shard, { commands, cost }] of this.#kept) {
      this.#keepDelta(shard, index, encoded(pb.v1.WriteBatch, { clientId, commands }), cost)
    }
    this.#kept.clear()
    return { kind: 'written', results }
  }

  #command(client: string, command: pb.v1.Command.$Properties): WriteResult {
    const shard = this.#state.shards.get(command.shard ?? 0)
    if (shard === undefined || !shard.isServing) return refuseState(shard)
    const sequence = command.sequence ?? 0
    const lowest = command.lowestOutstanding ?? 0
    if (!isNumber(sequence) || !isNumber(lowest)) return badNumbers
    if (this.#entryBytes >= entryWriteBytes) return tooMuch
    const before = this.#entryBytes
    const result = this.#execute(shard, this.#state.timeOf(shard), client, command)
    if (shard.record.state === 'exporting') this.#keep(shard, command, result, this.#entryBytes - before)
    return result
  }

  #execute(shard: ShardSmallState, timeMs: number, client: string, command: pb.v1.Command.$Properties): WriteResult {
    this.#shard = shard
    this.timeMs = timeMs
    this.#state.touch(shard)
    const sequence = command.sequence ?? 0
    const admission = shard.sessions.begin(client, sequence, command.lowestOutstanding ?? 0, command.first ?? false, timeMs)
    if (admission.kind === 'known') return admission.result
    if (admission.kind === 'refused') return sessionRefusals[admission.reason]
    const result = executeCommand(command, this)
    shard.sessions.finish(admission.session, sequence, result)
    return result
  }

  /** The session table has seen the command: so must the target's. */
  #keep(shard: ShardSmallState, command: pb.v1.Command.$Properties, result: WriteResult, written: number): void {
    if (result.error && this.#options.breaks.has('delta-misses-refusals')) return
    const kept = this.#kept.get(shard) ?? { commands: [], cost: 0 }
    this.#kept.set(shard, kept)
    kept.commands.push(command)
    kept.cost += written + (command.compareAndSet && needsWhole(command) ? comparedValueCost : 0)
  }

  #keepDelta(shard: ShardSmallState, index: number, writes: Uint8Array, cost: number): void {
    const record = { index, timeMs: this.#state.timeOf(shard), writes }
    const count = shard.record.count + 1
    const checksum = chainDelta(shard.record.checksum, record)
    shard.record = { ...shard.record, count, checksum }
    this.#state.touch(shard)
    const stored = { cost: cost + writes.length, count, checksum, record }
    this.batch.put(deltaKey(shard.shard, index), encodeDelta(stored))
    this.#options.deltaTail.add(shard.shard, { ...stored, index }, shard.record.cut)
  }

  lookup(key: Uint8Array): RecordView | undefined {
    return this.#slots.lookup(this.#number(), key)
  }

  nextRevision(): number {
    const shard = this.#shard as ShardSmallState
    shard.revision++
    return shard.revision
  }

  put(key: Uint8Array, value: Uint8Array, expiry: number, revision: number): void {
    this.#entryBytes += value.length
    const shard = this.#number()
    if (this.#slots.size > 0 && this.#slots.set(shard, key, { value, expiry, revision })) return
    this.#options.writer.put(this.batch, shard, key, value, expiry, revision)
  }

  delete(key: Uint8Array): void {
    const shard = this.#number()
    if (!this.#slots.set(shard, key, undefined)) this.#options.writer.delete(this.batch, shard, key)
  }

  #number(): number {
    return (this.#shard as ShardSmallState).shard
  }
}

function mustHold(isHeld: boolean, step: MigrationStep, index: number): void {
  if (!isHeld) throw new SnapshotNeeded(index, `the files of migration ${step.id} are not here`)
}

/** As sessions count: from 1. */
function isNumber(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 1
}
