/**
 * A cluster of real processes under full control: each behind a proxy of its own, so that every link between two processes, or between the
 * clients and a process, can be cut, slowed down and healed; each started, ended and paused by hand; data directories and environment per
 * process. What runs is what `ostraka up` runs, with the same settings.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type ClusterPlan, type PlannedProcess, planCluster } from '../../../cli/cluster-plan.ts'
import { type CommandResult, freeBasePort, ostrakaHere } from '../../../testing/up.ts'
import type { Cluster } from '../cluster-under-load.ts'
import { openControllers } from '../controllers.ts'
import { Links } from '../links/links.ts'
import { nodeStatus, type ReplicaStatus } from './node-status.ts'
import { ServerProcess } from './server-process.ts'

export interface ClusterOfProcessesOptions {
  readonly nodes: number
  readonly groups: number
  readonly shards: number
  readonly electionTimeoutMs: number
  /** Whether everybody is dialled at a proxy, which costs a little; default true. Without it links cannot be cut. */
  readonly hasProxies?: boolean
  /** Further flags of all processes. */
  readonly flags?: readonly string[]
  /** Data directories elsewhere than in the cluster's own folder, by process. */
  readonly folders?: ReadonlyMap<string, string>
  /** Variables for every process. */
  readonly environment?: (id: string) => Readonly<Record<string, string>>
}

const startMs = 60_000
const lookMs = 50

export class ClusterOfProcesses implements Cluster {
  readonly options: ClusterOfProcessesOptions
  readonly links: Links
  readonly controllers: readonly ServerProcess[]
  readonly nodes: readonly ServerProcess[]
  readonly groups: readonly string[]
  /** Holds everything that was not put elsewhere. */
  readonly folder: string
  /** Where each process is dialled: at its proxy, if it has one. */
  readonly #addresses: ReadonlyMap<string, string>
  readonly #plan: ClusterPlan

  private constructor(options: ClusterOfProcessesOptions, folder: string, plan: ClusterPlan, links: Links, addresses: Map<string, string>) {
    this.options = options
    this.folder = folder
    this.links = links
    this.#plan = plan
    this.#addresses = addresses
    this.controllers = plan.controllers.map((planned) => this.#process(planned))
    this.nodes = plan.nodes.map((planned) => this.#process(planned))
    this.groups = plan.groups.map(({ name }) => name)
  }

  /** Resolves when every shard is served. */
  static async start(options: ClusterOfProcessesOptions): Promise<ClusterOfProcesses> {
    const folder = await mkdtemp(join(tmpdir(), 'ostraka-chaos-'))
    const shape = { nodes: options.nodes, groups: options.groups, replicas: Math.min(3, options.nodes) }
    const plan = planCluster(shape, await freeBasePort())
    const links = new Links()
    const addresses = new Map<string, string>()
    for (const { id, address } of [...plan.controllers, ...plan.nodes]) {
      const port = Number(address.slice(address.indexOf(':') + 1))
      addresses.set(id, options.hasProxies === false ? address : `127.0.0.1:${await links.open(id, port)}`)
    }
    const cluster = new ClusterOfProcesses(options, folder, plan, links, addresses)
    try {
      await mkdir(join(folder, 'log'))
      await Promise.all(cluster.processes.map((process) => process.start()))
      await cluster.#join()
      await cluster.#untilServed()
      return cluster
    } catch (error) {
      await cluster.dispose()
      throw error
    }
  }

  get processes(): readonly ServerProcess[] {
    return [...this.controllers, ...this.nodes]
  }

  get ready() {
    const at = ({ id }: ServerProcess) => ({ id, address: this.#addresses.get(id) ?? '' })
    return { controllers: this.controllers.map((process) => at(process).address), nodes: this.nodes.map(at) }
  }

  /** What processes wrote on their end where nobody had asked for it. */
  get crashes(): string[] {
    return this.processes.flatMap(({ crashes }) => crashes)
  }

  process(id: string): ServerProcess {
    const found = this.processes.find((process) => process.id === id)
    if (found === undefined) throw new Error(`there is no process ${id}`)
    return found
  }

  run(parameters: readonly string[], input: string | Uint8Array = ''): Promise<CommandResult> {
    return ostrakaHere(parameters, input, { OSTRAKA_CONTROLLERS: this.ready.controllers.join(',') })
  }

  dataOf(id: string): string {
    return this.options.folders?.get(id) ?? join(this.folder, id)
  }

  /** By group its replicas, as those nodes say that answer. The controllers' group is among them. */
  async replicas(): Promise<Map<string, Map<string, ReplicaStatus>>> {
    const byGroup = new Map<string, Map<string, ReplicaStatus>>()
    const all = await Promise.all([...this.#plan.controllers, ...this.#plan.nodes].map(({ http }) => nodeStatus(http)))
    for (const status of all) {
      if (status === undefined) continue
      for (const [group, replica] of Object.entries(status.groups)) {
        const replicas = byGroup.get(group) ?? new Map<string, ReplicaStatus>()
        byGroup.set(group, replicas.set(status.id, replica))
      }
    }
    return byGroup
  }

  /** By group the node that leads it: of those that think so the one with the highest term. */
  async leaders(): Promise<Map<string, string>> {
    const leaders = new Map<string, string>()
    for (const [group, replicas] of await this.replicas()) {
      const leading = [...replicas].filter(([, { role }]) => role === 'leader').sort(([, a], [, b]) => b.term - a.term)
      const [first] = leading
      if (first !== undefined) leaders.set(group, first[0])
    }
    return leaders
  }

  /** Resolves when every process is up and every replica of every group has all that was committed when this was called. */
  async healthy(timeoutMs = 60_000): Promise<void> {
    const end = performance.now() + timeoutMs
    let goals: Map<string, number> | undefined
    for (;;) {
      const ill = await this.#ill(goals)
      if (ill === '') {
        if (goals !== undefined) return
        const replicas = await this.replicas()
        goals = new Map([...replicas].map(([group, statuses]) => [group, Math.max(...[...statuses.values()].map(({ commit }) => commit))]))
        continue
      }
      if (performance.now() > end) throw new Error(`not healthy after ${timeoutMs} ms: ${ill}`)
      await delay(lookMs)
    }
  }

  /** Ends everything and removes all data that is not elsewhere. */
  async dispose(): Promise<void> {
    for (const process of this.processes) process.signal('SIGCONT')
    await Promise.all(this.processes.map((process) => process.kill()))
    await this.links.close()
    await rm(this.folder, { recursive: true, force: true })
  }

  /** What is not as it should be; '': nothing. */
  async #ill(goals: ReadonlyMap<string, number> | undefined): Promise<string> {
    const down = this.processes.find(({ isReady }) => !isReady)
    if (down !== undefined) return `${down.id} is not up`
    const byGroup = await this.replicas()
    for (const group of ['controller', ...this.groups]) {
      const replicas = [...(byGroup.get(group) ?? [])]
      if (replicas.length < Math.min(3, this.nodes.length)) return `of ${group} only ${replicas.map(([id]) => id)} answer`
      if (!replicas.some(([, { role }]) => role === 'leader')) return `${group} has no leader`
      const behind = replicas.find(([, { leader, applied }]) => leader === '' || applied < (goals?.get(group) ?? 0))
      if (behind !== undefined) return `${group} at ${behind[0]}: ${JSON.stringify({ ...behind[1], shards: undefined })}`
    }
    return ''
  }

  #process(planned: PlannedProcess): ServerProcess {
    const { id, kind } = planned
    const { electionTimeoutMs, shards, flags = [], environment } = this.options
    const addresses = this.#plan.controllers.map((controller) => ({ id: controller.id, address: this.#addresses.get(controller.id) ?? '' }))
    const own = ['--id', id, '--listen', planned.address, '--advertise', this.#addresses.get(id) ?? '', '--http', planned.http]
    const cluster =
      kind === 'controller'
        ? ['--peers', addresses.map((peer) => `${peer.id}=${peer.address}`).join(','), '--shards', String(shards)]
        : ['--controllers', addresses.map(({ address }) => address).join(',')]
    return new ServerProcess({
      id,
      kind,
      parameters: [...own, '--data', this.dataOf(id), '--election-timeout-ms', String(electionTimeoutMs), ...cluster, ...flags],
      environment: environment?.(id) ?? {},
      logFile: join(this.folder, 'log', id),
      onStart: (pid) => this.links.setOwner(id, pid),
    })
  }

  async #join(): Promise<void> {
    const client = openControllers(this.ready.controllers)
    const groups = this.#plan.groups.map(({ name, members }) => ({
      name,
      weight: 1,
      members: members.map(({ id }) => ({ node: id, address: this.#addresses.get(id) ?? '' })),
    }))
    try {
      await client.join({ groups, once: true, author: 'chaos' }, { timeoutMs: startMs })
    } finally {
      client.close()
    }
  }

  async #untilServed(): Promise<void> {
    await this.healthy(startMs)
    const end = performance.now() + startMs
    for (;;) {
      let served = 0
      for (const replicas of (await this.replicas()).values()) {
        const leader = [...replicas.values()].find(({ role }) => role === 'leader')
        served += Object.values(leader?.shards ?? {}).filter((state) => state === 'serving').length
      }
      if (served >= this.options.shards) return
      if (performance.now() > end) throw new Error(`only ${served} of ${this.options.shards} shards are served after ${startMs} ms`)
      await delay(lookMs)
    }
  }
}
