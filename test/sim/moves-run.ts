/**
 * One run of a cluster whose shards move while it is under faults and load: an operator moves, joins and leaves at random, faults come by
 * themselves and in the very moment of a migration's steps, what was said is said again late. Then all must heal, come to rest and agree.
 */
import { assert } from '../../base/assert.ts'
import { SeededRandom } from '../../base/random.ts'
import type { MigrationBreak } from '../../shardserver/migration-break.ts'
import { HistoryRecorder } from '../linearizability/history.ts'
import type { OstrakaInput, OstrakaOutput } from '../linearizability/ostraka-model.ts'
import { NoAnswer } from '../workload/admin.ts'
import { Operator } from '../workload/operator.ts'
import { Workload } from '../workload/workload.ts'
import { AtStepNemesis } from './at-step-nemesis.ts'
import type { ClusterRun } from './cluster-run.ts'
import { checkHistory, convergeAndCompare } from './convergence.ts'
import { Echo } from './echo.ts'
import { Load } from './load.ts'
import { MigrationObserver } from './migration-observer.ts'
import { checkConfigHistory, checkPlaces } from './moves-checks.ts'
import { Nemesis } from './nemesis.ts'
import { RaftChecker } from './raft-checker.ts'
import { simAdmin } from './sim-admin.ts'
import { SimCluster, type SimClusterOptions } from './sim-cluster.ts'
import { World } from './world.ts'

export interface MovesRunOptions {
  readonly seed: number
  readonly breaks?: ReadonlySet<MigrationBreak>
  /** Virtual time under faults. Default 20 s. */
  readonly faultsMs?: number
  readonly recordTrace?: boolean
  /** Gets the world and the cluster before anything happens, for people who look into a failure. */
  readonly onWorld?: (world: World, cluster: SimCluster) => void
}

export interface MovesRun extends ClusterRun {
  /** Migrations that ended done. */
  readonly moves: number
  readonly aborted: number
  /** 'step victim fault' of the strikes at steps. */
  readonly strikes: readonly string[]
}

const shards = 16
const healedOperations = 150
/** A run with less tested nothing. */
const leastOperations = 200
const leastMoves = 3

/** Places of the groups; in some all groups share all nodes, in some none. */
const placements: readonly (readonly (readonly string[])[])[] = [
  [
    ['n1', 'n2', 'n3'],
    ['n4', 'n5', 'n6'],
  ],
  [
    ['n1', 'n2', 'n3'],
    ['n2', 'n3', 'n4'],
    ['n1', 'n3', 'n4'],
  ],
  [
    ['n1', 'n2', 'n3'],
    ['n3', 'n4', 'n5'],
    ['n1', 'n4', 'n5'],
  ],
  [
    ['n1', 'n2', 'n3'],
    ['n4', 'n5', 'n6'],
    ['n2', 'n4', 'n6'],
  ],
]

/** Rejects with the seed in the message when anything is wrong. */
export async function runMoves(options: MovesRunOptions): Promise<MovesRun> {
  const { seed, breaks, faultsMs = 20_000, recordTrace = false } = options
  const world = new World({ seed, recordTrace })
  const cluster = new SimCluster(world, shapeOf(seed, breaks))
  options.onWorld?.(world, cluster)
  const leaders = new RaftChecker(world, cluster)
  const strikes = new AtStepNemesis(world, cluster, { restMs: 1000, deadMsMax: 2000, partitionMsMax: 2500 })
  const observer = new MigrationObserver(world, cluster, (event) => strikes.stepped(event))
  observer.start()
  try {
    await cluster.form()
    leaders.start()
    const recorder = new HistoryRecorder<OstrakaInput, OstrakaOutput>()
    const workload = new Workload(recorder, world.random.fork(), { keys: 10, valueBytes: 200, nowMs: () => world.nowMs })
    const load = new Load(world, cluster, workload, { clients: 4, deadlineMs: 5000 })
    const run = await new MovesRunner(world, cluster, observer, strikes).run(faultsMs, workload, load)
    leaders.stop()
    checkHistory(seed, recorder)
    return run
  } finally {
    observer.stop()
  }
}

function shapeOf(seed: number, breaks: ReadonlySet<MigrationBreak> | undefined): SimClusterOptions {
  const random = new SeededRandom(seed)
  const placement = placements[random.below(placements.length)] ?? []
  const nodes = new Set(placement.flat()).size
  return {
    controllers: 3,
    nodes,
    groups: placement.length,
    placement,
    shards,
    memtableBytes: 16 * 1024 * (1 + random.below(4)),
    snapshotLogBytes: 32 * 1024 * (1 + random.below(4)),
    maxMigrations: 1 + random.below(3),
    // In some worlds a copy takes a second or more, so that much happens meanwhile.
    ...(random.next() < 0.4 ? { migrationBytesPerSecond: 2000 + random.below(30_000) } : {}),
    ...(breaks === undefined ? {} : { breaks }),
  }
}

class MovesRunner {
  readonly #world: World
  readonly #cluster: SimCluster
  readonly #observer: MigrationObserver
  readonly #strikes: AtStepNemesis
  readonly #operator: Operator
  readonly #admin
  #operating = true
  #loops = 0

  constructor(world: World, cluster: SimCluster, observer: MigrationObserver, strikes: AtStepNemesis) {
    this.#world = world
    this.#cluster = cluster
    this.#observer = observer
    this.#strikes = strikes
    this.#admin = cluster.admin('operator')
    const groups = cluster.groupNames
    this.#operator = new Operator(simAdmin(cluster, this.#admin), world.random.fork(), { shards, groups, steady: groups.slice(0, 1) })
  }

  async run(faultsMs: number, workload: Workload, load: Load): Promise<MovesRun> {
    const world = this.#world
    const cluster = this.#cluster
    const nemesis = new Nemesis(world, cluster.network, cluster, { intervalMs: 2000, deadMsMax: 2500, partitionMsMax: 2500 })
    const echo = new Echo(world, cluster)
    for (let i = 0; i < 2; i++) void this.#operate()
    nemesis.start()
    this.#strikes.start()
    echo.start()
    await world.runFor(faultsMs)
    this.#operating = false
    this.#strikes.stop()
    echo.stop()
    nemesis.stop()
    await world.runUntil(() => cluster.isReady && this.#loops === 0, 60_000)
    await this.#settle()
    const before = workload.counts.ok
    await world.runUntil(() => workload.counts.ok >= before + healedOperations, 60_000)
    load.stop()
    await world.runUntil(() => load.idle, 30_000)
    const views = await world.settle(this.#operator.check())
    await checkPlaces(world, cluster, this.#observer.ownership)
    await checkConfigHistory(world, this.#admin, this.#observer.ownership)
    await convergeAndCompare(world, cluster, cluster.groupNames.length)
    const moves = views.filter(({ phase }) => phase === 'done').length
    const { ok, unknown, failed } = workload.counts
    assert(ok >= leastOperations, `seed ${world.seed}: only ${ok} calls were answered: the run tested nothing`)
    assert(moves >= leastMoves, `seed ${world.seed}: only ${moves} moves were completed: the run tested nothing`)
    return {
      seed: world.seed,
      traceHash: world.traceHash(),
      traceLines: world.traceLines,
      virtualMs: world.nowMs,
      events: world.events,
      operations: ok,
      unknown,
      failed,
      faults: sum(nemesis.done.values()) + sum(this.#strikes.done.values()) + echo.said,
      moves,
      aborted: views.filter(({ phase }) => phase === 'aborted').length,
      strikes: [...this.#strikes.done.keys()],
    }
  }

  async #operate(): Promise<void> {
    const random = this.#world.random.fork()
    this.#loops++
    try {
      while (this.#operating) {
        if (random.next() < 0.2) await this.#operator.some()
        else await this.#operator.one()
        await this.#pause(random.next() * 800)
      }
    } catch (error) {
      this.#world.fail(error)
    } finally {
      this.#loops--
    }
  }

  /** Within a minute of peace every migration ends by itself and every change that is asked for comes about. */
  async #settle(): Promise<void> {
    try {
      await this.#world.settle(
        this.#operator.settle(() => this.#pause(200)),
        60_000,
      )
    } catch (error) {
      throw new Error(`${error instanceof Error ? error.message : error}; ${await this.#unsettled()}`, { cause: error })
    }
  }

  async #unsettled(): Promise<string> {
    const admin = simAdmin(this.#cluster, this.#admin)
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

function sum(numbers: Iterable<number>): number {
  let total = 0
  for (const number of numbers) total += number
  return total
}
