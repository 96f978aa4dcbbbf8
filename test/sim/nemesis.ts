/**
 * Draws faults from the seed and does them to named machines: kills, power losses (of one or of all), shutdowns, transfers of leadership, pauses,
 * partitions of every shape, flaky and clogged links. What it breaks it mends after a while; `stop` mends the rest, so that a run ends with a phase in which all must converge.
 */
import type { SeededRandom } from '../../base/random.ts'
import { CONDITIONS, type SimNetwork } from './sim-network.ts'
import type { World } from './world.ts'

export interface NemesisTarget {
  /** Machines that faults may hit. */
  readonly names: readonly string[]
  isAlive(name: string): boolean
  kill(name: string): void
  powerLoss(name: string): void
  restart(name: string): void
  /** Ends a machine as SIGTERM does; `done` when it is down, unless something else has ended it before. */
  shutDown(name: string, done: () => void): void
  /** Asks whoever leads a group to hand it to machine `name`. */
  transferTo(name: string): void
  pause(name: string, durationMs: number): void
  /** The machine that leads a group now (of those that believe so the one in the newest term); `pick`, from 0 to 1, says which group. */
  leader(pick: number): string | undefined
}

export interface NemesisOptions {
  /** Mean time between two faults. */
  readonly intervalMs: number
  /** A machine that was killed comes back within this time. */
  readonly deadMsMax: number
  readonly partitionMsMax: number
}

export type FaultName =
  | 'kill'
  | 'power-loss'
  | 'power-loss-of-all'
  | 'bounce'
  | 'bounce-leader'
  | 'pause'
  | 'pause-leader'
  | 'shut-down'
  | 'transfer'
  | 'depose'
  | 'partition'
  | 'flaky'
  | 'clog'

const faults: readonly { readonly name: FaultName; readonly weight: number }[] = [
  { name: 'kill', weight: 4 },
  { name: 'power-loss', weight: 4 },
  { name: 'power-loss-of-all', weight: 1 },
  { name: 'bounce', weight: 2 },
  { name: 'bounce-leader', weight: 2 },
  { name: 'pause', weight: 2 },
  { name: 'pause-leader', weight: 1 },
  { name: 'shut-down', weight: 2 },
  { name: 'transfer', weight: 3 },
  { name: 'depose', weight: 2 },
  { name: 'partition', weight: 4 },
  { name: 'flaky', weight: 2 },
  { name: 'clog', weight: 1 },
]

const bounceMsMax = 20
/** While leaders are deposed messages take long, against what else happens between an election and the first commit. */
const deposeDelays = { leastDelayMs: 2, mostDelayMs: 8 }
/** A leader is deposed within this time of its election, a few messages' way; half of them at once, before they were heard. */
const reignMsMax = 30
const deposedMin = 4
const deposedMax = 10
/** Gives up when nobody is elected for so long. */
const interregnumMsMax = 3000

const usualDelays = { leastDelayMs: CONDITIONS.leastDelayMs, mostDelayMs: CONDITIONS.mostDelayMs }
const calm = { lossProbability: 0, duplicateProbability: 0, reorderProbability: 0 }

export class Nemesis {
  /** How often each fault was done. */
  readonly done = new Map<FaultName, number>()
  readonly #world: World
  readonly #network: SimNetwork
  readonly #target: NemesisTarget
  readonly #options: NemesisOptions
  readonly #random: SeededRandom
  /** A swarm: each seed leaves out some kinds of fault, so that the others get through undisturbed. */
  readonly #chosen: readonly { readonly name: FaultName; readonly weight: number }[]
  /** Some seeds are hectic, some quiet. */
  readonly #intervalMs: number
  #running = false
  /** Leaders are being deposed one after the other: other faults wait. */
  #deposing = false

  constructor(world: World, network: SimNetwork, target: NemesisTarget, options: NemesisOptions) {
    this.#world = world
    this.#network = network
    this.#target = target
    this.#options = options
    this.#random = world.random.fork()
    const chosen = faults.filter(() => this.#random.next() < 0.7)
    this.#chosen = chosen.length > 0 ? chosen : faults
    this.#intervalMs = options.intervalMs * (0.25 + this.#random.next() * 1.75)
  }

  start(): void {
    this.#running = true
    this.#next()
  }

  /** No more faults; everything is mended and comes back. */
  stop(): void {
    this.#running = false
    this.#deposing = false
    this.#network.heal()
    this.#network.setAllConditions({ ...calm, ...usualDelays })
    for (const name of this.#target.names) this.#revive(name)
  }

  #next(): void {
    this.#world.schedule(this.#random.next() * 2 * this.#intervalMs, undefined, 'nemesis', () => {
      if (!this.#running) return
      this.#strike()
      this.#next()
    })
  }

  #strike(): void {
    if (this.#deposing) return
    let ticket = this.#random.next() * this.#chosen.reduce((sum, { weight }) => sum + weight, 0)
    for (const { name, weight } of this.#chosen) {
      ticket -= weight
      if (ticket >= 0) continue
      this.done.set(name, (this.done.get(name) ?? 0) + 1)
      this.#do(name)
      return
    }
  }

  #do(fault: FaultName): void {
    const victim = this.#pick(this.#target.names)
    switch (fault) {
      case 'kill':
        if (this.#target.isAlive(victim)) this.#target.kill(victim)
        this.#reviveLater(victim)
        break
      case 'power-loss':
        if (this.#target.isAlive(victim)) this.#target.powerLoss(victim)
        this.#reviveLater(victim)
        break
      case 'power-loss-of-all':
        for (const name of this.#target.names) {
          if (this.#target.isAlive(name)) this.#target.powerLoss(name)
          this.#reviveLater(name)
        }
        break
      case 'bounce':
        this.#bounce(victim)
        break
      case 'bounce-leader':
        this.#bounce(this.#target.leader(this.#random.next()) ?? victim)
        break
      case 'pause':
        this.#pause(victim)
        break
      case 'pause-leader':
        this.#pause(this.#target.leader(this.#random.next()) ?? victim)
        break
      case 'shut-down':
        if (this.#target.isAlive(victim)) this.#target.shutDown(victim, () => this.#reviveLater(victim))
        break
      case 'transfer':
        this.#target.transferTo(victim)
        break
      case 'depose':
        this.#deposing = true
        this.#network.setAllConditions(deposeDelays)
        this.#depose(deposedMin + this.#random.below(deposedMax - deposedMin + 1), this.#random.next(), undefined)
        break
      case 'partition':
        this.#partition(victim)
        break
      case 'flaky':
        this.#network.setAllConditions({
          lossProbability: this.#random.next() * 0.3,
          duplicateProbability: this.#random.next() * 0.3,
          reorderProbability: this.#random.next() * 0.3,
        })
        this.#later('calm', () => this.#network.setAllConditions(calm))
        break
      case 'clog':
        this.#network.clog(victim, this.#pick(this.#target.names), this.#random.next() * this.#options.partitionMsMax)
    }
  }

  /** Down and up again at once: what it promised a moment ago must be on its disk. */
  #bounce(victim: string): void {
    if (!this.#target.isAlive(victim)) return
    if (this.#random.next() < 0.5) this.#target.kill(victim)
    else this.#target.powerLoss(victim)
    this.#world.schedule(this.#random.next() * bounceMsMax, undefined, 'bounce', () => this.#revive(victim))
  }

  #pause(victim: string): void {
    if (this.#target.isAlive(victim)) this.#target.pause(victim, this.#random.next() * this.#options.partitionMsMax)
  }

  /**
   * Cuts off or kills one leader after the other, each a moment after its election, and brings it back when the next one goes. So entries of
   * several terms stay replicated in part, and who counts them wrongly commits what a later leader takes back (Raft, Figure 8).
   */
  #depose(left: number, pick: number, before: string | undefined): void {
    const sinceMs = this.#world.nowMs
    const look = () => {
      if (!this.#running) return
      const leader = this.#target.leader(pick)
      const elected = leader !== undefined && leader !== before
      if (left === 0 || (!elected && this.#world.nowMs - sinceMs > interregnumMsMax)) this.#endDepose(before)
      else if (!elected) this.#world.schedule(0.25, undefined, 'look for a leader', look)
      else {
        const reignMs = this.#random.next() < 0.5 ? 0 : this.#random.next() * reignMsMax
        this.#world.schedule(reignMs, undefined, 'depose', () => {
          if (!this.#running) return
          if (before !== undefined) this.#bringBack(before)
          if (this.#random.next() < 0.75) this.#network.isolate(leader, this.#random.next() < 0.5 ? 'stall' : 'refuse')
          else if (this.#target.isAlive(leader)) this.#target.kill(leader)
          this.#depose(left - 1, pick, leader)
        })
      }
    }
    look()
  }

  #endDepose(last: string | undefined): void {
    this.#deposing = false
    this.#network.setAllConditions(usualDelays)
    if (last !== undefined) this.#bringBack(last)
  }

  #bringBack(name: string): void {
    this.#network.heal()
    this.#revive(name)
  }

  #partition(victim: string): void {
    const names = this.#shuffled(this.#target.names)
    const half = names.slice(0, Math.floor(names.length / 2))
    const rest = names.slice(half.length)
    const mode = this.#random.next() < 0.5 ? 'stall' : 'refuse'
    switch (this.#random.below(4)) {
      case 0:
        this.#network.partition([half, rest], mode)
        break
      case 1:
        this.#network.isolate(victim, mode)
        break
      case 2:
        this.#network.bridge(half, rest, victim, mode)
        break
      default:
        this.#network.oneWay(half, rest, mode)
    }
    this.#later('heal', () => this.#network.heal())
  }

  #later(what: string, action: () => void): void {
    this.#world.schedule(this.#random.next() * this.#options.partitionMsMax, undefined, what, () => {
      if (this.#running) action()
    })
  }

  #reviveLater(name: string): void {
    this.#world.schedule(this.#random.next() * this.#options.deadMsMax, undefined, 'revive', () => this.#revive(name))
  }

  #revive(name: string): void {
    if (!this.#target.isAlive(name)) this.#target.restart(name)
  }

  #pick(names: readonly string[]): string {
    return names[this.#random.below(names.length)] ?? ''
  }

  #shuffled(names: readonly string[]): string[] {
    const shuffled = [...names]
    for (let i = shuffled.length - 1; i > 0; i--) {
      const j = this.#random.below(i + 1)
      const [a, b] = [shuffled[i] ?? '', shuffled[j] ?? '']
      shuffled[i] = b
      shuffled[j] = a
    }
    return shuffled
  }
}
