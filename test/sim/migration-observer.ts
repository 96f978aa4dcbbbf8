/**
 * Looks, after each event, at what nodes and controllers hold in memory: keeps the books of who serves which shard, fails the run when two
 * groups do, and tells each step of each migration in the moment in which it is first seen.
 */
import { isEnded, type Migration } from '../../proto/migration.ts'
import type { HostedReplica } from '../../shardserver/group-host.ts'
import type { GroupStateMachine } from '../../shardserver/group-state-machine.ts'
import type { EventOwner } from './event-queue.ts'
import type { MigrationStep, StepEvent } from './migration-steps.ts'
import { Ownership } from './ownership.ts'
import type { SimCluster } from './sim-cluster.ts'
import { SimProcess } from './sim-process.ts'
import type { World } from './world.ts'

interface Followed {
  migration: Migration
  readonly steps: Set<MigrationStep>
  /** What the target's log says. */
  attempt: number
  ingested: boolean
}

export class MigrationObserver {
  readonly ownership: Ownership
  readonly #world: World
  readonly #cluster: SimCluster
  readonly #onStep: (event: StepEvent) => void
  readonly #followed = new Map<number, Followed>()
  /** Those whose target waits for files. */
  readonly #awaiting = new Set<Followed>()
  /** Controllers' name → version of its list when it was looked at. */
  readonly #versions = new Map<string, number>()
  /** By node: how far its replicas had applied. */
  readonly #seen = new Map<string, { readonly hosted: readonly HostedReplica[]; readonly applied: number[] }>()
  /** By machine: asked after each event, so without a search. */
  readonly #looks: ReadonlyMap<string, (name: string) => void>
  #stop = () => {}

  /** `onStep` must not do anything at once: it may schedule events. */
  constructor(world: World, cluster: SimCluster, onStep: (event: StepEvent) => void) {
    this.#world = world
    this.#cluster = cluster
    this.#onStep = onStep
    this.ownership = new Ownership((error) => world.fail(error))
    const lookAtController = (name: string) => this.#lookAtController(name)
    const lookAtNode = (name: string) => this.#lookAtNode(name)
    this.#looks = new Map([
      ...cluster.controllerNames.map((name) => [name, lookAtController] as const),
      ...cluster.nodeNames.map((name) => [name, lookAtNode] as const),
    ])
  }

  start(): void {
    this.#stop = this.#world.observe((owner) => this.#look(owner))
  }

  stop(): void {
    this.#stop()
  }

  #look(owner: EventOwner | undefined): void {
    if (!(owner instanceof SimProcess) || !owner.alive) return
    this.#looks.get(owner.name)?.(owner.name)
  }

  #lookAtController(name: string): void {
    const state = this.#cluster.controllerState(name)
    if (state === undefined || this.#versions.get(name) === state.migrations.version) return
    this.#versions.set(name, state.migrations.version)
    for (const migration of state.migrations.byId.values()) {
      let followed = this.#followed.get(migration.id)
      if (followed === undefined) {
        followed = { migration, steps: new Set(), attempt: 0, ingested: false }
        this.#followed.set(migration.id, followed)
      }
      if (isEnded(followed.migration.phase)) continue
      followed.migration = migration
      if (isEnded(migration.phase)) this.#awaiting.delete(followed)
      if (migration.phase === 'committed' || migration.phase === 'done') this.#saw(followed, 'commit')
      if (migration.phase === 'done') this.#saw(followed, 'done')
    }
  }

  #lookAtNode(name: string): void {
    const hosted = this.#cluster.hosted(name)
    if (this.#hasNews(name, hosted)) this.#lookAtApplied(hosted)
    for (const followed of this.#awaiting) {
      if (followed.steps.has('files')) continue
      const { id, to } = followed.migration
      const target = hosted.find(({ replica }) => replica.group === to)?.stateMachine
      if (target?.holdsImport(id, followed.attempt) !== undefined) this.#saw(followed, 'files')
    }
  }

  #lookAtApplied(hosted: readonly HostedReplica[]): void {
    const touched = new Set<number>()
    for (const { replica, stateMachine } of hosted) {
      const { group } = replica
      if (!this.ownership.isNews(group, stateMachine.applied)) continue
      for (const { shard } of this.ownership.see(group, stateMachine.applied, stateMachine.status().shards)) touched.add(shard)
      this.#lookAtRecords(group, stateMachine)
    }
    if (touched.size > 0) this.ownership.check(touched)
  }

  /** Whether a replica on node `name` has come, gone or applied anything since it was asked last: asked after each event. */
  #hasNews(name: string, hosted: readonly HostedReplica[]): boolean {
    let seen = this.#seen.get(name)
    if (seen?.hosted !== hosted) this.#seen.set(name, (seen = { hosted, applied: hosted.map(() => -1) }))
    const { applied } = seen
    let isNews = false
    for (let i = 0; i < hosted.length; i++) {
      const now = (hosted[i] as HostedReplica).stateMachine.applied
      if (now === applied[i]) continue
      applied[i] = now
      isNews = true
    }
    return isNews
  }

  /** What the newest log entry of `group` made of the migrations that it takes part in. */
  #lookAtRecords(group: string, stateMachine: GroupStateMachine): void {
    for (const followed of this.#followed.values()) {
      const { id, from, to, shards } = followed.migration
      if (from !== group && to !== group) continue
      const record = stateMachine.shardRecord(shards[0] ?? 0)
      if (record.newestId !== id) continue
      if (to === group && record.state === 'importing') {
        this.#saw(followed, 'import')
        followed.attempt = record.attempt
        if (!followed.ingested) this.#awaiting.add(followed)
        if (record.ingested && followed.ingested && record.cursor > 0) this.#saw(followed, 'replay')
        if (record.ingested) {
          this.#saw(followed, 'ingest')
          followed.ingested = true
          this.#awaiting.delete(followed)
        }
      }
      if (to === group && record.state === 'serving') this.#saw(followed, 'activate')
      if (from === group && record.state === 'exporting') this.#saw(followed, 'export')
      if (from === group && record.state === 'released') this.#saw(followed, 'release')
      if (from === group && record.state === 'absent') this.#saw(followed, 'clean')
    }
  }

  #saw(followed: Followed, step: MigrationStep): void {
    if (followed.steps.has(step)) return
    followed.steps.add(step)
    const { id, from, to } = followed.migration
    this.#onStep({ step, id, from, to })
  }
}
