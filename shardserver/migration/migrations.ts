import type { Timer } from '../../base/clock.ts'
import type { Route } from '../../base/transport.ts'
import type { pb } from '../../proto/messages.ts'
import { isEnded } from '../../proto/migration.ts'
import { ImportDriver } from './import-driver.ts'
import { type FetchStatus, type FetchWorld, ImportFetcher } from './import-fetcher.ts'
import { nextImportStep } from './import-step.ts'
import type { MigrationNode, MovingReplica } from './node.ts'
import { Outcomes } from './outcomes.ts'
import { Rebirths } from './rebirths.ts'
import { MigrationServer, type MigrationServerParts } from './server.ts'

/** It looks at everything so often also where nothing told it of a change. */
const lookMs = 500

export interface MigrationsOptions {
  readonly node: MigrationNode
  readonly world: FetchWorld
  slow: MigrationServerParts['slow']
  /** Records of a group's shards changed, or its replica was started: whether some shard is being filled, and the migrations for which it keeps what it executes. */
  onRecords(group: string, isImporting: boolean, exporting: readonly number[]): void
}

/** What this node does for one group whose replica it holds. */
interface GroupWork {
  readonly hosted: MovingReplica
  /** As the group's leader: its term, and what runs in it. */
  lead:
    | { readonly term: number; readonly drivers: Map<number, ImportDriver>; readonly outcomes: Outcomes; readonly rebirths: Rebirths }
    | undefined
  readonly fetchers: Map<number, ImportFetcher>
}

/**
 * Moving shards on one node: what its replicas have to fetch, and for groups that it leads the drivers of imports, the outcomes and the births.
 * It only looks at what is replicated (records, the controllers' list) and starts or ends what that asks for, so any change may be told
 * twice or late.
 */
export class Migrations {
  readonly #options: MigrationsOptions
  readonly #node: MigrationNode
  readonly #world: FetchWorld
  readonly #server: MigrationServer
  readonly #work = new Map<string, GroupWork>()
  /** Imports proposed whose entries are not applied yet. */
  readonly #beginning = new Set<number>()
  #timer: Timer | undefined
  #isScheduled = false
  #closed = false

  constructor(options: MigrationsOptions) {
    this.#options = options
    this.#node = options.node
    const onFailure = (error: Error) => {
      this.close()
      options.world.onFailure(error)
    }
    this.#world = { ...options.world, onFailure }
    this.#server = new MigrationServer({
      node: options.node,
      fetchStatus: (group, id, attempt) => this.#fetchStatus(group, id, attempt),
      slow: options.slow,
    })
    this.#arm()
  }

  routes(): Route[] {
    return this.#server.routes()
  }

  /** The list, a role, a record or the replicas here may have changed; looked at at the end of the turn. */
  check(): void {
    if (this.#isScheduled || this.#closed) return
    this.#isScheduled = true
    this.#node.clock.soon(() => {
      this.#isScheduled = false
      if (!this.#closed) this.#look()
    })
  }

  /** Of the migrations into a group that this node leads. */
  progressOf(group: string): pb.v1.MigrationProgress.$Properties[] {
    return [...(this.#work.get(group)?.lead?.drivers.values() ?? [])].map((driver) => driver.progress())
  }

  /** See MovesView. */
  sourceOf(group: string, shard: number): string | undefined {
    return this.#node.book.sourceOf(group, shard)
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#timer?.cancel()
    for (const work of this.#work.values()) this.#end(work)
    this.#work.clear()
    this.#node.book.close()
    this.#node.peers.close()
  }

  #arm(): void {
    this.#timer = this.#node.clock.setTimer(lookMs, () => {
      this.#look()
      this.#arm()
    })
  }

  #look(): void {
    const { book, hosts } = this.#node
    book.check()
    for (const [group, work] of this.#work) {
      if (hosts.get(group) === work.hosted) continue
      this.#end(work)
      this.#work.delete(group)
    }
    for (const hosted of hosts.all()) this.#lookAt(this.#workOf(hosted))
    for (const id of book.unlisted()) if (!this.#isHeld(id)) book.forget(id)
  }

  #workOf(hosted: MovingReplica): GroupWork {
    const known = this.#work.get(hosted.replica.group)
    if (known !== undefined) return known
    const work: GroupWork = { hosted, lead: undefined, fetchers: new Map() }
    this.#work.set(hosted.replica.group, work)
    hosted.stateMachine.onMigration = () => {
      this.check()
      this.#tellRecords(hosted)
    }
    this.#tellRecords(hosted)
    return work
  }

  #tellRecords({ replica, stateMachine }: MovingReplica): void {
    const all = stateMachine.migrations()
    const exporting = all.filter(({ state }) => state === 'exporting').map(({ id }) => id)
    const isImporting = all.some(({ state }) => state === 'importing')
    this.#options.onRecords(replica.group, isImporting, exporting)
  }

  #lookAt(work: GroupWork): void {
    this.#fetch(work)
    const { replica } = work.hosted
    if (replica.role !== 'leader') {
      this.#stopLeading(work)
      return
    }
    if (work.lead?.term !== replica.term) {
      this.#stopLeading(work)
      const outcomes = new Outcomes(this.#node, work.hosted)
      work.lead = { term: replica.term, drivers: new Map(), outcomes, rebirths: new Rebirths(this.#node, work.hosted) }
    }
    this.#drive(work)
    work.lead?.outcomes.check()
    work.lead?.rebirths.check()
  }

  #drive({ hosted, lead }: GroupWork): void {
    if (lead === undefined) return
    const { group } = hosted.replica
    const inward = this.#node.book.of(group).filter(({ to }) => to === group)
    if (inward.length === 0) return
    let free = this.#node.maxMigrations - this.#running().size
    for (const migration of inward) {
      const { id } = migration
      const driver = lead.drivers.get(id)
      if (driver !== undefined) {
        // There may be thousands that wait: only as many look as can begin.
        if (!driver.waitsForPlace || free-- > 0) driver.wake()
        continue
      }
      const records = migration.shards.map((shard) => hosted.stateMachine.shardRecord(shard))
      if (nextImportStep(migration, records).kind === 'none') continue
      const options = { node: this.#node, hosted, id, maybeBegin: () => this.#maybeBegin(id), onEnd: () => lead.drivers.delete(id) }
      lead.drivers.set(id, new ImportDriver(options, migration.from))
    }
  }

  /** Those that have begun always go on, and those whose source is away take no place: so none waits for another one for ever. */
  #maybeBegin(id: number): (() => void) | undefined {
    if (this.#running().size >= this.#node.maxMigrations) return undefined
    this.#beginning.add(id)
    return () => this.#beginning.delete(id)
  }

  /** Imports into groups that this node leads, but for those that are paused. */
  #running(): ReadonlySet<number> {
    const running = new Set(this.#beginning)
    for (const { hosted, lead } of this.#work.values()) {
      if (lead === undefined) continue
      for (const { id: other, state } of hosted.stateMachine.migrations()) {
        if (state !== 'importing' || this.#node.book.get(other)?.paused === true) continue
        if (lead.drivers.get(other)?.isSourceAway !== true) running.add(other)
      }
    }
    return running
  }

  #fetch({ hosted, fetchers }: GroupWork): void {
    const wanted = new Map<number, { readonly id: number; readonly attempt: number; readonly from: string }>()
    for (const { id, attempt, state, ingested } of hosted.stateMachine.migrations()) {
      const migration = this.#node.book.get(id)
      if (state !== 'importing' || ingested || migration === undefined || migration.paused || isEnded(migration.phase)) continue
      if (hosted.stateMachine.holdsImport(id, attempt) === undefined) wanted.set(id, { id, attempt, from: migration.from })
    }
    for (const [id, fetcher] of fetchers) if (wanted.get(id)?.attempt !== fetcher.attempt) fetcher.close()
    for (const want of wanted.values()) {
      // One that was closed is waited for: two must not write to one folder.
      if (fetchers.has(want.id)) continue
      const onEnd = () => {
        fetchers.delete(want.id)
        this.check()
      }
      fetchers.set(want.id, new ImportFetcher(this.#node, hosted, this.#world, want, onEnd))
    }
  }

  #fetchStatus(group: string, id: number, attempt: number): FetchStatus | undefined {
    const fetcher = this.#work.get(group)?.fetchers.get(id)
    return fetcher?.attempt === attempt ? fetcher.status() : undefined
  }

  #isHeld(id: number): boolean {
    return this.#node.hosts.all().some(({ stateMachine }) => stateMachine.migrations().some((local) => local.id === id))
  }

  #stopLeading(work: GroupWork): void {
    if (work.lead === undefined) return
    for (const driver of [...work.lead.drivers.values()]) driver.close()
    work.lead.outcomes.close()
    work.lead.rebirths.close()
    work.lead = undefined
  }

  #end(work: GroupWork): void {
    this.#stopLeading(work)
    for (const fetcher of work.fetchers.values()) fetcher.close()
    work.hosted.stateMachine.onMigration = undefined
    this.#options.onRecords(work.hosted.replica.group, false, [])
  }
}
