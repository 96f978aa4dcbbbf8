/** Groups whose replicas share one state in memory and apply at once: what an entry does is the pure function of production, records are numbers. */
import { must } from '../../../base/assert.ts'
import { emptyBytes, utf8, utf8Text } from '../../../base/bytes.ts'
import { crc32 } from '../../../base/checksum.ts'
import { sleep } from '../../../base/clock.ts'
import { joinPath, makeFolderDurably, readFile, replaceFile } from '../../../base/file-system.ts'
import { OstrakaError } from '../../../proto/errors.ts'
import type { pb } from '../../../proto/messages.ts'
import type { FileEntry } from '../../../raft/file-set.ts'
import type { ReplicaApi } from '../../../raft/replica-api.ts'
import type { ProposalOutcome, ReadOutcome } from '../../../raft/state-machine.ts'
import type { GroupResult } from '../../../shardserver/apply-run.ts'
import { decodeEntry } from '../../../shardserver/entry.ts'
import type { MovingReplica } from '../../../shardserver/migration/node.ts'
import type { MigrationStep } from '../../../shardserver/migration-entry.ts'
import { digestOfNothing, isDigestOfNothing } from '../../../shardserver/record-digest.ts'
import type {
  DeltaOutcome,
  DeltaWanted,
  ExportSource,
  HeldImport,
  LocalMigration,
  ShardMigrations,
} from '../../../shardserver/shard-migrations.ts'
import { calm, type ShardEvent, type ShardRecord, serves, transition, unbornShard } from '../../../shardserver/shard-state.ts'
import type { SimProcess } from '../../sim/sim-process.ts'

interface Command {
  readonly index: number
  readonly value: number
}

/** What became of a proposal, where the test wants something else than to have it applied. */
export type ProposalFate = 'applied' | 'lost-but-applied' | 'lost'

export class FakeGroup {
  readonly uid: string
  readonly records = new Map<number, ShardRecord>()
  readonly data = new Map<number, number[]>()
  readonly replicas: FakeReplica[] = []
  /** Kinds of the steps that were applied and taken, in order. */
  readonly steps: string[] = []
  leader: string
  term = 1
  /** Decides over each proposal of a step; by default all are applied. */
  fate: (kind: string) => ProposalFate = () => 'applied'
  /** Values that a replay brings other than they were. */
  damage = false
  /** A cut of shards without records has no files. */
  knowsNothing = false
  /** How long an entry takes until it is applied. */
  applyMs = 1
  /** What a command of the delta is filled up to. */
  commandBytes = 0
  index = 0
  readonly deltas = new Map<number, Command[]>()
  #cuts = new Map<string, ReadonlyMap<number, readonly number[]>>()

  constructor(uid: string, leader: string) {
    this.uid = uid
    this.leader = leader
  }

  own(shards: readonly number[]): void {
    for (const shard of shards) {
      this.records.set(shard, { ...calm(unbornShard, 'serving'), epoch: 1 })
      this.data.set(shard, [])
    }
  }

  record(shard: number): ShardRecord {
    return this.records.get(shard) ?? unbornShard
  }

  /** A client's write: false where the shard is not served here. */
  write(shard: number, value: number): boolean {
    const record = this.record(shard)
    if (!serves(record.state)) return false
    this.index++
    this.data.get(shard)?.push(value)
    if (record.state === 'exporting') {
      this.#delta(shard).push({ index: this.index, value })
      this.records.set(shard, { ...record, count: record.count + 1, checksum: chain(record.checksum, value) })
    }
    return true
  }

  lead(node: string): void {
    this.leader = node
    this.term++
    for (const replica of this.replicas) replica.onSoftState()
  }

  apply(data: Uint8Array): GroupResult {
    this.index++
    const entry = decodeEntry(data, this.index)
    if (entry.kind === 'rebirth') {
      return this.#move([entry.shard], 'rebirth', () => ({ kind: 'rebirth', epoch: entry.epoch }))
    }
    if (entry.kind === 'write' || entry.kind === 'birth' || entry.kind === 'time-mark') return { kind: 'none' }
    const result = this.#move(entry.shards, entry.kind, (shard, i) => this.#eventOf(entry, shard, i))
    if (result.kind === 'migrated') this.#effect(entry)
    return result
  }

  cut(id: number, attempt: number): ReadonlyMap<number, readonly number[]> | undefined {
    return this.#cuts.get(`${id}.${attempt}`)
  }

  commands(shard: number, after: number): Command[] {
    return this.#delta(shard).filter(({ index }) => index > after)
  }

  migrations(): readonly LocalMigration[] {
    const found = new Map<number, LocalMigration>()
    for (const [shard, record] of [...this.records].sort(([a], [b]) => a - b)) {
      const { state, newestId: id } = record
      if (state !== 'exporting' && state !== 'released' && state !== 'importing' && state !== 'refused') continue
      const shards = [...(found.get(id)?.shards ?? []), shard]
      found.set(id, { ...record, id, state, shards })
    }
    return [...found.values()].sort((a, b) => a.id - b.id)
  }

  #move(shards: readonly number[], kind: string, eventOf: (shard: number, i: number) => ShardEvent): GroupResult {
    const moved: [number, ShardRecord][] = []
    for (const [i, shard] of shards.entries()) {
      const result = transition(this.record(shard), eventOf(shard, i))
      if (result.kind === 'refused') return { kind: 'not-migrated', reason: result.reason }
      moved.push([shard, result.next])
    }
    for (const [shard, next] of moved) this.records.set(shard, next)
    this.steps.push(kind)
    return { kind: 'migrated', index: this.index }
  }

  #eventOf(step: MigrationStep, shard: number, i: number): ShardEvent {
    const { id } = step
    switch (step.kind) {
      case 'export':
        return { ...step, index: this.index, digest: this.#isOfNothing(step.shards) ? digestOfNothing : emptyBytes }
      case 'release':
        return { ...step, index: this.index }
      case 'replay':
      case 'activate': {
        const delta = step.deltas[i] ?? {}
        const values = (delta.records ?? []).map(commandValue)
        const count = this.record(shard).count + values.length
        const checksum = values.reduce(chain, this.record(shard).checksum)
        const agrees = !this.damage && count === (delta.count ?? 0) && checksum === (delta.checksum ?? 0)
        const replayed = { id, after: step.after, upTo: step.upTo, agrees, count, checksum }
        return step.kind === 'replay' ? { kind: 'replay', ...replayed } : { kind: 'activate', ...replayed, epoch: step.epochs[i] ?? 0 }
      }
      case 'outcome':
        return { kind: 'outcome', id, outcome: step.outcome, epoch: step.epochs[i] ?? 0 }
      default:
        return step
    }
  }

  #effect(step: MigrationStep): void {
    const { id, shards } = step
    if (step.kind === 'export') {
      for (const shard of shards) this.deltas.set(shard, [])
      if (!isDigestOfNothing(this.record(shards[0] ?? 0).digest)) this.#cut(id, step.attempt, shards)
    } else if (step.kind === 'ingest' && isDigestOfNothing(step.digest)) {
      for (const shard of shards) this.data.set(shard, [])
    } else if (step.kind === 'ingest') {
      const held = must(
        this.replicas.map((replica) => replica.held.get(`${id}.${step.attempt}`)).find((copy) => copy !== undefined),
        'a copy',
      )
      for (const shard of shards) this.data.set(shard, [...(held.data.get(shard) ?? [])])
    } else if (step.kind === 'replay' || step.kind === 'activate') {
      for (const { shard, records } of step.deltas) this.data.get(shard ?? 0)?.push(...(records ?? []).map(commandValue))
    }
    for (const shard of shards) if (this.record(shard).state === 'absent') this.data.delete(shard)
    this.#tell()
  }

  #cut(id: number, attempt: number, shards: readonly number[]): void {
    const name = `${id}.${attempt}`
    this.#cuts.set(name, new Map(shards.map((shard) => [shard, [...(this.data.get(shard) ?? [])]])))
    for (const replica of this.replicas) replica.cuts.add(name)
  }

  #tell(): void {
    for (const replica of this.replicas) replica.onMigration?.()
  }

  #isOfNothing(shards: readonly number[]): boolean {
    return this.knowsNothing && shards.every((shard) => this.data.get(shard)?.length === 0)
  }

  #delta(shard: number): Command[] {
    const known = this.deltas.get(shard) ?? []
    this.deltas.set(shard, known)
    return known
  }
}

/** One replica on one machine: what it holds of cuts and of imports is its own. */
export class FakeReplica implements ReplicaApi<GroupResult>, ShardMigrations {
  readonly replica: number
  readonly conf: ReplicaApi<GroupResult>['conf']
  /** One object, as a node keeps it. */
  readonly hosted: MovingReplica = { replica: this, stateMachine: this }
  readonly held = new Map<string, HeldImport & { readonly data: ReadonlyMap<number, readonly number[]> }>()
  readonly cuts = new Set<string>()
  readonly timeMs = 0
  onMigration: (() => void) | undefined
  onSoftState: () => void = () => {}
  readonly #group: FakeGroup
  #process: SimProcess
  /** Another digest than the cut has. */
  wrongDigest = false
  /** The term in which it believes to lead. */
  #deposedIn: number | undefined
  /** Its exports are never made. */
  isMaking = false
  /** How long it takes to verify files. */
  stageMs = 0
  /** What its node does for files that are made or verified: bytes a second. */
  workRate = 0
  /** What who asks for one meanwhile is told to wait. */
  waitMs = 50
  released = 0
  /** For files of an export. */
  asked = 0

  constructor(group: FakeGroup, process: SimProcess, replica: number, voters: readonly number[]) {
    this.#group = group
    this.#process = process
    this.replica = replica
    this.conf = { voters: [...voters], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false }
  }

  /** Its process was started again: what it holds on disk is still there. */
  on(process: SimProcess): void {
    this.#process = process
  }

  get group(): string {
    return this.#group.uid
  }
  get role(): 'leader' | 'follower' {
    return this.#leads || this.isDeposed ? 'leader' : 'follower'
  }
  /** It believes to lead, whoever does, and no round confirms that: what it proposes is lost. */
  get isDeposed(): boolean {
    return this.#deposedIn !== undefined
  }
  set isDeposed(isDeposed: boolean) {
    this.#deposedIn = isDeposed ? this.#group.term : undefined
  }
  get leader(): number {
    return this.#group.replicas.find((replica) => replica.#leads)?.replica ?? 0
  }
  get #leads(): boolean {
    return this.#group.leader === this.#process.name
  }
  get term(): number {
    return this.#deposedIn ?? this.#group.term
  }
  get applied(): number {
    return this.#group.index
  }
  groupTimeMs(): number {
    return 0
  }

  propose(data: Uint8Array, done: (outcome: ProposalOutcome<GroupResult>) => void): void {
    this.#process.clock.setTimer(this.#group.applyMs, () => {
      if (this.role !== 'leader') return done({ kind: 'refused', reason: 'not-leader', leader: this.leader })
      if (this.isDeposed) return done({ kind: 'lost' })
      const fate = this.#group.fate(decodeEntry(data, 1).kind)
      if (fate === 'lost') return done({ kind: 'lost' })
      const result = this.#group.apply(data)
      done(fate === 'applied' ? { kind: 'applied', index: this.#group.index, result } : { kind: 'lost' })
    })
  }

  readonly freshAsOfMs = Number.NEGATIVE_INFINITY

  readIndex(done: (outcome: ReadOutcome) => void): void {
    this.#process.clock.setTimer(1, () =>
      done(this.role === 'leader' && !this.isDeposed ? { kind: 'ready' } : { kind: 'refused', reason: 'not-leader', leader: this.leader }),
    )
  }

  readonly exports: ExportSource = {
    open: async ({ export: wanted }) => {
      const name = `${wanted?.migration}.${wanted?.attempt}`
      this.asked++
      if (this.isMaking) throw new OstrakaError('UNAVAILABLE', `export ${name} is being made`, true, { waitMs: this.waitMs })
      if (!this.cuts.has(name)) throw new OstrakaError('NOT_FOUND', `export ${name} is lost`, true)
      const cut = must(this.#group.cut(wanted?.migration ?? 0, wanted?.attempt ?? 0), 'a cut')
      const bytes = utf8(JSON.stringify([...cut]))
      const folder = `exports-${this.group}-${name}`
      await this.#process.fileSystem.makeFolder(folder)
      await replaceFile(this.#process.fileSystem, joinPath(folder, 'records'), bytes)
      const files = [{ name: 'records', size: bytes.length, checksum: crc32(bytes) }]
      return { folder, description: utf8(String(this.record(cut).cut)), files, readHere: true }
    },
    release: () => {
      this.released++
    },
  }

  record(cut: ReadonlyMap<number, unknown>): ShardRecord {
    return this.#group.record([...cut.keys()][0] ?? 0)
  }

  shardRecord(shard: number): ShardRecord {
    return this.#group.record(shard)
  }
  migrations(): readonly LocalMigration[] {
    return this.#group.migrations()
  }
  importFolder(id: number, attempt: number): string {
    return `imports-${this.group}-${id}.${attempt}`
  }

  async stageImport(id: number, attempt: number, set: { description: Uint8Array; files: readonly FileEntry[] }): Promise<HeldImport> {
    const folder = this.importFolder(id, attempt)
    await makeFolderDurably(this.#process.fileSystem, folder)
    const bytes = await readFile(this.#process.fileSystem, joinPath(folder, 'records'))
    const data = new Map(JSON.parse(utf8Text(bytes)) as [number, number[]][])
    const digest = new Uint8Array(16).fill(this.wrongDigest ? 99 : crc32(bytes) & 0xff)
    const held = { data, digest, cut: Number(utf8Text(set.description)), bytes: bytes.length }
    if (this.stageMs > 0) await sleep(this.#process.clock, this.stageMs)
    this.held.set(`${id}.${attempt}`, held)
    return held
  }
  bringImport(_id: number, _attempt: number, bring: (signal: AbortSignal) => Promise<void>): Promise<void> {
    return bring(new AbortController().signal)
  }

  holdsImport(id: number, attempt: number): HeldImport | undefined {
    return this.held.get(`${id}.${attempt}`)
  }

  workOn(): number {
    return this.workRate * this.#process.clock.monotonicMs()
  }

  async delta({ id, shards, after, maxBytes }: DeltaWanted): Promise<DeltaOutcome> {
    const record = this.#group.record(shards[0] ?? 0)
    const { state, newestId, releasedAt, cut } = record
    if ((state !== 'exporting' && state !== 'released') || newestId !== id || after < cut) return { kind: 'refused', reason: state }
    const end = state === 'released' ? releasedAt : this.#group.index
    const indexes = shards.flatMap((shard) => this.#group.commands(shard, after).map(({ index }) => index)).sort((a, b) => a - b)
    // A command counts as a quarter of a mebibyte, so that a few of them fill a piece.
    const last = indexes[Math.floor((4 * maxBytes) / 1024 / 1024) - 1]
    const upTo = last === undefined || last === indexes.at(-1) ? end : last
    const isReleased = state === 'released' && upTo === releasedAt
    return {
      kind: 'delta',
      upTo,
      lag: end - upTo,
      releasedAt: isReleased ? releasedAt : 0,
      shards: shards.map((shard) => this.#shardDelta(shard, after, upTo)),
    }
  }

  #shardDelta(shard: number, after: number, upTo: number): pb.v1.ShardDelta.$Properties {
    const all = this.#group.commands(shard, 0).filter(({ index }) => index <= upTo)
    const writes = (value: number) => utf8(String(value).padEnd(this.#group.commandBytes))
    const records = all.filter(({ index }) => index > after).map(({ index, value }) => ({ index, writes: writes(value) }))
    return { shard, records, count: all.length, checksum: all.map(({ value }) => value).reduce(chain, 0), revision: 1, timeMs: 1 }
  }

  async shardBytes(): Promise<number> {
    return 1
  }
  status() {
    return { applied: 0, configNumber: 0, timeMs: 0, shards: [] }
  }
}

function commandValue({ writes }: { readonly writes?: Uint8Array | null }): number {
  return Number(utf8Text(writes ?? new Uint8Array(0)))
}

function chain(checksum: number, value: number): number {
  return crc32(utf8(`${checksum} ${value}`))
}
