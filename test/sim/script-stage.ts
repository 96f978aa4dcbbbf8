/** Where scripts of moving shards play: two groups on nodes of their own, an admin, a client, and hands for what nobody else may do. */
import { assert, must } from '../../base/assert.ts'
import { utf8 } from '../../base/bytes.ts'
import { shardOf, slotOf } from '../../base/slot.ts'
import type { Client } from '../../client/client.ts'
import type { Config } from '../../proto/config.ts'
import type { ControllerClient } from '../../proto/controller-client.ts'
import { pb } from '../../proto/messages.ts'
import { kvMethods } from '../../proto/methods.ts'
import { MigrationObserver } from './migration-observer.ts'
import type { MigrationStep, StepEvent } from './migration-steps.ts'
import { checkPlaces } from './moves-checks.ts'
import { type HeardEntry, ProposalTap } from './proposal-tap.ts'
import { SimCluster, type SimClusterOptions } from './sim-cluster.ts'
import { SimProcess } from './sim-process.ts'
import type { World } from './world.ts'

const shards = 16
const callMs = 10_000
const sourceNodes = ['n1', 'n2', 'n3']
const targetNodes = ['n4', 'n5', 'n6']

export type StageOptions = Partial<Pick<SimClusterOptions, 'breaks' | 'memtableBytes' | 'migrationBytesPerSecond'>>

export class ScriptStage {
  readonly world: World
  readonly cluster: SimCluster
  readonly observer: MigrationObserver
  /** What the groups' leaders proposed of migrations, in order. */
  readonly heard: HeardEntry[] = []
  readonly sourceNodes = sourceNodes
  readonly targetNodes = targetNodes
  readonly #tap: ProposalTap
  /** undefined: deleted. */
  readonly #expected = new Map<string, string | undefined>()
  readonly #probe: SimProcess
  #admin: ControllerClient | undefined
  #client: Client | undefined
  #onStep: ((event: StepEvent) => void) | undefined

  constructor(world: World, options: StageOptions = {}) {
    this.world = world
    const placement = [sourceNodes, targetNodes]
    const memory = { memtableBytes: 32 * 1024, snapshotLogBytes: 64 * 1024 }
    this.cluster = new SimCluster(world, { controllers: 3, nodes: 6, groups: 2, placement, shards, ...memory, ...options })
    this.observer = new MigrationObserver(world, this.cluster, (event) => this.#onStep?.(event))
    this.#tap = new ProposalTap(world, this.cluster, (entry) => this.heard.push(entry))
    this.#probe = new SimProcess(world, { name: 'probe', network: this.cluster.network })
  }

  async open(): Promise<void> {
    this.observer.start()
    await this.cluster.form()
    this.#tap.start()
    this.#admin = this.cluster.admin('admin')
    this.#client = this.cluster.client('client', callMs)
    await this.world.settle(this.#client.ready(callMs))
  }

  close(): void {
    this.#tap.stop()
    this.observer.stop()
  }

  get admin(): ControllerClient {
    return must(this.#admin, 'an open stage')
  }

  get client(): Client {
    return must(this.#client, 'an open stage')
  }

  /** The newest config that any controller has. */
  get config(): Config {
    const configs = this.cluster.controllerNames.flatMap((name) => this.cluster.controllerState(name)?.config ?? [])
    return must(configs.sort((a, b) => b.number - a.number)[0], 'a config')
  }

  uid(group: string): string {
    return must(this.config.groupByName(group), group).uid
  }

  /** A shard of g1, by the seed. */
  someShard(): number {
    const owned = this.config.shardsOf(this.uid('g1'))
    return must(owned[this.world.random.below(owned.length)], 'a shard of g1')
  }

  /** The `number`th key of a shard. */
  keyIn(shard: number, number: number): string {
    let found = 0
    for (let i = 0; ; i++) {
      const key = `record-${i}`
      if (shardOf(slotOf(utf8(key)), shards) === shard && found++ === number) return key
    }
  }

  async put(key: string, value: string): Promise<void> {
    await this.world.settle(this.client.put(key, value), 2 * callMs)
    this.#expected.set(key, value)
  }

  async delete(key: string): Promise<void> {
    await this.world.settle(this.client.delete(key), 2 * callMs)
    this.#expected.set(key, undefined)
  }

  /** Some records in every shard. */
  async fill(): Promise<void> {
    for (let shard = 0; shard < shards; shard++) {
      for (let number = 0; number < 3; number++) await this.put(this.keyIn(shard, number), `${shard}/${number}`.padEnd(300, '.'))
    }
  }

  /** What was put is there, what was deleted is not, and every shard takes a write. */
  async checkData(): Promise<void> {
    for (const [key, value] of this.#expected) {
      const found = await this.world.settle(this.client.get(key), 2 * callMs)
      assert(found?.value.toString() === value, `${key} is ${found?.value}, not ${value}`)
    }
    for (let shard = 0; shard < shards; shard++) await this.put(this.keyIn(shard, 3), `written at ${this.world.nowMs}`)
  }

  /** Calls `callback`, soon, when migration steps are taken. */
  onStep(callback: ((event: StepEvent) => void) | undefined): void {
    this.#onStep = callback === undefined ? undefined : (event) => void this.world.schedule(0, undefined, 'on step', () => callback(event))
  }

  /** Asks for a move; returns its migration's id. */
  async ask(shard: number, group: string): Promise<number> {
    const { migrations } = await this.world.settle(this.admin.move({ shard, group, author: 'script' }, { timeoutMs: callMs }))
    return must(migrations[0], `a migration of shard ${shard} to ${group}`)
  }

  /** Moves a shard and waits until nothing of the move is left but its new place. */
  async move(shard: number, group: string): Promise<number> {
    const id = await this.ask(shard, group)
    const end = await this.ended(id)
    assert(end === 'done', `migration ${id} is ${end}`)
    const [target, source] = [this.uid(group), this.uid(group === 'g1' ? 'g2' : 'g1')]
    await this.world.runUntil(() => this.stateIn(target, shard) === 'serving' && this.stateIn(source, shard) === 'absent', 30_000)
    return id
  }

  async migration(id: number): Promise<pb.v1.Migration.$Properties> {
    const all = await this.world.settle(this.admin.migrations({ timeoutMs: callMs }))
    return must(
      all.find((migration) => migration.id === id),
      `migration ${id}`,
    )
  }

  /** Waits for the end of a migration. */
  async ended(id: number, withinMs = 30_000): Promise<'done' | 'aborted' | 'given-back'> {
    const { MigrationPhase } = pb.v1
    for (const endMs = this.world.nowMs + withinMs; this.world.nowMs < endMs; ) {
      const { phase } = await this.migration(id)
      if (phase === MigrationPhase.GIVEN_BACK) return 'given-back'
      if (phase === MigrationPhase.DONE) return 'done'
      if (phase === MigrationPhase.ABORTED) return 'aborted'
      await this.world.runFor(100)
    }
    throw new Error(`migration ${id} does not end`)
  }

  /** Tells, when it is asked, whether some migration has taken `step` since this call. */
  watch(step: MigrationStep): () => boolean {
    let seen = false
    this.onStep((event) => {
      seen ||= event.step === step
    })
    return () => seen
  }

  /** Of the replica of `group` that has applied most. */
  stateIn(group: string, shard: number): string {
    return this.observer.ownership.held(group)?.get(shard)?.state ?? 'unborn'
  }

  /** Proposes an entry that was heard before once more, until a leader has put it into its group's log. */
  async repeat({ group, data }: HeardEntry): Promise<void> {
    let applied = false
    for (let round = 0; round < 50 && !applied; round++) {
      let answered = false
      this.#tap.repeat(group, data, (done) => {
        answered = true
        applied = done
      })
      for (let waited = 0; waited < 20 && !answered; waited++) await this.world.runFor(100)
      if (!answered) return // Its replicas do not apply any more: the checks that follow judge that.
      if (!applied) await this.world.runFor(200)
    }
  }

  /** Has the leader of `group` propose what `entry` makes of the group's time. */
  propose(group: string, entry: (timeMs: number) => Uint8Array): void {
    const leader = this.cluster.groupLeader(group)
    const replica = leader === undefined ? undefined : this.cluster.hosted(leader).find((hosted) => hosted.replica.group === group)?.replica
    replica?.propose(entry(Math.floor(replica.groupTimeMs())), () => {})
  }

  /** Of the config that node `name` has. */
  async configNumberOf(name: string): Promise<number> {
    const status = await this.world.settle(must(this.cluster.running(name), `a server on ${name}`).status({}))
    return status.replicas[0]?.configNumber ?? 0
  }

  /** One request to the leader of a group, with nothing of the client's care: no routing, no retry under another number. */
  async raw(
    group: string,
    request: { readonly writes?: pb.v1.WriteBatch.$Properties; readonly reads?: pb.v1.Read.$Properties[] },
  ): Promise<pb.v1.ExecuteReply> {
    for (let round = 0; round < 100; round++) {
      const leader = this.cluster.groupLeader(group)
      if (leader === undefined) {
        await this.world.runFor(100)
        continue
      }
      const channel = this.#probe.transport.connect(`${leader}:7410`)
      const message = new pb.v1.ExecuteRequest({
        id: round + 1,
        group,
        configNumber: this.config.number,
        timeoutMs: callMs,
        ...(request.writes === undefined ? {} : { writes: pb.v1.WriteBatch.encode(request.writes).finish() }),
        ...(request.reads === undefined ? {} : { reads: request.reads }),
      })
      const reply = await this.world.settle(
        channel.unary(kvMethods.execute, message, { timeoutMs: callMs }).catch(() => undefined),
        2 * callMs,
      )
      channel.close()
      const code = reply?.error?.code ?? reply?.writes[0]?.error?.code ?? reply?.reads[0]?.error?.code
      const again = code === pb.v1.ErrorCode.NOT_LEADER || code === pb.v1.ErrorCode.SHARD_MOVING || code === pb.v1.ErrorCode.UNAVAILABLE
      if (reply !== undefined && !again) return reply
      await this.world.runFor(100)
    }
    throw new Error(`nobody of ${group} answers`)
  }

  /** The end of every script: all mended, all data there, everything in its place. */
  async finish(): Promise<void> {
    this.onStep(undefined)
    this.cluster.network.heal()
    for (const name of this.cluster.names) if (!this.cluster.isAlive(name)) this.cluster.restart(name)
    await this.world.runUntil(() => this.cluster.isReady, 30_000)
    await this.checkData()
    await checkPlaces(this.world, this.cluster, this.observer.ownership)
  }
}
