/**
 * One run of a whole cluster, in phases: calm; safety (faults of the seed's menu under load, and in some runs shards move); liveness (the faults
 * end, in some runs a minority stays broken, and the rest must serve); and at last all heals, must converge and agree. A run lasts a minute of virtual
 * time at least, and 2,000 answered calls.
 */
import { assert } from '../../base/assert.ts'
import { SeededRandom } from '../../base/random.ts'
import type { UnsafeRaft } from '../../raft/raft-host.ts'
import type { MigrationBreak } from '../../shardserver/migration-break.ts'
import { HistoryRecorder } from '../linearizability/history.ts'
import type { OstrakaInput, OstrakaOutput } from '../linearizability/ostraka-model.ts'
import { type StaleGets, Workload } from '../workload/workload.ts'
import { drawShape, shards } from './cluster-shape.ts'
import { checkHistory, convergeAndCompare, missingReplica } from './convergence.ts'
import { FaultJournal, type JournalEntry } from './fault-journal.ts'
import { describeMenu, drawMenu, type FaultMenu, passingFaults } from './fault-menu.ts'
import { clientName, Load } from './load.ts'
import { MigrationObserver } from './migration-observer.ts'
import { checkPlaces } from './moves-checks.ts'
import { Moving } from './moving.ts'
import { Nemesis } from './nemesis.ts'
import { RaftChecker } from './raft-checker.ts'
import { checkClocks, describeReads, drawReads, type ReadPlan, staleForMs } from './read-plan.ts'
import { SimCluster } from './sim-cluster.ts'
import { Story } from './story.ts'
import { World } from './world.ts'

export interface ClusterRunOptions {
  readonly seed: number
  /** Shards move under the faults. */
  readonly moves?: boolean
  readonly unsafe?: UnsafeRaft
  readonly breaks?: ReadonlySet<MigrationBreak>
  /** A deliberate break: disks answer syncs and do nothing. */
  readonly lyingDisks?: boolean
  /** Virtual time under faults. Default 40 s. Where it is shorter the run is, too: a sample. */
  readonly faultsMs?: number
  /** In place of parts of the one that the seed draws. */
  readonly menu?: Partial<FaultMenu>
  /** The same. */
  readonly reads?: Partial<ReadPlan>
  /** The faults that may happen, by name; all if not given. */
  readonly only?: ReadonlySet<string>
  readonly recordTrace?: boolean
  /** Gets the world and the cluster before anything happens, for people who look into a failure. */
  readonly onWorld?: (world: World, cluster: SimCluster) => void
}

export interface ClusterRun {
  readonly seed: number
  readonly traceHash: string
  readonly traceLines: readonly string[]
  readonly virtualMs: number
  readonly events: number
  readonly operations: number
  readonly unknown: number
  readonly failed: number
  readonly faults: number
  /** Migrations that ended done, and such that did not. */
  readonly moves: number
  readonly aborted: number
  /** 'step victim fault' of the strikes at steps. */
  readonly strikes: readonly string[]
}

/** What is known of a run that failed, for people and for making it smaller. */
export class RunFailure extends Error {
  override readonly name = 'RunFailure'
  readonly menu: string
  /** The faults that happened. */
  readonly faults: readonly JournalEntry[]
  readonly story: readonly string[]
  readonly traceLines: readonly string[]

  constructor(message: string, run: Pick<RunFailure, 'menu' | 'faults' | 'story' | 'traceLines'>, options: ErrorOptions) {
    super(message, options)
    this.menu = run.menu
    this.faults = run.faults
    this.story = run.story
    this.traceLines = run.traceLines
  }
}

const clients = 6
const deadlineMs = 5000
const hasteMs = 5
const calmMs = 5000
const usualFaultsMs = 40_000
const leastMs = 60_000
const leastOperations = 2000
/** A phase in which fewer calls were answered tested nothing. */
const leastPerPhase = { calm: 50, faults: 30 }
/** What must be answered under the faults is due little by little, from one share of their time to another: the rest is room to recover in. */
const starving = { from: 0.125, to: 0.625 }
/** Calls that must be answered while a minority is broken, and once everything is healed; and how soon. */
const servedOperations = 150
const servedMsMax = 60_000
const readyMsMax = 30_000
const toldMs = 10_000

/** Rejects with RunFailure, the seed in its message, when anything is wrong. */
export async function runCluster(options: ClusterRunOptions): Promise<ClusterRun> {
  const run = new Run(options)
  try {
    return await run.run()
  } catch (error) {
    throw run.failure(error)
  } finally {
    run.end()
  }
}

class Run {
  readonly #options: ClusterRunOptions
  readonly #world: World
  readonly #cluster: SimCluster
  readonly #menu: FaultMenu
  readonly #reads: ReadPlan
  readonly #journal: FaultJournal
  readonly #story: Story
  readonly #raft: RaftChecker
  readonly #observer: MigrationObserver
  readonly #recorder = new HistoryRecorder<OstrakaInput, OstrakaOutput>(() => this.#world.nowMs)
  readonly #faultsMs: number
  /** Of groups, while shards move. */
  readonly #changesMembers: boolean
  #moving: Moving | undefined
  /** When, and how many calls had been answered before. */
  #faultsBegan = { atMs: 0, answered: 0 }

  constructor(options: ClusterRunOptions) {
    const { seed, only, recordTrace = false, faultsMs = usualFaultsMs } = options
    this.#options = options
    this.#faultsMs = faultsMs
    const { moves = false } = options
    // A machine that is lost cannot be told from one that is to join: in such runs nothing is damaged for good.
    this.#changesMembers = moves && new SeededRandom(seed).fork().next() < 0.5
    const drawn = drawMenu({ seed, intervalMs: moves ? 2000 : 1200, ...(this.#changesMembers ? { kinds: passingFaults } : {}) })
    this.#menu = { ...drawn, ...options.menu }
    this.#reads = { ...drawReads(seed, clients), ...options.reads }
    checkClocks(this.#reads, this.#menu.clockDrift)
    this.#world = new World({ seed, recordTrace })
    this.#cluster = new SimCluster(this.#world, this.#shape())
    options.onWorld?.(this.#world, this.#cluster)
    this.#journal = new FaultJournal(this.#world, only)
    this.#story = new Story(this.#world)
    this.#journal.onEntry = (entry) => this.#story.fault(entry)
    this.#raft = new RaftChecker(this.#world, this.#cluster, this.#story)
    this.#observer = new MigrationObserver(this.#world, this.#cluster, (event) => {
      this.#story.say('shards', `migration ${event.id} from ${event.from} to ${event.to}: ${event.step}`)
      this.#moving?.stepped(event)
    })
  }

  async run(): Promise<ClusterRun> {
    const world = this.#world
    const cluster = this.#cluster
    const { seed, moves = false } = this.#options
    this.#raft.start()
    this.#observer.start()
    await cluster.form()
    this.#story.say('run', 'the cluster is formed')
    const clockDrift = Math.max(0.01, 2 * this.#menu.clockDrift)
    const workload = new Workload(this.#recorder, world.random.fork(), {
      keys: 8,
      valueBytes: moves ? 200 : 24,
      nowMs: () => world.nowMs,
      clockDrift,
      stale: this.#staleGets(),
    })
    const load = new Load(world, cluster, workload, {
      clients,
      deadlineMs,
      thinkMs: this.#thinkMs(),
      rhythm: this.#menu.rhythm,
      reads: this.#reads.modes.map((mode) => (mode === 'stale' ? 'linearizable' : mode)),
    })
    const nemesis = new Nemesis(world, cluster.network, cluster, {
      intervalMs: 0,
      deadMsMax: 2500,
      partitionMsMax: 3000,
      menu: this.#menu,
      journal: this.#journal,
      letUp: () => this.#isStarved(workload),
    })
    if (moves) this.#moving = new Moving(world, cluster, { shards, changesMembers: this.#changesMembers }, this.#journal)
    await this.#expect(() => workload.counts.ok >= leastPerPhase.calm, calmMs * 4, 'calls are answered before any fault')
    await this.#safety(nemesis, workload)
    await this.#liveness(nemesis, workload)
    await this.#healed(workload, load)
    const { ok, unknown, failed } = workload.counts
    const { moves: done = 0, aborted = 0 } = this.#moving?.outcomes ?? {}
    return {
      seed,
      traceHash: world.traceHash(),
      traceLines: world.traceLines,
      virtualMs: world.nowMs,
      events: world.events,
      operations: ok,
      unknown,
      failed,
      faults: this.#journal.entries.length,
      moves: done,
      aborted,
      strikes: this.#moving?.strikes ?? [],
    }
  }

  /** Mean time between two calls of a client, where it does not rest. */
  #thinkMs(): number {
    const { callsPerSecond, rhythm } = this.#menu
    const share = rhythm === undefined ? 1 : rhythm.burstMs / (rhythm.burstMs + rhythm.restMs)
    return (1000 * clients * share) / callsPerSecond
  }

  #staleGets(): StaleGets {
    const { modes, maxStalenessMs } = this.#reads
    const names = modes.flatMap((mode, i) => (mode === 'stale' ? [clientName(i)] : []))
    return { clients: new Set(names), maxStalenessMs, forMs: staleForMs(this.#reads, this.#menu.clockDrift) }
  }

  /** Faults, whatever they do to availability: nothing may go wrong. */
  async #safety(nemesis: Nemesis, workload: Workload): Promise<void> {
    this.#story.say('run', 'faults begin')
    this.#faultsBegan = { atMs: this.#world.nowMs, answered: workload.counts.ok }
    nemesis.start()
    this.#moving?.start()
    await this.#world.runFor(this.#faultsMs)
    this.#moving?.stop()
    const answered = workload.counts.ok - this.#faultsBegan.answered
    assert(
      answered >= this.#leastUnderFaults,
      `seed ${this.#world.seed}: only ${answered} calls were answered under the faults: the run tested nothing`,
    )
  }

  get #leastUnderFaults(): number {
    return (leastPerPhase.faults * this.#faultsMs) / usualFaultsMs
  }

  /** So few calls were answered under the faults so far that, went it on like this, the run would test nothing. */
  #isStarved({ counts }: Workload): boolean {
    const { atMs, answered } = this.#faultsBegan
    const share = (this.#world.nowMs - atMs) / this.#faultsMs
    const due = Math.min(1, (share - starving.from) / (starving.to - starving.from)) * this.#leastUnderFaults
    return counts.ok - answered < due
  }

  /** The faults end; a minority may stay down: the rest serves. */
  async #liveness(nemesis: Nemesis, workload: Workload): Promise<void> {
    const broken = this.#menu.deadMinority ? this.#minority() : []
    this.#story.say('run', `faults end${broken.length > 0 ? `; ${broken.join(' and ')} stay down` : ''}`)
    nemesis.stop(broken)
    await this.#expect(() => this.#cluster.isReadyWithout(broken), readyMsMax, 'every machine that is not broken is ready')
    await this.#serves(workload, 'calls are answered while a minority is broken')
    this.#story.say('run', 'all is mended')
    nemesis.mendAll()
    this.#startLost()
    await this.#expect(() => this.#cluster.isReady && (this.#moving?.idle ?? true), servedMsMax, 'every machine is ready')
    await this.#whole()
  }

  /** What ended for its damage is started once more, as people would: a node then goes on without what it has lost, if it can. */
  #startLost(): void {
    const { nodeNames, atlas } = this.#cluster
    for (const name of nodeNames) {
      if (this.#cluster.isAlive(name) || !atlas.isLost(name)) continue
      this.#story.say(name, 'is started again although it is damaged')
      this.#cluster.restart(name)
    }
  }

  /** Every group has replaced by itself what it lost on nodes that run. */
  async #whole(): Promise<void> {
    const cluster = this.#cluster
    const isWhole = () =>
      missingReplica(cluster) === undefined &&
      cluster.nodeNames.every((name) => !cluster.isAlive(name) || cluster.running(name)?.ready() === true)
    try {
      await this.#expect(isWhole, servedMsMax, 'what was lost is replaced')
    } catch (error) {
      throw new Error(`${error instanceof Error ? error.message : error}; ${missingReplica(cluster)}`, { cause: error })
    }
  }

  /** Everything converges and agrees. */
  async #healed(workload: Workload, load: Load): Promise<void> {
    const world = this.#world
    const cluster = this.#cluster
    const { seed } = this.#options
    await this.#moving?.settle()
    await this.#serves(workload, 'calls are answered when all is healed')
    if (this.#faultsMs >= usualFaultsMs) {
      if (world.nowMs < leastMs) await world.runFor(leastMs - world.nowMs)
      load.hurry(hasteMs)
      await this.#expect(() => workload.counts.ok >= leastOperations, servedMsMax, `${leastOperations} calls are answered`)
    }
    load.stop()
    await this.#expect(() => load.idle, readyMsMax, 'all clients have their answers')
    const reader = cluster.client('reader', deadlineMs)
    await world.settle(workload.readAll(reader, () => new Promise((resolve) => world.schedule(100, undefined, 'reader waits', resolve))))
    await world.settle(reader.close())
    await checkPlaces(world, cluster, this.#observer.ownership)
    await this.#moving?.check(this.#observer.ownership)
    await convergeAndCompare(world, cluster, cluster.groupNames.length)
    await this.#whole()
    this.end()
    const wrong = workload.verdict()
    assert(wrong === undefined, `seed ${seed}: ${wrong}`)
    checkHistory(seed, this.#recorder)
  }

  end(): void {
    this.#raft.stop()
    this.#observer.stop()
  }

  failure(error: unknown): RunFailure {
    const message = error instanceof Error ? error.message : String(error)
    return new RunFailure(
      message,
      {
        menu: `${describeMenu(this.#menu)}; ${describeReads(this.#reads)}`,
        faults: this.#journal.entries,
        story: this.#story.tell(toldMs),
        traceLines: this.#world.traceLines,
      },
      { cause: error },
    )
  }

  async #serves(workload: Workload, what: string): Promise<void> {
    const before = workload.counts.ok
    await this.#expect(() => workload.counts.ok >= before + servedOperations, servedMsMax, what)
  }

  async #expect(condition: () => boolean, withinMs: number, what: string): Promise<void> {
    await this.#world.runUntil(condition, withinMs, what)
  }

  /** One controller and one node, of those that the disks have left. No node where operators have shrunk a group so that it needs each, or still may. */
  #minority(): string[] {
    const random = new SeededRandom(this.#options.seed)
    const { controllerNames, nodeNames, atlas } = this.#cluster
    const spare = this.#changesMembers ? nodeNames.filter((name) => this.#moving?.idle !== false && this.#canSpare(name)) : nodeNames
    return [controllerNames, spare].flatMap((names) => {
      const damaged = names.find((name) => atlas.isDamaged(name))
      return damaged ?? names[random.below(names.length)] ?? []
    })
  }

  /** As the controllers have decided, each group has a majority on other nodes, before and after a change that is under way. */
  #canSpare(name: string): boolean {
    const { controllerNames } = this.#cluster
    const configs = controllerNames.flatMap((controller) => this.#cluster.controllerState(controller)?.config ?? [])
    const [newest] = configs.sort((a, b) => b.number - a.number)
    const sets = newest?.groups.flatMap(({ members }) => ['joining', 'leaving'].map((out) => members.filter(({ state }) => state !== out)))
    return sets?.every((members) => 2 * members.filter(({ node }) => node !== name).length > members.length) === true
  }

  #shape() {
    const { seed, moves = false, unsafe, breaks, lyingDisks = false } = this.#options
    return {
      ...drawShape(seed, moves),
      clockDrift: this.#menu.clockDrift,
      readMode: this.#reads.leases ? ('lease' as const) : ('linearizable' as const),
      ...(this.#reads.trustsClocks ? { pausedClocks: 'running' as const } : {}),
      lyingDisks,
      ...(unsafe === undefined ? {} : { unsafe }),
      ...(breaks === undefined ? {} : { breaks }),
    }
  }
}
