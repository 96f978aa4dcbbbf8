/**
 * Where the scenarios of MIT's shard labs play: three controllers, and groups under the lab's own ids that join and leave. From the first event on
 * the books say who serves which shard, and two groups that serve one fail the run; in the end all is where it belongs (`finish`).
 */
import { assert, must } from '../../base/assert.ts'
import { utf8 } from '../../base/bytes.ts'
import { shardOf, slotOf } from '../../base/slot.ts'
import type { Client } from '../../client/client.ts'
import type { Config } from '../../proto/config.ts'
import type { ControllerCallOptions, ControllerClient } from '../../proto/controller-client.ts'
import { convergeAndCompare } from './convergence.ts'
import { MigrationObserver } from './migration-observer.ts'
import type { StepEvent } from './migration-steps.ts'
import { checkConfigHistory, checkPlaces } from './moves-checks.ts'
import { SimCluster, type SimClusterOptions } from './sim-cluster.ts'
import type { World } from './world.ts'

export const shardCount = 16
/** Of the labs' clients, who wait as long as it takes: a call that has not ended by then is a failure. */
export const deadlineMs = 60_000
const adminOptions: ControllerCallOptions = { timeoutMs: 30_000 }
const settleMsMax = 60_000

/**
 * own: three nodes for each group; shared: the same three for all of them; single: one replica a group, on one of three nodes, where all is about the
 * config.
 */
export type LabForm = 'own' | 'shared' | 'single'

export interface ShardLabOptions
  extends Partial<Pick<SimClusterOptions, 'memtableBytes' | 'snapshotLogBytes' | 'migrationBytesPerSecond'>> {
  readonly gids: readonly number[]
  readonly form: LabForm
}

export class ShardLab {
  readonly world: World
  readonly cluster: SimCluster
  readonly observer: MigrationObserver
  readonly admin: ControllerClient
  /** Steps of migrations, in the order in which they were seen. */
  readonly steps: StepEvent[] = []
  readonly #nodes: ReadonlyMap<number, readonly string[]>
  #clients = 0

  constructor(world: World, { gids, form, ...options }: ShardLabOptions) {
    this.world = world
    this.#nodes = new Map(gids.map((gid, at) => [gid, nodesOf(form, at)]))
    const placement = [...this.#nodes.values()]
    const nodes = new Set(placement.flat()).size
    this.cluster = new SimCluster(world, { controllers: 3, nodes, groups: gids.length, placement, shards: shardCount, ...options })
    this.observer = new MigrationObserver(world, this.cluster, (event) => this.steps.push(event))
    this.observer.start()
    this.admin = this.cluster.admin('admin')
  }

  nodesOf(gid: number): readonly string[] {
    return must(this.#nodes.get(gid), `group ${gid}`)
  }

  /** The newest config that the controllers' leader has. */
  get config(): Config {
    const configs = this.cluster.controllerNames.flatMap((name) => this.cluster.controllerState(name)?.config ?? [])
    return must(configs.sort((a, b) => b.number - a.number)[0], 'a config')
  }

  uid(gid: number): string {
    return must(this.config.groupByName(nameOf(gid)), nameOf(gid)).uid
  }

  /** By shard; undefined: nobody's. */
  get owners(): (number | undefined)[] {
    return ownersIn(this.config)
  }

  shardsOf(gid: number): number[] {
    return this.owners.flatMap((owner, shard) => (owner === gid ? [shard] : []))
  }

  /** Asks for one join of all of them; returns the number of the config after it. Who leaves yet may join again only when it is gone. */
  async join(...gids: readonly number[]): Promise<number> {
    const isLeaving = (gid: number) => this.config.groupByName(nameOf(gid))?.state === 'draining'
    if (this.cluster.controllerLeader() !== undefined)
      await this.world.runUntil(() => !gids.some(isLeaving), settleMsMax, `${gids} have left`)
    return (await this.world.settle(this.joining(this.admin, gids), settleMsMax)).configNumber
  }

  joining(admin: ControllerClient, gids: readonly number[], options = adminOptions) {
    const groups = gids.map((gid) => ({ name: nameOf(gid), members: this.nodesOf(gid).map((node) => this.cluster.member(node)) }))
    return admin.join({ groups, author: 'lab' }, options)
  }

  /** Asks for the leave of each. */
  async leave(...gids: readonly number[]): Promise<void> {
    for (const gid of gids) await this.world.settle(this.leaving(this.admin, gid), settleMsMax)
  }

  leaving(admin: ControllerClient, gid: number, options = adminOptions) {
    return admin.leave({ group: nameOf(gid), author: 'lab' }, options)
  }

  async move(shard: number, gid: number): Promise<void> {
    await this.world.settle(this.admin.move({ shard, group: nameOf(gid), author: 'lab' }, adminOptions), settleMsMax)
  }

  async query(number = 0): Promise<Config> {
    return (await this.world.settle(this.admin.query(number, adminOptions), settleMsMax)).config
  }

  /** All that is asked for has come about: nothing moves, and who leaves is gone. */
  get isSettled(): boolean {
    const leader = this.cluster.controllerLeader()
    const state = leader === undefined ? undefined : this.cluster.controllerState(leader)
    if (state?.config === undefined || state.migrations.open().length > 0) return false
    return state.config.groups.every(({ state: standing }) => standing === 'active')
  }

  async settled(withinMs = settleMsMax): Promise<void> {
    await this.world.runUntil(() => this.isSettled, withinMs, 'all moves are done, and who leaves is gone')
  }

  /** Exactly these groups are there, on their nodes, and shards are dealt out evenly among them. */
  check(...gids: readonly number[]): void {
    const { groups } = this.config
    const there = groups.map(({ name }) => name).sort()
    assert(there.join() === gids.map(nameOf).sort().join(), `groups ${there} are there, not ${gids}`)
    for (const gid of gids) {
      const members = must(this.config.groupByName(nameOf(gid)), nameOf(gid)).members.map(({ node }) => node)
      assert([...members].sort().join() === [...this.nodesOf(gid)].sort().join(), `group ${gid} is on ${members}`)
    }
    const counts = gids.map((gid) => this.shardsOf(gid).length)
    const owned = counts.reduce((sum, count) => sum + count, 0)
    assert(owned === (gids.length > 0 ? shardCount : 0), `${owned} shards belong to the groups that are there`)
    if (gids.length > 0) assert(Math.max(...counts) - Math.min(...counts) <= 1, `groups ${gids} have ${counts} shards`)
  }

  /** A client on a machine of its own, connected. */
  async client(): Promise<Client> {
    const client = this.cluster.client(`client${++this.#clients}`, deadlineMs)
    await this.world.settle(client.ready(deadlineMs), deadlineMs)
    return client
  }

  /** All nodes of a group end, each by a kill or a power loss, as the seed has it. */
  crash(...gids: readonly number[]): void {
    for (const gid of gids) for (const name of this.nodesOf(gid)) this.crashNode(name)
  }

  crashNode(name: string): void {
    if (!this.cluster.isAlive(name)) return
    if (this.world.random.next() < 0.5) this.cluster.kill(name)
    else this.cluster.powerLoss(name)
  }

  restart(...gids: readonly number[]): void {
    for (const gid of gids) for (const name of this.nodesOf(gid)) if (!this.cluster.isAlive(name)) this.cluster.restart(name)
  }

  async ready(): Promise<void> {
    await this.world.runUntil(() => this.cluster.isReady, 30_000, 'every machine is ready')
  }

  /** What must hold in the end, with every machine up: all settled, each shard served by its owner alone, replicas alike, a history without gaps. */
  async finish(): Promise<void> {
    this.cluster.network.heal()
    for (const name of this.cluster.names) if (!this.cluster.isAlive(name)) this.cluster.restart(name)
    await this.ready()
    await this.settled()
    await checkPlaces(this.world, this.cluster, this.observer.ownership)
    await checkConfigHistory(this.world, this.admin, this.observer.ownership)
    await convergeAndCompare(this.world, this.cluster, this.config.groups.length)
    this.observer.stop()
  }
}

export function nameOf(gid: number): string {
  return `g${gid}`
}

export function ownersIn(config: Config): (number | undefined)[] {
  return Array.from({ length: config.shardCount }, (_, shard) => {
    const name = config.groupOf(shard)?.name
    return name === undefined ? undefined : Number(name.slice(1))
  })
}

/** The `number`th key of a shard, from 0. */
export function keyIn(shard: number, number = 0): string {
  let found = 0
  for (let i = 0; ; i++) {
    const key = `${i}`
    if (shardOf(slotOf(utf8(key)), shardCount) === shard && found++ === number) return key
  }
}

/** One key in each shard. */
export const keyOfEach = Array.from({ length: shardCount }, (_, shard) => keyIn(shard))

function nodesOf(form: LabForm, at: number): readonly string[] {
  if (form === 'single') return [`n${1 + (at % 3)}`]
  const first = form === 'own' ? 3 * at : 0
  return [1, 2, 3].map((i) => `n${first + i}`)
}
