/** Where scripts of changing members play: two groups under load, an admin, and what the groups' logs and the config say of their members. */
import { assert, must } from '../../base/assert.ts'
import type { Config, Group } from '../../proto/config.ts'
import type { ControllerClient } from '../../proto/controller-client.ts'
import type { ConfState } from '../../raft/core/types.ts'
import { HistoryRecorder } from '../linearizability/history.ts'
import type { OstrakaInput, OstrakaOutput } from '../linearizability/ostraka-model.ts'
import { Workload } from '../workload/workload.ts'
import { checkHistory, convergeAndCompare } from './convergence.ts'
import { Load } from './load.ts'
import { RaftChecker } from './raft-checker.ts'
import { SimCluster } from './sim-cluster.ts'
import { World } from './world.ts'

const callMs = 10_000
const placement = [
  ['n1', 'n2', 'n3'],
  ['n2', 'n3', 'n4'],
]
const leastOperations = 100

export class MembershipStage {
  readonly world: World
  readonly cluster: SimCluster
  readonly workload: Workload
  readonly #checker: RaftChecker
  readonly #recorder = new HistoryRecorder<OstrakaInput, OstrakaOutput>()
  #admin: ControllerClient | undefined
  #load: Load | undefined

  constructor(seed: number) {
    this.world = new World({ seed })
    const memory = { memtableBytes: 32 * 1024, snapshotLogBytes: 64 * 1024 }
    this.cluster = new SimCluster(this.world, { controllers: 3, nodes: 5, groups: 2, placement, shards: 16, ...memory })
    this.#checker = new RaftChecker(this.world, this.cluster)
    this.workload = new Workload(this.#recorder, this.world.random.fork(), { keys: 8, valueBytes: 200, nowMs: () => this.world.nowMs })
  }

  async open(): Promise<void> {
    await this.cluster.form()
    this.#checker.start()
    this.#admin = this.cluster.admin('admin')
    this.#load = new Load(this.world, this.cluster, this.workload, { clients: 4, deadlineMs: callMs })
    await this.moreLoad(50)
  }

  get admin(): ControllerClient {
    return must(this.#admin, 'an open stage')
  }

  /** The newest config that any controller has. */
  get config(): Config {
    const configs = this.cluster.controllerNames.flatMap((name) => this.cluster.controllerState(name)?.config ?? [])
    return must(configs.sort((a, b) => b.number - a.number)[0], 'a config')
  }

  group(name: string): Group {
    return must(this.config.groupByName(name), name)
  }

  /** 'n2 n3 n4+ n1-': who joins, who leaves. */
  membersOf(name: string): string {
    const signs = { voter: '', joining: '+', leaving: '-' }
    const told = this.group(name).members.map(({ node, state }) => `${node}${signs[state]}`)
    return told.sort().join(' ')
  }

  /** As the leader of a group has it in its log. */
  confOf(name: string): ConfState | undefined {
    const { uid } = this.group(name)
    const leader = this.cluster.groupLeader(uid)
    const hosted = leader === undefined ? [] : this.cluster.hosted(leader)
    return hosted.find(({ replica }) => replica.group === uid)?.replica.conf
  }

  /** Asks for a change; rejects where it is refused. */
  async ask(group: string, add: readonly string[], remove: readonly string[]): Promise<void> {
    const members = add.map((node) => ({ node, address: `${node}:7410` }))
    await this.admin.changeMembers({ group, add: members, remove: [...remove], author: 'script' }, { timeoutMs: 3 * callMs })
  }

  async change(group: string, add: readonly string[], remove: readonly string[]): Promise<void> {
    await this.world.settle(this.ask(group, add, remove), 5 * callMs)
  }

  /** The config says that nobody joins or leaves any more, and the group's log says the same. */
  async settled(group: string, nodes: string): Promise<void> {
    const isSettled = () => {
      const { members } = this.group(group)
      const conf = this.confOf(group)
      const voters = members.map(({ replica }) => replica).sort((a, b) => a - b)
      return this.membersOf(group) === nodes && conf?.votersOutgoing.length === 0 && conf.voters.join() === voters.join()
    }
    await this.world.runUntil(isSettled, 60_000)
  }

  /** Numbers of the replicas of a group on a node, as the config has them. */
  numbersOf(group: string, node: string): number[] {
    return this.group(group).members.flatMap((member) => (member.node === node ? [member.replica] : []))
  }

  /** Every replica that `node` had is replaced by one under a new number there, in the config and in the groups' logs. */
  async replaced(node: string, before: ReadonlyMap<string, readonly number[]>, members: ReadonlyMap<string, string>): Promise<void> {
    for (const [group, nodes] of members) {
      await this.world.runUntil(() => this.numbersOf(group, node).every((number) => before.get(group)?.includes(number) !== true), 60_000)
      await this.settled(group, nodes)
    }
  }

  /** Until so many more calls were answered. */
  async moreLoad(calls: number): Promise<void> {
    const before = this.workload.counts.ok
    await this.world.runUntil(() => this.workload.counts.ok >= before + calls, 60_000)
  }

  /** Nodes on whose disk there is a folder of a replica of the group. */
  foldersOf(name: string): string[] {
    const { uid } = this.group(name)
    const found: string[] = []
    for (const node of this.cluster.nodeNames) {
      const disk = this.cluster.disk(node)
      const names = disk.find('data/groups') === undefined ? [] : disk.list('data/groups')
      for (const folder of names) if (folder.startsWith(`${uid}.`)) found.push(`${node} ${folder.split('.')[1]}`)
    }
    return [...new Set(found)].sort()
  }

  /** The end of every script: all mended; what was seen has an order; all replicas agree; nothing is left of who went. */
  async finish(): Promise<void> {
    const { world, cluster } = this
    cluster.network.heal()
    for (const name of cluster.names) if (!cluster.isAlive(name)) cluster.restart(name)
    await world.runUntil(() => cluster.isReady, 60_000)
    await this.moreLoad(50)
    this.#load?.stop()
    await world.runUntil(() => this.#load?.idle === true, 60_000)
    // Nodes hear of what is removed with their heartbeats.
    await world.runFor(3000)
    await convergeAndCompare(world, cluster, 2)
    this.#checker.stop()
    checkHistory(world.seed, this.#recorder)
    assert(this.workload.counts.ok >= leastOperations, `only ${this.workload.counts.ok} calls were answered`)
    for (const { name, members } of this.config.groups) {
      const wanted = members.map(({ node, replica }) => `${node} ${replica}`).sort()
      const found = this.foldersOf(name)
      assert(wanted.join() === found.join(), `of ${name} there should be ${wanted.join(', ')}, and is ${found.join(', ')}`)
    }
  }
}
