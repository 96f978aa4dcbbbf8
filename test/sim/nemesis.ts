/**
 * Draws faults from the seed and does them to named machines: kills, power losses (of one or of all), shutdowns, transfers of leadership, pauses,
 * partitions of every shape, flaky, slow and clogged links, disks that are slow, fail, rot or lie, clocks that jump. What it breaks it mends
 * after a while; `stop` mends the rest, so that a run ends with a phase in which all must converge. A menu may by its weights stop everybody
 * again before they have recovered; `letUp` says when it has gone on for too long.
 *
 * When a fault comes, its kind and all that it draws follow from the seed alone, whatever the machines do meanwhile; so a fault that is left out
 * (see `FaultJournal`) leaves the others as they are.
 */
import type { SeededRandom } from '../../base/random.ts'
import { type DamageTarget, DiskNemesis, type Fault, type NemesisHost } from './disk-nemesis.ts'
import { FaultJournal } from './fault-journal.ts'
import { drawMenu, type FaultKind, type FaultMenu, pickFault, plainFaults } from './fault-menu.ts'
import { cutLinks, partitionShapes } from './partition.ts'
import { CONDITIONS, type LinkConditions, type SimNetwork } from './sim-network.ts'
import type { World } from './world.ts'

export interface NemesisTarget {
  /** Machines that faults may hit. */
  readonly names: readonly string[]
  isAlive(name: string): boolean
  kill(name: string): void
  powerLoss(name: string): void
  /** Of a machine that is dead. */
  restart(name: string): void
  /** Ends a machine as SIGTERM does; `done` when it is down, unless something else has ended it before. */
  shutDown(name: string, done: () => void): void
  /** Asks whoever leads a group to hand it to machine `name`. */
  transferTo(name: string): void
  /** 'frozen': its clock stands still meanwhile; 'running' (if not given: frozen): it sees the time that it lost. */
  pause(name: string, durationMs: number, clock?: 'frozen' | 'running'): void
  /** The machine that leads a group now (of those that believe so the one in the newest term); `pick`, from 0 to 1, says which group. */
  leader(pick: number): string | undefined
  /** False: it does not come back (its disk is lost). True if not given. */
  mayRevive?(name: string): boolean
  /** Left out by targets whose disks and clocks are not to be touched. */
  readonly damage?: DamageTarget
}

export interface NemesisOptions {
  /** Mean time between two faults, where `menu` is not given. */
  readonly intervalMs: number
  /** A machine that was killed comes back within this time. */
  readonly deadMsMax: number
  readonly partitionMsMax: number
  readonly menu?: FaultMenu
  readonly journal?: FaultJournal
  /** Asked when a fault is due. While it is true faults let up: what passes is mended, and none comes. Never if not given. */
  readonly letUp?: () => boolean
}

const bounceMsMax = 20
/** While leaders are deposed messages take long, against what else happens between an election and the first commit. */
const deposeDelays = { leastDelayMs: 2, mostDelayMs: 8 }
/** A leader is deposed within this time of its election, a few messages' way; half of them at once, before they were heard. */
const reignMsMax = 30
const noReignMsMax = 0.25
const deposedMin = 4
const deposedMax = 10
/** Gives up when nobody is elected for so long. */
const interregnumMsMax = 3000
const leaderProbability = 0.4

const usualDelays = { leastDelayMs: CONDITIONS.leastDelayMs, mostDelayMs: CONDITIONS.mostDelayMs }
const calm = { lossProbability: 0, duplicateProbability: 0, reorderProbability: 0 }

interface Deposed {
  readonly name: string
  /** Brings it back. */
  readonly mend: () => void
}

export class Nemesis implements NemesisHost {
  /** How often each fault was done. */
  readonly done = new Map<FaultKind, number>()
  readonly #world: World
  readonly #network: SimNetwork
  readonly #target: NemesisTarget
  readonly #options: NemesisOptions
  readonly #random: SeededRandom
  readonly #menu: FaultMenu
  readonly #journal: FaultJournal
  readonly #disks: DiskNemesis | undefined
  #count = 0
  #running = false
  /** Leaders are being deposed one after the other: other faults wait. An object for each time. */
  #deposing: object | undefined
  #letsUp = false
  /** Machines that stay down. */
  #broken: readonly string[] = []

  constructor(world: World, network: SimNetwork, target: NemesisTarget, options: NemesisOptions) {
    this.#world = world
    this.#network = network
    this.#target = target
    this.#options = options
    this.#random = world.random.fork()
    this.#menu = options.menu ?? drawMenu({ seed: world.seed, intervalMs: options.intervalMs, kinds: plainFaults })
    this.#journal = options.journal ?? new FaultJournal(world)
    this.#disks = target.damage && new DiskNemesis(world, target.damage, this)
  }

  get isRunning(): boolean {
    return this.#running
  }

  start(): void {
    this.#running = true
    this.#next()
  }

  /** No more faults; everything is mended and comes back, but for the machines in `broken`, which go down until `mendAll`. */
  stop(broken: readonly string[] = []): void {
    this.#running = false
    this.#broken = broken
    this.#mendNetwork()
    for (const name of this.#target.names) {
      this.#disks?.mend(name)
      this.#disks?.end(name)
      if (broken.includes(name) && this.#target.isAlive(name)) this.#target.kill(name)
      this.#revive(name)
    }
  }

  /** Those that were left broken come back. */
  mendAll(): void {
    this.#broken = []
    for (const name of this.#target.names) this.#revive(name)
  }

  #mendNetwork(): void {
    this.#deposing = undefined
    this.#network.heal()
    this.#network.setAllConditions({ ...calm, ...usualDelays })
  }

  #next(): void {
    const waitMs = this.#random.next() * 2 * this.#menu.intervalMs
    const kind = pickFault(this.#menu, this.#random.next())
    const random = this.#random.fork()
    const id = `n${++this.#count}`
    this.#world.schedule(waitMs, undefined, 'nemesis', () => {
      if (!this.#running) return
      if (this.#journal.admits(id) && !this.#maybeLetUp(id) && this.#deposing === undefined) this.#strike(id, kind, random)
      this.#next()
    })
  }

  /** Whether faults let up; the one that was due when they began to, `id`, stands for it in the journal. */
  #maybeLetUp(id: string): boolean {
    const began = this.#letsUp
    this.#letsUp = this.#options.letUp?.() === true
    if (!this.#letsUp || began) return this.#letsUp
    this.#mendNetwork()
    for (const name of this.#target.names) {
      this.#disks?.mend(name)
      this.#revive(name)
    }
    this.#journal.note(id, 'faults let up, and what passes is mended')
    return true
  }

  #strike(id: string, kind: FaultKind, random: SeededRandom): void {
    const { names } = this.#target
    const anybody = names[random.below(names.length)] ?? ''
    const pick = random.next()
    const leader = random.next() < leaderProbability ? this.#target.leader(pick) : undefined
    const durationMs = random.next() * this.#options.partitionMsMax
    const fault: Fault = { id, kind, random, victim: leader ?? anybody, durationMs }
    const what = this.#do(fault)
    if (what === undefined) return
    this.done.set(kind, (this.done.get(kind) ?? 0) + 1)
    this.#journal.note(id, what)
  }

  /** What was done, for people; undefined: nothing, it makes no sense now. */
  #do(fault: Fault): string | undefined {
    const { kind, random, victim } = fault
    switch (kind) {
      case 'kill':
      case 'power-loss':
        return this.#down(kind, [victim], random)
      case 'power-loss-of-all':
        return this.#down('power-loss', this.#target.names, random)
      case 'bounce':
        return this.#bounce(victim, random)
      case 'pause':
        return this.#pause(fault)
      case 'shut-down':
        if (!this.#target.isAlive(victim)) return undefined
        this.#target.shutDown(victim, () => this.reviveLater(victim, random))
        return `${victim} is shut down`
      case 'transfer':
        this.#target.transferTo(victim)
        return `leaders are asked to hand over to ${victim}`
      case 'depose': {
        const count = deposedMin + random.below(deposedMax - deposedMin + 1)
        this.#deposing = {}
        this.#network.setAllConditions(deposeDelays)
        this.#depose(this.#deposing, count, random, random.next(), undefined)
        return `${count} leaders are deposed one after the other`
      }
      case 'partition':
        return this.#partition(fault)
      case 'flaky':
      case 'slow-network':
      case 'clog':
        return this.#disturb(fault)
      default:
        return this.#disks?.do(fault)
    }
  }

  #down(how: 'kill' | 'power-loss', victims: readonly string[], random: SeededRandom): string {
    for (const name of victims) {
      if (this.#target.isAlive(name)) how === 'kill' ? this.#target.kill(name) : this.#target.powerLoss(name)
      this.reviveLater(name, random)
    }
    const who = victims.length === 1 ? victims[0] : 'everything'
    return how === 'kill' ? `${who} is killed` : `${who} loses power`
  }

  kill(name: string, random: SeededRandom): void {
    this.#down('kill', [name], random)
  }

  /** Down and up again at once: what it promised a moment ago must be on its disk. */
  #bounce(victim: string, random: SeededRandom): string | undefined {
    if (!this.#target.isAlive(victim)) return undefined
    const isKill = random.next() < 0.5
    if (isKill) this.#target.kill(victim)
    else this.#target.powerLoss(victim)
    this.#world.schedule(random.next() * bounceMsMax, undefined, 'bounce', () => this.#revive(victim))
    return `${victim} ${isKill ? 'is killed' : 'loses power'} and comes back at once`
  }

  #pause({ random, victim, durationMs }: Fault): string | undefined {
    if (!this.#target.isAlive(victim)) return undefined
    const clock = random.next() < 0.5 ? 'frozen' : 'running'
    this.#target.pause(victim, durationMs, clock)
    return `${victim} pauses for ${Math.round(durationMs)} ms, its clock ${clock === 'frozen' ? 'stands still' : 'goes on'}`
  }

  #partition({ random, victim, durationMs }: Fault): string {
    const shape = partitionShapes[random.below(partitionShapes.length)] ?? 'halves'
    const mode = random.next() < 0.5 ? 'stall' : 'refuse'
    // Clients stand on one side as machines do, in some.
    const names = random.next() < 0.3 ? this.#network.names : this.#target.names
    const links = cutLinks(shape, names, victim, random)
    this.later('heal', durationMs, this.#network.hold(links, mode))
    const shown = links.slice(0, 12).map(([from, to]) => `${from}>${to}`)
    return `partition (${shape} of ${victim}, ${mode}) for ${Math.round(durationMs)} ms: ${shown.join(' ')}${links.length > 12 ? ` and ${links.length - 12} more` : ''}`
  }

  #disturb({ kind, random, victim, durationMs }: Fault): string {
    if (kind === 'clog') {
      const others = this.#target.names.filter((name) => name !== victim && random.next() < 0.5)
      for (const other of others) this.#network.clog(victim, other, durationMs)
      return `from ${victim} to ${others.join(', ')} nothing arrives for ${Math.round(durationMs)} ms`
    }
    const slow = 10 + random.next() * 60
    const conditions: Partial<LinkConditions> =
      kind === 'flaky'
        ? { lossProbability: random.next() * 0.3, duplicateProbability: random.next() * 0.5, reorderProbability: random.next() * 0.3 }
        : { leastDelayMs: slow / 4, mostDelayMs: slow * 2 }
    this.#network.setAllConditions(conditions)
    this.later('calm', durationMs, () => this.#network.setAllConditions(kind === 'flaky' ? calm : usualDelays))
    return `${kind} for ${Math.round(durationMs)} ms: ${JSON.stringify(conditions, (_, value) => (typeof value === 'number' ? Math.round(value * 100) / 100 : value))}`
  }

  /**
   * Cuts off or kills one leader after the other, each a moment after its election, and brings it back when the next one goes. So entries of
   * several terms stay replicated in part, and who counts them wrongly commits what a later leader takes back (Raft, Figure 8).
   */
  #depose(round: object, left: number, random: SeededRandom, pick: number, before: Deposed | undefined): void {
    const end = () => {
      this.#deposing = undefined
      this.#network.setAllConditions(usualDelays)
      before?.mend()
    }
    if (left === 0) {
      end()
      return
    }
    this.#whenElected(round, pick, before?.name, (leader) => {
      if (leader === undefined) {
        end()
        return
      }
      const reignMs = random.next() * (random.next() < 0.5 ? noReignMsMax : reignMsMax)
      this.#world.schedule(reignMs, undefined, 'depose', () => {
        if (this.#deposing !== round) return
        before?.mend()
        this.#depose(round, left - 1, random, pick, { name: leader, mend: this.#cutOff(leader, random) })
      })
    })
  }

  /** Calls `then` once, if the round still lasts: with the first leader that is not `before`, or undefined when there was none for too long. */
  #whenElected(round: object, pick: number, before: string | undefined, then: (leader: string | undefined) => void): void {
    const untilMs = this.#world.nowMs + interregnumMsMax
    const stop = this.#world.observe(() => {
      const leader = this.#target.leader(pick)
      const isElected = leader !== undefined && leader !== before
      if (!isElected && this.#deposing === round && this.#world.nowMs <= untilMs) return
      stop()
      this.#world.schedule(0, undefined, 'who leads is known', () => {
        if (this.#deposing === round) then(isElected ? leader : undefined)
      })
    })
  }

  /** Returns what brings it back. */
  #cutOff(name: string, random: SeededRandom): () => void {
    if (random.next() < 0.75) {
      const links = cutLinks('one', this.#network.names, name, random)
      return this.#network.hold(links, random.next() < 0.5 ? 'stall' : 'refuse')
    }
    if (this.#target.isAlive(name)) this.#target.kill(name)
    return () => this.#revive(name)
  }

  later(what: string, delayMs: number, action: () => void): void {
    this.#world.schedule(delayMs, undefined, what, () => {
      if (this.#running) action()
    })
  }

  reviveLater(name: string, random: SeededRandom): void {
    this.#world.schedule(random.next() * this.#options.deadMsMax, undefined, 'revive', () => this.#revive(name))
  }

  #revive(name: string): void {
    if (this.#target.isAlive(name) || this.#broken.includes(name) || this.#target.mayRevive?.(name) === false) return
    this.#target.restart(name)
  }
}
