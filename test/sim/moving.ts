/**
 * What moves shards in a run and strikes while they move: an operator, faults in the very moment of a migration's steps, and what was said said
 * again late. With it go the checks of what must hold when all moves have ended.
 */
import { assert } from '../../base/assert.ts'
import type { ControllerClient } from '../../proto/controller-client.ts'
import { type MigrationView, NoAnswer } from '../workload/admin.ts'
import { Operator } from '../workload/operator.ts'
import { AtStepNemesis } from './at-step-nemesis.ts'
import { Echo } from './echo.ts'
import type { FaultJournal } from './fault-journal.ts'
import type { StepEvent } from './migration-steps.ts'
import { checkConfigHistory } from './moves-checks.ts'
import type { Ownership } from './ownership.ts'
import { simAdmin } from './sim-admin.ts'
import type { SimCluster } from './sim-cluster.ts'
import type { World } from './world.ts'

const operators = 2
/** Mean time between two requests of one operator. */
const restMs = 600
/** A run with fewer moves tested nothing. */
const leastMoves = 3

export class Moving {
  readonly #world: World
  readonly #cluster: SimCluster
  readonly #strikes: AtStepNemesis
  readonly #echo: Echo
  readonly #client: ControllerClient
  readonly #operator: Operator
  #operating = false
  #loops = 0
  #migrations: readonly MigrationView[] = []

  /** `changesMembers`: the groups' members change, too. */
  constructor(
    world: World,
    cluster: SimCluster,
    options: { readonly shards: number; readonly changesMembers: boolean },
    journal: FaultJournal,
  ) {
    const { shards, changesMembers } = options
    this.#world = world
    this.#cluster = cluster
    this.#strikes = new AtStepNemesis(world, cluster, { restMs: 1000, deadMsMax: 2000, partitionMsMax: 2500, journal })
    this.#echo = new Echo(world, cluster, journal)
    this.#client = cluster.admin('operator')
    const groups = cluster.groupNames
    this.#operator = new Operator(simAdmin(cluster, this.#client), world.random.fork(), {
      shards,
      groups,
      steady: groups.slice(0, 1),
      ...(changesMembers ? { nodes: cluster.nodeNames } : {}),
    })
  }

  /** Migrations that ended done, and such that did not. */
  get outcomes(): { readonly moves: number; readonly aborted: number } {
    const count = (wanted: MigrationView['phase']) => this.#migrations.filter(({ phase }) => phase === wanted).length
    return { moves: count('done'), aborted: count('aborted') }
  }

  /** 'step victim fault' of the strikes at steps. */
  get strikes(): string[] {
    return [...this.#strikes.done.keys()]
  }

  /** A migration has taken a step. */
  stepped(event: StepEvent): void {
    this.#strikes.stepped(event)
  }

  start(): void {
    this.#operating = true
    for (let i = 0; i < operators; i++) void this.#operate()
    this.#strikes.start()
    this.#echo.start()
  }

  /** Resolves when the operators have had their answers. */
  stop(): void {
    this.#operating = false
    this.#strikes.stop()
    this.#echo.stop()
  }

  /** No operator waits for an answer. */
  get idle(): boolean {
    return this.#loops === 0
  }

  /** Within a minute of peace every migration ends by itself and every change that is asked for comes about. */
  async settle(): Promise<void> {
    try {
      await this.#world.settle(
        this.#operator.settle(() => this.#pause(200)),
        60_000,
      )
    } catch (error) {
      throw new Error(`${error instanceof Error ? error.message : error}; ${await this.#unsettled()}`, { cause: error })
    }
  }

  async check(ownership: Ownership): Promise<void> {
    this.#migrations = await this.#world.settle(this.#operator.check({ isDamaged: this.#cluster.atlas.damagedNames.length > 0 }))
    this.#checkMembers()
    await checkConfigHistory(this.#world, this.#client, ownership)
    const { moves } = this.outcomes
    assert(moves >= leastMoves, `seed ${this.#world.seed}: only ${moves} moves were completed: the run tested nothing`)
  }

  /** The groups' own logs say of their members what the config says. */
  #checkMembers(): void {
    const leader = this.#cluster.controllerLeader()
    const config = leader === undefined ? undefined : this.#cluster.controllerState(leader)?.config
    for (const { uid, members } of config?.groups ?? []) {
      const node = this.#cluster.groupLeader(uid)
      const hosted = node === undefined ? [] : this.#cluster.hosted(node)
      const conf = hosted.find(({ replica }) => replica.group === uid)?.replica.conf
      const numbers = (of: readonly number[]) => [...of].sort((a, b) => a - b).join()
      const wanted = numbers(members.map(({ replica }) => replica))
      const isSame = conf !== undefined && numbers(conf.voters) === wanted && conf.votersOutgoing.length + conf.learners.length === 0
      assert(isSame, `seed ${this.#world.seed}: ${uid} has the members ${JSON.stringify(conf)}, and by the config ${wanted}`)
    }
  }

  async #operate(): Promise<void> {
    const random = this.#world.random.fork()
    this.#loops++
    try {
      while (this.#operating) {
        if (random.next() < 0.2) await this.#operator.some()
        else await this.#operator.one()
        await this.#pause(random.next() * 2 * restMs)
      }
    } catch (error) {
      this.#world.fail(error)
    } finally {
      this.#loops--
    }
  }

  async #unsettled(): Promise<string> {
    const admin = simAdmin(this.#cluster, this.#client)
    try {
      const running = (await this.#world.settle(admin.migrations())).filter(({ phase }) => phase === 'running')
      return `running: ${JSON.stringify(running)}; last refusal: ${this.#operator.lastRefusal}`
    } catch (error) {
      return error instanceof NoAnswer ? error.message : String(error)
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#world.schedule(ms, undefined, 'operator waits', resolve))
  }
}
