/**
 * The network between the world's processes: directed links with delays, faults on messages of lossy methods, cuts and clogs, and the
 * connections that live on them. What travels are encoded bytes. A link belongs to two names and outlives their processes.
 */
import { must } from '../../base/assert.ts'
import type { SeededRandom } from '../../base/random.ts'
import { type SimConnection, unavailable } from './sim-connection.ts'
import type { SimProcess } from './sim-process.ts'
import type { ListenerBinding } from './sim-transport.ts'
import type { World } from './world.ts'

/** What a link does to messages. Probabilities apply only to what the server sends on methods marked `lossy`; all else keeps order and loses nothing. */
export interface LinkConditions {
  readonly leastDelayMs: number
  readonly mostDelayMs: number
  readonly lossProbability: number
  readonly duplicateProbability: number
  /** A reordered message waits up to `reorderMs` longer and others pass it. */
  readonly reorderProbability: number
  readonly reorderMs: number
  /** Bandwidth; infinite by default. */
  readonly bytesPerMs: number
}

/** Of a link that nobody disturbs. */
export const CONDITIONS: LinkConditions = {
  leastDelayMs: 0.1,
  mostDelayMs: 1,
  lossProbability: 0,
  duplicateProbability: 0,
  reorderProbability: 0,
  reorderMs: 50,
  bytesPerMs: Number.POSITIVE_INFINITY,
}

/** 'stall': packets vanish, so messages wait, and after a while the connection breaks. 'refuse': every packet is answered by a reset. */
export type CutMode = 'stall' | 'refuse'

export interface NetworkOptions {
  readonly conditions?: Partial<LinkConditions>
  /** How long a connection outlives a stalled link: drawn from [leastBreakMs, mostBreakMs). */
  readonly leastBreakMs?: number
  readonly mostBreakMs?: number
  /** Bytes under way in one stream past which `write` returns false. */
  readonly windowBytes?: number
}

/** Hears each message that a caller sends: the method's path, the address, the encoded message, which must not be kept or changed. */
export type Overhearer = (path: string, address: string, bytes: Uint8Array) => void

/** One direction between two names. */
export class Link {
  conditions: LinkConditions
  cut: CutMode | undefined
  /** Counts cuts, so that a late check knows whether it is still the same one. */
  cutNumber = 0
  /** Who holds it cut: see `SimNetwork.hold`. */
  readonly holders = new Set<object>()
  cloggedUntilMs = 0

  constructor(conditions: LinkConditions) {
    this.conditions = conditions
  }
}

export class SimNetwork {
  readonly world: World
  readonly windowBytes: number
  readonly #random: SeededRandom
  readonly #leastBreakMs: number
  readonly #mostBreakMs: number
  #conditions: LinkConditions
  readonly #processes = new Map<string, SimProcess>()
  readonly #links = new Map<string, Link>()
  /** Who listens where; an entry of a dead process stays until its successor listens, to know which link leads there. */
  readonly #bindings = new Map<string, ListenerBinding>()
  readonly #connections = new Set<SimConnection>()
  #nextPort = 20_000
  #overhearer: Overhearer | undefined

  constructor(world: World, options: NetworkOptions = {}) {
    this.world = world
    this.#random = world.random.fork()
    this.windowBytes = options.windowBytes ?? 1 << 20
    this.#leastBreakMs = options.leastBreakMs ?? 1_000
    this.#mostBreakMs = options.mostBreakMs ?? 5_000
    this.#conditions = { ...CONDITIONS, ...options.conditions }
  }

  /** Names of all processes that ever were, in the order in which they came. */
  get names(): string[] {
    return [...this.#processes.keys()]
  }

  /** The newest incarnation. */
  process(name: string): SimProcess | undefined {
    return this.#processes.get(name)
  }

  get openConnections(): number {
    return this.#connections.size
  }

  // Faults. Names that are not there yet may be given.

  link(from: string, to: string): Link {
    const key = `${from}>${to}`
    let link = this.#links.get(key)
    if (link === undefined) this.#links.set(key, (link = new Link(this.#conditions)))
    return link
  }

  /** For one direction. */
  setConditions(from: string, to: string, conditions: Partial<LinkConditions>): void {
    const link = this.link(from, to)
    link.conditions = { ...link.conditions, ...conditions }
  }

  /** For all links, those to come included. */
  setAllConditions(conditions: Partial<LinkConditions>): void {
    this.#conditions = { ...this.#conditions, ...conditions }
    for (const link of this.#links.values()) link.conditions = { ...link.conditions, ...conditions }
  }

  /** Cuts one direction. A process still reaches itself. */
  cut(from: string, to: string, mode: CutMode = 'stall'): void {
    if (from === to) return
    const link = this.link(from, to)
    link.cut = mode
    const number = ++link.cutNumber
    if (mode === 'refuse') this.#breakBetween(from, to, 'reset')
    else {
      this.world.schedule(this.drawBreakMs(), undefined, 'link times out', () => {
        if (link.cut === 'stall' && link.cutNumber === number) this.#breakBetween(from, to, 'timed out')
      })
    }
  }

  /** Mends one direction; what was stalled goes on. */
  mend(from: string, to: string): void {
    const link = this.link(from, to)
    if (link.cut === undefined) return
    link.cut = undefined
    link.cutNumber++
    for (const connection of this.#connections) connection.linkMended(from, to)
  }

  cutBoth(a: string, b: string, mode: CutMode = 'stall'): void {
    this.cut(a, b, mode)
    this.cut(b, a, mode)
  }

  /** Nothing passes between two sides; names in none of them reach all. */
  partition(sides: readonly (readonly string[])[], mode: CutMode = 'stall'): void {
    for (const [index, side] of sides.entries()) {
      for (const other of sides.slice(index + 1)) for (const a of side) for (const b of other) this.cutBoth(a, b, mode)
    }
  }

  /** One against all others. */
  isolate(name: string, mode: CutMode = 'stall'): void {
    for (const other of this.names) this.cutBoth(name, other, mode)
  }

  /** Two sides that reach each other only by way of `middle`, who reaches all. */
  bridge(left: readonly string[], right: readonly string[], middle: string, mode: CutMode = 'stall'): void {
    const without = (side: readonly string[]) => side.filter((name) => name !== middle)
    this.partition([without(left), without(right)], mode)
  }

  /** Nothing from `from` reaches `to`; the other way is open. */
  oneWay(from: readonly string[], to: readonly string[], mode: CutMode = 'stall'): void {
    for (const a of from) for (const b of to) this.cut(a, b, mode)
  }

  /** One direction delivers nothing for `durationMs`, but breaks nothing. */
  clog(from: string, to: string, durationMs: number): void {
    this.link(from, to).cloggedUntilMs = this.world.nowMs + durationMs
  }

  /** Cuts links, each a direction, until what it returns is called; one that others hold cut, too, stays so until the last of them lets go. */
  hold(links: readonly (readonly [from: string, to: string])[], mode: CutMode = 'stall'): () => void {
    const holder = {}
    for (const [from, to] of links) {
      if (from === to) continue
      this.link(from, to).holders.add(holder)
      this.cut(from, to, mode)
    }
    return () => {
      for (const [from, to] of links) {
        const { holders } = this.link(from, to)
        if (holders.delete(holder) && holders.size === 0) this.mend(from, to)
      }
    }
  }

  /** Mends all links and ends all clogs; conditions stay. */
  heal(): void {
    for (const [key, link] of this.#links) {
      link.cloggedUntilMs = 0
      link.holders.clear()
      const [from, to] = key.split('>')
      this.mend(must(from, 'a name'), must(to, 'a name'))
    }
  }

  /** Tells `overhearer` of every message that a caller sends from now on. */
  overhear(overhearer: Overhearer | undefined): void {
    this.#overhearer = overhearer
  }

  // What transports and connections need.

  sent(path: string, address: string, bytes: Uint8Array): void {
    this.#overhearer?.(path, address, bytes)
  }

  attach(process: SimProcess): void {
    this.#processes.set(process.name, process)
  }

  processDied(process: SimProcess, how: 'killed' | 'vanished'): void {
    for (const connection of [...this.#connections]) connection.processDied(process, how)
  }

  add(connection: SimConnection): void {
    this.#connections.add(connection)
  }

  remove(connection: SimConnection): void {
    this.#connections.delete(connection)
  }

  bindingAt(address: string): ListenerBinding | undefined {
    return this.#bindings.get(address)
  }

  /** Binds, and returns the address with a port; undefined where somebody alive listens. */
  bind(binding: ListenerBinding, address: string): string | undefined {
    const bound = address.endsWith(':0') ? `${address.slice(0, -1)}${this.#nextPort++}` : address
    const old = this.#bindings.get(bound)
    if (old?.isOpen) return undefined
    this.#bindings.set(bound, binding)
    return bound
  }

  drawDelayMs(link: Link): number {
    const { leastDelayMs, mostDelayMs } = link.conditions
    return leastDelayMs + this.#random.next() * (mostDelayMs - leastDelayMs)
  }

  drawBreakMs(): number {
    return this.#leastBreakMs + this.#random.next() * (this.#mostBreakMs - this.#leastBreakMs)
  }

  draw(probability: number): boolean {
    return probability > 0 && this.#random.next() < probability
  }

  drawUpTo(most: number): number {
    return this.#random.next() * most
  }

  #breakBetween(from: string, to: string, why: string): void {
    for (const connection of [...this.#connections]) {
      if (connection.isBetween(from, to)) connection.break(unavailable(`connection to ${connection.address} ${why}`))
    }
  }
}
