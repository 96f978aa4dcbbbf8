import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Child, type ReadyLine } from './child.ts'
import { type ClusterPlan, type PlannedProcess, planCluster, portSpan } from './cluster-plan.ts'
import { CommandError, type ExitCode, exitCode, usageError } from './exit-code.ts'
import { findFreeBase, mustBeFree } from './free-ports.ts'
import { pollUntil } from './poll.ts'
import { tuningArguments, type UpFlags } from './settings.ts'
import { drawTable } from './table.ts'
import { untilStdinEndsFlag } from './until-stdin-ends.ts'
import { openUpFolder, type Shape, type UpFolder } from './up-folder.ts'
import type { World } from './world.ts'

/** How long a cluster may take until it serves. */
const START_MS = 120_000
/** How long the children of an `up` that was killed may take to end. */
const CHILD_END_MS = 6_000

/** A sync must never queue behind reads, and short-lived garbage is cheapest in a large nursery: both can be set only before Node starts. */
export const nodeFlags = ['--max-semi-space-size=64']
export const threadPoolSize = '8'

/** One run of `ostraka up`. */
export class Up {
  readonly #world: World
  readonly #flags: UpFlags
  readonly #explicit: ReadonlySet<string>
  readonly #json: boolean
  readonly #children: Child[] = []
  readonly #stop = new AbortController()
  #failure: CommandError | undefined
  #gone = 0
  #served = false

  constructor(world: World, flags: UpFlags, explicit: ReadonlySet<string>, json: boolean) {
    this.#world = world
    this.#flags = flags
    this.#explicit = explicit
    this.#json = json || world.stdout.isTTY !== true
  }

  async run(): Promise<ExitCode> {
    const folder = await openUpFolder(this.#flags.data, { shape: this.#askedShape(), explicit: this.#explicit }, this.#flags.fresh)
    const stopListening = this.#listenForSignals()
    try {
      const plan = await this.#plan(folder)
      folder.mark()
      const started = await this.#unlessStopped(this.#start(plan, folder.shape))
      if (started !== undefined) {
        this.#world.stdout.write(`${this.#json ? JSON.stringify(readyJson(started)) : await readyText(started)}\n`)
        await new Promise<void>((resolve) => this.#whenStopped(resolve))
      }
      this.#say('stopping')
    } finally {
      await Promise.all(this.#children.map((child) => child.stop()))
      await folder.lock.release()
      stopListening()
    }
    if (this.#failure !== undefined) throw this.#failure
    return exitCode.done
  }

  #askedShape(): Shape {
    const { nodes, groups, shards } = this.#flags
    const replicas = this.#flags.replicas ?? Math.min(3, nodes)
    if (replicas > nodes)
      throw usageError(`--replicas ${replicas} is more than --nodes ${nodes}: a node holds at most one replica of a group`)
    if (groups > shards) throw usageError(`--groups ${groups} is more than --shards ${shards}`)
    return { nodes, groups, replicas, shards }
  }

  async #plan({ shape, used }: UpFolder): Promise<ClusterPlan> {
    const addressesOf = (basePort: number) => {
      const { controllers, nodes } = planCluster(shape, basePort)
      return [...controllers, ...nodes].flatMap(({ address, http }) => [address, http])
    }
    const asked = this.#flags['base-port']
    const basePort = asked === 0 ? await findFreeBase(addressesOf, portSpan) : asked
    // Where `up` itself was killed, its children may still be handing over.
    await mustBeFree(addressesOf(basePort), used ? CHILD_END_MS : 0)
    return planCluster(shape, basePort)
  }

  /** Resolves when every shard is served. */
  async #start(plan: ClusterPlan, shape: Shape): Promise<Started> {
    this.#say(`starting ${plan.controllers.length} controller(s) and ${plan.nodes.length} node(s) in ${this.#flags.data}`)
    const controllers = plan.controllers.map((planned) => this.#spawn(planned, plan, shape))
    const nodes = plan.nodes.map((planned) => this.#spawn(planned, plan, shape))
    const lines = await Promise.all(nodes.map((child) => child.ready))
    await Promise.all(controllers.map((child) => child.ready))
    this.#say(`all processes are up; making ${plan.groups.length} group(s)`)
    await this.#join(plan)
    await this.#untilServed(plan, shape.shards)
    return { controllers: plan.controllers, nodes: nodes.map((child, i) => ({ child, line: lines[i] })) }
  }

  #spawn(planned: PlannedProcess, plan: ClusterPlan, shape: Shape): Child {
    const own = ['--id', planned.id, '--listen', planned.address, '--http', planned.http]
    const data = ['--data', path.join(this.#flags.data, planned.folder)]
    const addresses = plan.controllers.map(({ id, address }) => (planned.kind === 'controller' ? `${id}=${address}` : address)).join(',')
    const cluster = planned.kind === 'controller' ? ['--peers', addresses, '--shards', String(shape.shards)] : ['--controllers', addresses]
    const script = fileURLToPath(new URL('./main.js', import.meta.url))
    const parameters = [
      ...nodeFlags,
      script,
      planned.kind,
      ...own,
      ...data,
      ...cluster,
      ...tuningArguments(this.#flags),
      untilStdinEndsFlag,
    ]
    const child = new Child({
      id: planned.id,
      command: process.execPath,
      parameters,
      environment: childEnvironment(this.#world.environment),
      restart: !this.#flags['no-restart'],
      report: (text) => this.#say(text),
      onGone: (code) => this.#childGone(planned.id, code),
    })
    this.#children.push(child)
    return child
  }

  /** A child stays dead: before the cluster is ready that ends `up`, later only when it was the last. */
  #childGone(id: string, code: number | null): void {
    this.#gone++
    const exit = Object.values(exitCode).find((known) => known === code && known !== exitCode.done) ?? exitCode.failed
    const first = !this.#served
    if (!first && this.#gone < this.#children.length) return
    this.#failure ??= new CommandError(exit, 'FAILED', first ? `${id} did not start: its own words stand above` : 'no server is left')
    this.#stop.abort()
  }

  async #join(plan: ClusterPlan): Promise<void> {
    const controllers = await this.#world.controllers(plan.controllers.map(({ address }) => address))
    try {
      const groups = plan.groups.map(({ name, members }) => ({
        name,
        members: members.map(({ id, address }) => ({ node: id, address })),
      }))
      await controllers.join({ groups, once: true, author: 'ostraka up' }, { timeoutMs: START_MS, signal: this.#stop.signal })
    } finally {
      controllers.close()
    }
  }

  async #untilServed(plan: ClusterPlan, shards: number): Promise<void> {
    let told = 0
    const served = await pollUntil(START_MS, async () => {
      if (this.#stop.signal.aborted) return true
      const counts = await Promise.all(plan.nodes.map(({ address }) => this.#shardsServedBy(address)))
      const count = counts.reduce((sum, each) => sum + each, 0)
      if (count !== told) this.#say(`${count} of ${shards} shards are served`)
      told = count
      return count >= shards ? true : undefined
    })
    if (served === undefined)
      throw new CommandError(exitCode.unavailable, 'UNAVAILABLE', `only ${told} of ${shards} shards are served after ${START_MS} ms`)
    this.#served = true
  }

  async #shardsServedBy(address: string): Promise<number> {
    try {
      const { replicas } = await this.#world.nodeStatus(address, { hash: false, at: 0, group: '' }, 2_000)
      const led = replicas.filter(({ role }) => role === 'leader')
      return led.reduce((sum, { shards }) => sum + (shards ?? []).filter(({ state }) => state === 'serving').length, 0)
    } catch {
      // Not up yet, or up again soon.
      return 0
    }
  }

  #listenForSignals(): () => void {
    const onSignal = () => {
      if (this.#stop.signal.aborted) {
        for (const child of this.#children) child.kill()
        process.exit(exitCode.failed)
      }
      this.#stop.abort()
    }
    process.on('SIGINT', onSignal)
    process.on('SIGTERM', onSignal)
    return () => {
      process.off('SIGINT', onSignal)
      process.off('SIGTERM', onSignal)
    }
  }

  #whenStopped(callback: () => void): void {
    if (this.#stop.signal.aborted) callback()
    else this.#stop.signal.addEventListener('abort', callback, { once: true })
  }

  /** Undefined: `up` is to stop. What the work still does then fails into nothing. */
  async #unlessStopped<T>(work: Promise<T>): Promise<T | undefined> {
    work.catch(() => {})
    const result = await Promise.race([work, new Promise<undefined>((resolve) => this.#whenStopped(() => resolve(undefined)))])
    return this.#stop.signal.aborted ? undefined : result
  }

  #say(text: string): void {
    this.#world.stderr.write(`ostraka: ${text}\n`)
  }
}

interface Started {
  readonly controllers: readonly PlannedProcess[]
  readonly nodes: readonly { readonly child: Child; readonly line: ReadyLine | undefined }[]
}

/** Our own variables configured `up`; to its children they are flags. */
function childEnvironment(environment: World['environment']): Record<string, string | undefined> {
  const kept = Object.entries(environment).filter(([name]) => !name.startsWith('OSTRAKA_'))
  return { ...Object.fromEntries(kept), UV_THREADPOOL_SIZE: environment.UV_THREADPOOL_SIZE ?? threadPoolSize }
}

function readyJson(started: Started): object {
  return {
    ready: true,
    controllers: started.controllers.map(({ address }) => address),
    nodes: started.nodes.map(({ child, line }) => ({ id: child.id, address: line?.address ?? '', pid: child.pid, http: line?.http ?? '' })),
  }
}

async function readyText(started: Started): Promise<string> {
  const rows = started.nodes.map(({ child, line }) => [
    child.id,
    line?.address ?? '',
    String(child.pid),
    `http://${line?.http ?? ''}/metrics`,
  ])
  const controllers = started.controllers.map(({ address }) => address).join(',')
  return [
    await drawTable(['node', 'address', 'pid', 'http'], rows),
    `The cluster is ready. Controllers: ${controllers}`,
    'Try, in another terminal:  npx ostraka put greeting hello && npx ostraka get greeting',
    '^C stops it.',
  ].join('\n')
}
