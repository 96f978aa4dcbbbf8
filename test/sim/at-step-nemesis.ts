/**
 * Strikes in the very moment in which a migration takes a step: kills, unplugs or cuts off the leader of the source or of the target or all nodes of
 * one of them, a follower of the target, or the leader of the controllers. Which step, victim and fault come next goes by the seed, so that over the seeds all come up.
 */
import type { SeededRandom } from '../../base/random.ts'
import { FaultJournal } from './fault-journal.ts'
import { type StepEvent, type StepFault, type StepVictim, stepStrikes } from './migration-steps.ts'
import { cutLinks } from './partition.ts'
import type { SimCluster } from './sim-cluster.ts'
import type { World } from './world.ts'

export interface AtStepOptions {
  /** No strike within this time of the one before. */
  readonly restMs: number
  readonly deadMsMax: number
  readonly partitionMsMax: number
  readonly journal?: FaultJournal
}

/** Strikes of one run begin so far behind those of the seed before. */
const strikesPerSeed = 7
/** A step that does not come is given up for the next. */
const patienceMs = 4000

export class AtStepNemesis {
  /** 'step victim fault' → how often. */
  readonly done = new Map<string, number>()
  readonly #world: World
  readonly #cluster: SimCluster
  readonly #options: AtStepOptions
  readonly #random: SeededRandom
  readonly #journal: FaultJournal
  #count = 0
  #next: number
  #readyMs = 0
  #running = false

  constructor(world: World, cluster: SimCluster, options: AtStepOptions) {
    this.#world = world
    this.#cluster = cluster
    this.#options = options
    this.#random = world.random.fork()
    this.#journal = options.journal ?? new FaultJournal(world)
    this.#next = (world.seed * strikesPerSeed) % stepStrikes.length
  }

  start(): void {
    this.#running = true
    this.#readyMs = this.#world.nowMs
  }

  /** What it broke is mended by the nemesis that is stopped with it. */
  stop(): void {
    this.#running = false
  }

  /** A migration has taken a step. */
  stepped(event: StepEvent): void {
    if (!this.#running || this.#world.nowMs < this.#readyMs) return
    if (this.#world.nowMs - this.#readyMs > patienceMs) this.#arm(0)
    const strike = stepStrikes[this.#next]
    if (strike === undefined || strike.step !== event.step) return
    const random = this.#random.fork()
    const victims = this.#victims(strike.victim, event, random).filter((name) => this.#cluster.isAlive(name))
    if (victims.length === 0) return
    const id = `s${++this.#count}`
    this.#arm(this.#options.restMs)
    if (!this.#journal.admits(id)) return
    const key = `${strike.step} ${strike.victim} ${strike.fault}`
    this.done.set(key, (this.done.get(key) ?? 0) + 1)
    this.#world.schedule(0, undefined, 'strike', () => {
      this.#journal.note(id, `${strike.fault} of the ${strike.victim} (${victims.join(', ')}) at ${strike.step} of migration ${event.id}`)
      for (const name of victims) this.#strike(name, strike.fault, random)
    })
  }

  #arm(restMs: number): void {
    this.#next = (this.#next + 1) % stepStrikes.length
    this.#readyMs = this.#world.nowMs + restMs
  }

  #victims(victim: StepVictim, { from, to }: StepEvent, random: SeededRandom): string[] {
    switch (victim) {
      case 'source-leader':
        return listed(this.#cluster.groupLeader(from))
      case 'source-nodes':
        return this.#nodesOf(from)
      case 'target-leader':
        return listed(this.#cluster.groupLeader(to))
      case 'target-follower': {
        const leader = this.#cluster.groupLeader(to)
        const followers = this.#nodesOf(to).filter((name) => name !== leader)
        return listed(followers[random.below(Math.max(1, followers.length))])
      }
      case 'target-nodes':
        return this.#nodesOf(to)
      case 'controllers-leader':
        return listed(this.#cluster.controllerLeader())
    }
  }

  #nodesOf(group: string): string[] {
    return this.#cluster.nodeNames.filter((name) => this.#cluster.hosted(name).some(({ replica }) => replica.group === group))
  }

  #strike(victim: string, fault: StepFault, random: SeededRandom): void {
    if (!this.#running || !this.#cluster.isAlive(victim)) return
    if (fault === 'partition') {
      const { network } = this.#cluster
      const mend = network.hold(cutLinks('one', network.names, victim, random), random.next() < 0.5 ? 'stall' : 'refuse')
      this.#later(this.#options.partitionMsMax, random, mend)
      return
    }
    if (fault === 'kill') this.#cluster.kill(victim)
    else this.#cluster.powerLoss(victim)
    this.#later(this.#options.deadMsMax, random, () => {
      if (!this.#cluster.isAlive(victim) && this.#cluster.mayRevive(victim)) this.#cluster.restart(victim)
    })
  }

  #later(mostMs: number, random: SeededRandom, action: () => void): void {
    this.#world.schedule(random.next() * mostMs, undefined, 'mend', () => {
      if (this.#running) action()
    })
  }
}

function listed(name: string | undefined): string[] {
  return name === undefined ? [] : [name]
}
