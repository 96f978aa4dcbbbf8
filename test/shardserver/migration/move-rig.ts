/** Six machines, two groups of three, and controllers in memory: everything between them is what runs on nodes. */
import { must } from '../../../base/assert.ts'
import type { Method } from '../../../base/transport.ts'
import { Config } from '../../../proto/config.ts'
import { decodeError } from '../../../proto/error-codec.ts'
import { OstrakaError } from '../../../proto/errors.ts'
import { pb } from '../../../proto/messages.ts'
import { migrationMethods } from '../../../proto/methods.ts'
import { isEnded, type Migration, type MigrationPhase } from '../../../proto/migration.ts'
import type { ShardBirth } from '../../../proto/migration-list.ts'
import { FileServer } from '../../../raft/file-server.ts'
import { Pace } from '../../../raft/pace.ts'
import { MigrationBook } from '../../../shardserver/migration/book.ts'
import { Migrations } from '../../../shardserver/migration/migrations.ts'
import { Peers } from '../../../shardserver/migration/peers.ts'
import type { MigrationBreak } from '../../../shardserver/migration-break.ts'
import type { SlowWish } from '../../../shardserver/slow-writes.ts'
import { SimNetwork } from '../../sim/sim-network.ts'
import { SimProcess } from '../../sim/sim-process.ts'
import { World } from '../../sim/world.ts'
import { FakeGroup, FakeReplica } from './fake-group.ts'

const cluster = new Uint8Array(16).fill(7)
export const source = 'g1@1'
export const target = 'g2@1'
const nodesOf = { [source]: ['s1', 's2', 's3'], [target]: ['t1', 't2', 't3'] }

/** What the controllers' log says, and what was reported to it. */
export class FakeControllers {
  version = 1
  births: ShardBirth[] = []
  readonly byId = new Map<number, Migration>()
  readonly reports: {
    readonly kind: pb.v1.ReportKind
    readonly migration: number
    readonly group: string
    readonly pauseUs: number
    readonly reason: string
    readonly digest: Uint8Array
    readonly noRoom: boolean
  }[] = []
  /** Answers nothing while set. */
  silent = false
  /** How long its answers to reports are on their way. */
  answerMs = 2
  /** The next reports are taken and their answers lost. */
  losesAnswers = 0
  onChange: () => void = () => {}
  readonly #world: World

  constructor(world: World) {
    this.#world = world
  }

  plan(id: number, shards: readonly number[], from = source, to = target): void {
    const start = { phase: 'copying' as const, paused: false, configNumber: 0, epochs: [], fromConfirmed: false, toConfirmed: false }
    this.set({ id, shards, from, to, ...start })
  }

  set(migration: Migration): void {
    this.byId.set(migration.id, migration)
    this.version++
    this.onChange()
  }

  change(id: number, change: Partial<Migration>): void {
    this.set({ ...must(this.byId.get(id), 'a migration'), ...change })
  }

  phase(id: number): MigrationPhase | undefined {
    return this.byId.get(id)?.phase
  }

  list() {
    const migrations = [...this.byId.values()].filter(
      ({ phase, fromConfirmed, toConfirmed }) => !isEnded(phase) || !fromConfirmed || !toConfirmed,
    )
    return { version: this.version, migrations, births: this.births }
  }

  async report(request: pb.v1.ReportRequest.$Properties): Promise<Migration | undefined> {
    await this.#trip()
    const { kind, migration: id, group, pauseUs, reason, digest, noRoom } = new pb.v1.ReportRequest(request)
    this.reports.push({ kind, migration: id, group, pauseUs, reason, digest: new Uint8Array(digest), noRoom })
    if (kind === pb.v1.ReportKind.REPORT_BORN) {
      this.births = this.births.filter((birth) => !(request.births ?? []).some(({ shard }) => shard === birth.shard))
      this.version++
      return undefined
    }
    const migration = must(this.byId.get(id), 'a planned migration')
    if (kind === pb.v1.ReportKind.REPORT_READY && migration.paused) throw new OstrakaError('FAILED_PRECONDITION', 'paused', true)
    const next = after(migration, kind, group)
    if (next !== migration) this.set(next)
    await this.#trip(this.answerMs)
    if (this.losesAnswers-- > 0) throw new OstrakaError('UNAVAILABLE', 'the answer was lost', false)
    return next
  }

  async migrations() {
    await this.#trip()
    return [...this.byId.values()].map((migration) => ({
      ...migration,
      shards: [...migration.shards],
      epochs: [...migration.epochs],
      phase: ['copying', 'committed', 'done', 'aborted', 'given-back'].indexOf(migration.phase) as pb.v1.MigrationPhase,
    }))
  }

  async #trip(ms = 2): Promise<void> {
    await new Promise<void>((resolve) => this.#world.schedule(ms, undefined, 'controllers', resolve))
    if (this.silent) throw new OstrakaError('UNAVAILABLE', 'no controller answers', true)
  }
}

function after(migration: Migration, kind: pb.v1.ReportKind, group: string): Migration {
  const { phase, shards } = migration
  const copying = phase === 'copying'
  const epochs = shards.map(() => 2)
  switch (kind) {
    case pb.v1.ReportKind.REPORT_READY:
      return copying ? { ...migration, phase: 'committed', configNumber: 9, epochs } : migration
    case pb.v1.ReportKind.REPORT_CANNOT:
      return copying ? { ...migration, phase: 'aborted' } : migration
    case pb.v1.ReportKind.REPORT_REFUSED:
      if (copying) return { ...migration, phase: 'aborted' }
      return phase === 'committed' ? { ...migration, phase: 'given-back', epochs: shards.map(() => 3) } : migration
    case pb.v1.ReportKind.REPORT_ACTIVE:
      return phase === 'committed' ? { ...migration, phase: 'done' } : migration
    case pb.v1.ReportKind.REPORT_CLEAN:
      if (!isEnded(phase)) return migration
      return group === migration.from ? { ...migration, fromConfirmed: true } : { ...migration, toConfirmed: true }
    default:
      throw new Error(`report ${kind}`)
  }
}

/** Counts what is asked. */
class CountingPeers extends Peers {
  readonly asked = new Map<string, number>()

  override call<Request, Response extends { error?: pb.v1.Error.$Properties | null }>(
    node: string,
    method: Method<Request, Response>,
    request: NoInfer<Request>,
    timeoutMs: number,
  ): Promise<Response> {
    this.asked.set(method.path, (this.asked.get(method.path) ?? 0) + 1)
    return super.call(node, method, request, timeoutMs)
  }
}

interface Machine {
  process: SimProcess
  replica: FakeReplica
  migrations: Migrations
  peers: CountingPeers
}

export class MoveRig {
  readonly world: World
  readonly network: SimNetwork
  readonly controllers: FakeControllers
  readonly groups: Record<string, FakeGroup>
  readonly #machines = new Map<string, Machine>()
  readonly #breaks: ReadonlySet<MigrationBreak>
  /** Nodes that hear nothing new of the controllers. */
  readonly deaf = new Map<string, ReturnType<FakeControllers['list']>>()
  /** Where the wish to slow writes down came to. */
  readonly slowed: string[] = []
  onWish: (wish: SlowWish) => void = () => {}
  readonly failures: Error[] = []
  /** Bytes that the disk of a node still takes; without an entry: whatever comes. */
  readonly room = new Map<string, number>()

  constructor(seed: number, breaks: readonly MigrationBreak[] = []) {
    this.world = new World({ seed })
    this.network = new SimNetwork(this.world)
    this.controllers = new FakeControllers(this.world)
    this.#breaks = new Set(breaks)
    this.groups = { [source]: new FakeGroup(source, 's1'), [target]: new FakeGroup(target, 't1') }
    this.groups[source]?.own([3, 5, 6])
    this.controllers.onChange = () => this.world.schedule(1, undefined, 'watch', () => this.checkAll())
    for (const [group, nodes] of Object.entries(nodesOf)) for (const [i, node] of nodes.entries()) this.#start(group, node, i)
  }

  get source(): FakeGroup {
    return must(this.groups[source], 'a group')
  }
  get target(): FakeGroup {
    return must(this.groups[target], 'a group')
  }

  machine(node: string): Machine {
    return must(this.#machines.get(node), `machine ${node}`)
  }

  /** How often `node` has asked others, since it was started. */
  asked(node: string, method: { readonly path: string }): number {
    return this.machine(node).peers.asked.get(method.path) ?? 0
  }

  checkAll(): void {
    for (const { process, migrations } of this.#machines.values()) if (process.alive) migrations.check()
  }

  lead(group: FakeGroup, node: string): void {
    group.lead(node)
  }

  /** The process dies, with all that it had in memory; the group elects another leader where it led. */
  kill(node: string): void {
    const { process, replica } = this.machine(node)
    process.kill()
    const group = must(this.groups[replica.group], 'a group')
    const next = group.replicas.find((other) => other !== replica && this.machine(nodeOf(other)).process.alive)
    if (group.leader === node && next !== undefined) group.lead(nodeOf(next))
  }

  restart(node: string): void {
    const machine = this.machine(node)
    machine.process = machine.process.restart()
    this.#open(machine.process, machine)
  }

  deafen(node: string): void {
    this.deaf.set(node, this.controllers.list())
  }

  async runUntilSettled(id: number, timeoutMs = 120_000): Promise<void> {
    const settled = () => {
      const migration = this.controllers.byId.get(id)
      return migration !== undefined && isEnded(migration.phase) && migration.fromConfirmed && migration.toConfirmed
    }
    await this.world.runUntil(settled, timeoutMs)
  }

  /** Asks `node` to release; the code of its refusal, or ''. */
  async release(node: string, request: pb.v1.ReleaseRequest): Promise<string> {
    const { transport } = this.machine('t3').process
    const channel = transport.connect(`${node}:1`)
    const reply = await this.world.settle(channel.unary(migrationMethods.release, request, { timeoutMs: 5000 }))
    channel.close()
    return reply.error ? decodeError(reply.error).code : ''
  }

  #start(group: string, node: string, i: number): void {
    const process = new SimProcess(this.world, { name: node, network: this.network })
    const replica = new FakeReplica(must(this.groups[group], 'a group'), process, i + 1, [1, 2, 3])
    this.groups[group]?.replicas.push(replica)
    this.#open(process, { process, replica, migrations: undefined as unknown as Migrations, peers: undefined as unknown as CountingPeers })
  }

  #open(process: SimProcess, machine: Machine): void {
    const { clock, random, logger, fileSystem, transport } = process
    const { replica } = machine
    replica.on(process)
    const peers = new CountingPeers({ transport, resolve: (peer) => `${peer}:1` })
    machine.peers = peers
    const node = {
      self: process.name,
      clock,
      random,
      logger,
      hosts: { get: (group: string) => (group === replica.group ? replica.hosted : undefined), all: () => [replica.hosted] },
      controllers: this.controllers,
      book: new MigrationBook({ clock, list: () => this.#listOf(process.name) }),
      peers,
      maxMigrations: 2,
      breaks: this.#breaks,
      clusterId: () => cluster,
      config: () => config,
      births: () => this.controllers.births,
      nodeOf: (group: string, number: number) => nodesOf[group as keyof typeof nodesOf]?.[number - 1] ?? '',
    }
    const space = { fits: (bytes: number) => bytes <= (this.room.get(process.name) ?? Number.POSITIVE_INFINITY) }
    const migrations = new Migrations({
      node,
      world: {
        fileSystem,
        transport,
        pace: new Pace(clock, { bytesPerSecond: Number.POSITIVE_INFINITY }),
        space,
        onFailure: (error) => this.failures.push(error),
      },
      slow: (_, wish) => {
        if (wish.replayRate > 0) this.slowed.push(process.name)
        this.onWish(wish)
      },
      onRecords: () => {},
    })
    replica.onSoftState = () => migrations.check()
    const exports = (group: string) => (group === replica.group ? replica.exports : undefined)
    const onFailure = (error: Error) => this.world.fail(error)
    const files = new FileServer({
      ...{ fileSystem, clock, random, logger, onFailure },
      clusterId: () => cluster,
      snapshots: () => undefined,
      exports,
    })
    machine.migrations = migrations
    this.#machines.set(process.name, machine)
    void transport.listen([{ name: 'default', address: `${process.name}:1` }], [...migrations.routes(), ...files.routes()])
    migrations.check()
  }

  /** One object for one version, as a watch has it. */
  #lists = new Map<number, ReturnType<FakeControllers['list']>>()
  #listOf(node: string): ReturnType<FakeControllers['list']> {
    const deaf = this.deaf.get(node)
    if (deaf !== undefined) return deaf
    const { version } = this.controllers
    const list = this.#lists.get(version) ?? this.controllers.list()
    this.#lists.set(version, list)
    return list
  }
}

function nodeOf({ group, replica }: FakeReplica): string {
  return nodesOf[group as keyof typeof nodesOf]?.[replica - 1] ?? ''
}

const config = new Config({
  number: 3,
  atMs: 0,
  cause: '',
  author: '',
  shardCount: 16,
  groups: Object.entries(nodesOf).map(([uid, nodes]) => ({
    uid,
    name: uid.slice(0, 2),
    weight: 1,
    state: 'active' as const,
    members: nodes.map((node, i) => ({ node, replica: i + 1, state: 'voter' as const })),
  })),
  owner: () => source,
  epoch: () => 1,
  pins: new Map(),
})
