import { must } from '../../base/assert.ts'
import { joinPath, readFile } from '../../base/file-system.ts'
import { pb } from '../../proto/messages.ts'
import type { FileSet } from '../../raft/file-set.ts'
import type { GroupResult } from '../../shardserver/apply-run.ts'
import { encodeMigration } from '../../shardserver/entry.ts'
import type { GroupStateMachine, LoadOptions } from '../../shardserver/group-state-machine.ts'
import type { MigrationStep } from '../../shardserver/migration-entry.ts'
import { isDigestOfNothing } from '../../shardserver/record-digest.ts'
import type { BroughtFiles, DeltaOutcome, ExportSet, HeldImport } from '../../shardserver/shard-migrations.ts'
import { LogBuilder, type Machine, openMachine } from './builders.ts'
import type { MemoryStore } from './memory-store.ts'

type Delta = Extract<DeltaOutcome, { kind: 'delta' }>

/** A group as a test drives it: one log, one replica. */
export class TestGroup {
  readonly name: string
  readonly log = new LogBuilder()
  /** The group's time, ms: of the next entry. */
  timeMs: number
  replica: Machine
  readonly #options: Partial<LoadOptions>

  private constructor(name: string, timeMs: number, replica: Machine, options: Partial<LoadOptions>) {
    this.name = name
    this.timeMs = timeMs
    this.replica = replica
    this.#options = options
  }

  static async open(name: string, timeMs = 0, options: Partial<LoadOptions> = {}, store?: MemoryStore): Promise<TestGroup> {
    return new TestGroup(name, timeMs, await openMachine(store, options), options)
  }

  get machine(): GroupStateMachine {
    return this.replica.machine
  }

  /** Applies all that is in the log; the last entry's result. */
  async run(): Promise<GroupResult> {
    const results = await this.machine.apply(this.log.entries.slice(this.machine.applied))
    return results.at(-1) ?? { kind: 'none' }
  }

  /** The process ends and comes back: what was not durable is applied again. */
  async restart(): Promise<void> {
    this.replica = await openMachine(this.replica.store.crash(), this.#options)
    await this.run()
  }

  step(step: MigrationStep): Promise<GroupResult> {
    this.log.add(encodeMigration(this.timeMs, step))
    return this.run()
  }

  stateOf(shard: number): string {
    return this.machine.shardState(shard)
  }
}

/** One migration between two groups, step by step, as the driver would take them. */
export class Mover {
  readonly id: number
  readonly shards: readonly number[]
  readonly source: TestGroup
  readonly target: TestGroup
  attempt = 1

  constructor(id: number, shards: readonly number[], source: TestGroup, target: TestGroup) {
    this.id = id
    this.shards = shards
    this.source = source
    this.target = target
  }

  get names(): { readonly id: number; readonly shards: readonly number[] } {
    return { id: this.id, shards: this.shards }
  }

  import(): Promise<GroupResult> {
    return this.target.step({ kind: 'import', ...this.names, attempt: this.attempt, from: this.source.name })
  }

  export(): Promise<GroupResult> {
    return this.source.step({ kind: 'export', ...this.names, attempt: this.attempt })
  }

  copy(to: Machine = this.target.replica): Promise<HeldImport> {
    return copyExport(this.source.replica, to, this.id, this.attempt)
  }

  ingest({ cut, digest }: HeldImport): Promise<GroupResult> {
    return this.target.step({ kind: 'ingest', ...this.names, attempt: this.attempt, cut, digest })
  }

  async delta(after = this.cursor, maxBytes = 1024 * 1024): Promise<Delta> {
    const outcome = await this.source.machine.delta({ ...this.names, after, maxBytes })
    if (outcome.kind === 'refused') throw new Error(outcome.reason)
    return outcome
  }

  get cursor(): number {
    return this.target.machine.shardRecord(this.shards[0] as number).cursor
  }

  async replay(maxBytes?: number): Promise<GroupResult> {
    const after = this.cursor
    const { upTo, shards } = await this.delta(after, maxBytes)
    return this.target.step({ kind: 'replay', ...this.names, after, upTo, deltas: shards })
  }

  release(): Promise<GroupResult> {
    return this.source.step({ kind: 'release', ...this.names })
  }

  async activate(epoch = 2, change: (deltas: readonly pb.v1.ShardDelta.$Properties[]) => void = () => undefined): Promise<GroupResult> {
    const after = this.cursor
    const { upTo, shards, releasedAt } = await this.delta(after)
    if (releasedAt !== upTo) throw new Error('more is to come')
    change(shards)
    return this.target.step({ kind: 'activate', ...this.names, after, upTo, deltas: shards, epochs: this.shards.map(() => epoch) })
  }

  outcome(group: TestGroup, outcome: 'aborted' | 'given-back' | 'done', epoch = 0): Promise<GroupResult> {
    return group.step({ kind: 'outcome', ...this.names, outcome, epochs: outcome === 'given-back' ? this.shards.map(() => epoch) : [] })
  }

  /** Up to the point where the target holds the files' records. */
  async begin(): Promise<void> {
    await this.import()
    await this.export()
    await this.ingest(await this.copy())
  }

  /** The commit being known, to the end. */
  async finish(epoch = 2): Promise<GroupResult> {
    await this.release()
    const result = await this.activate(epoch)
    await this.outcome(this.source, 'done')
    return result
  }
}

/** Brings the files of a cut, if it has any, from one replica to another, which holds them then; `given`: what it is told that they are. */
export async function copyExport(
  from: Machine,
  to: Machine,
  id: number,
  attempt: number,
  given?: FileSet & BroughtFiles,
): Promise<HeldImport> {
  const { digest, cut } = must(
    from.machine.migrations().find((each) => each.id === id && each.attempt === attempt),
    'a cut',
  )
  if (isDigestOfNothing(digest)) return { digest, cut, bytes: 0 }
  const set: FileSet & BroughtFiles = given ?? (await openExport(from.machine, id, attempt))
  const folder = to.machine.importFolder(id, attempt)
  await to.store.fileSystem.makeFolder(folder)
  for (const { name } of set.files) {
    const file = await to.store.fileSystem.open(joinPath(folder, name), 'create')
    await file.write([await readFile(from.store.fileSystem, joinPath(set.folder, name))], 0)
    await file.close()
  }
  return to.machine.stageImport(id, attempt, set)
}

/** Waits until the export is made. */
export async function openExport(machine: GroupStateMachine, id: number, attempt: number): Promise<ExportSet> {
  for (let turn = 0; turn < 10_000; turn++) {
    try {
      return await machine.exports.open(pb.v1.OpenFilesRequest.create({ export: { migration: id, attempt } }))
    } catch (error) {
      if ((error as { code?: string }).code !== 'UNAVAILABLE') throw error
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  throw new Error('the export is never made')
}
