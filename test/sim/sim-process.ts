/**
 * A process of the world: one incarnation of a named machine, with its own clock, random numbers, files, transport, executor and logger. After
 * `kill` nothing of it ever runs again: no timer fires, no promise of its seams is settled. `restart` makes the next incarnation on the same disk.
 */
import { assert } from '../../base/assert.ts'
import type { JobRegistry } from '../../base/executor.ts'
import type { Logger } from '../../base/logger.ts'
import type { SeededRandom } from '../../base/random.ts'
import type { EventOwner, WorldEvent } from './event-queue.ts'
import { type ClockOptions, SimClock } from './sim-clock.ts'
import { type DiskOptions, SimDisk } from './sim-disk.ts'
import { SimExecutor } from './sim-executor.ts'
import { SimFileSystem } from './sim-file-system.ts'
import type { SimNetwork } from './sim-network.ts'
import { SimTransport } from './sim-transport.ts'
import { hashText } from './trace.ts'
import type { LogLine, World } from './world.ts'

export interface ProcessOptions {
  /** Also its name in the network. */
  readonly name: string
  readonly network: SimNetwork
  /** Jobs for its executor; none if not given. */
  readonly jobs?: JobRegistry
  /** Its disk, or how to make one. */
  readonly disk?: SimDisk | DiskOptions
  /** The monotonic clock starts anywhere if no offset is given. */
  readonly clock?: ClockOptions
}

export class SimProcess implements EventOwner {
  readonly world: World
  readonly name: string
  /** 1, 2, … of this name. */
  readonly incarnation: number
  readonly traceId: number
  readonly network: SimNetwork
  readonly disk: SimDisk
  /** For the process under test. */
  readonly random: SeededRandom
  /** For the world's draws about this process (delays and the like), so that they do not shift what the process draws. */
  readonly worldRandom: SeededRandom
  readonly clock: SimClock
  readonly fileSystem: SimFileSystem
  readonly transport: SimTransport
  readonly executor: SimExecutor
  readonly logger: Logger
  readonly #options: ProcessOptions
  #alive = true
  #pausedSinceMs: number | undefined
  #clockFreezes = true
  /** All the time in which its clock stood still. */
  #frozenMs = 0
  #piled: WorldEvent[] = []
  #resumeEvent: WorldEvent | undefined
  readonly #deathWatchers: (() => void)[] = []

  constructor(world: World, options: ProcessOptions, incarnation = 1) {
    this.world = world
    this.name = options.name
    this.incarnation = incarnation
    this.traceId = hashText(`${options.name}#${incarnation}`)
    this.network = options.network
    this.#options = options
    this.random = world.random.fork()
    this.worldRandom = world.random.fork()
    this.disk = options.disk instanceof SimDisk ? options.disk : new SimDisk(world.random.fork(), options.disk)
    this.clock = new SimClock(
      {
        runningMs: () => this.#runningMs(),
        worldMs: () => world.nowMs,
        schedule: (delayMs, what, callback) => world.schedule(delayMs, this, what, callback),
      },
      { monotonicOffsetMs: this.worldRandom.below(1_000_000), ...options.clock },
    )
    this.fileSystem = new SimFileSystem(this, this.disk)
    this.transport = new SimTransport(this, options.network)
    this.executor = new SimExecutor(this, options.jobs ?? {})
    this.logger = simLogger(world, options.name, {})
    options.network.attach(this)
  }

  get alive(): boolean {
    return this.#alive
  }

  get paused(): boolean {
    return this.#pausedSinceMs !== undefined
  }

  /** An event of this process: dropped when it is dead by then, kept while it is paused. */
  schedule(delayMs: number, what: string, callback: () => void): WorldEvent {
    return this.world.schedule(delayMs, this, what, callback)
  }

  admits(event: WorldEvent): boolean {
    if (!this.#alive) return false
    if (this.#pausedSinceMs === undefined) return true
    this.#piled.push(event)
    return false
  }

  /** kill -9: what was written stays (the page cache outlives the process), sockets break. */
  kill(): void {
    if (!this.#alive) return
    this.#die()
    this.fileSystem.interrupt()
    this.network.processDied(this, 'killed')
    for (const watcher of this.#deathWatchers) watcher()
  }

  /** The machine loses power: the disk keeps what was synced and a random part of the rest; nobody is told that the sockets are dead. */
  powerLoss(): void {
    if (!this.#alive) return
    this.#die()
    this.fileSystem.interrupt()
    this.disk.crash()
    this.network.processDied(this, 'vanished')
    for (const watcher of this.#deathWatchers) watcher()
  }

  /** The next incarnation, on the same disk. This one must be dead. */
  restart(changes: Partial<Omit<ProcessOptions, 'name' | 'network'>> = {}): SimProcess {
    assert(!this.#alive, `${this.name} lives`)
    return new SimProcess(this.world, { ...this.#options, ...changes, disk: changes.disk ?? this.disk }, this.incarnation + 1)
  }

  /**
   * Stops for `durationMs` of virtual time: what comes due or arrives piles up and runs, in order, when it goes on. 'frozen': its clock stands still
   * meanwhile (a stopped virtual machine); 'running': it sees the time that it lost (SIGSTOP).
   */
  pause(durationMs: number, clock: 'frozen' | 'running' = 'frozen'): void {
    assert(this.#alive, `${this.name} is dead`)
    if (this.#pausedSinceMs !== undefined) return
    this.#pausedSinceMs = this.world.nowMs
    this.#clockFreezes = clock === 'frozen'
    this.#resumeEvent = this.world.schedule(durationMs, undefined, `resume ${this.name}`, () => this.resume())
  }

  resume(): void {
    if (this.#pausedSinceMs === undefined || !this.#alive) return
    if (this.#clockFreezes) this.#frozenMs += this.world.nowMs - this.#pausedSinceMs
    this.#pausedSinceMs = undefined
    this.#resumeEvent?.cancel()
    const piled = this.#piled
    this.#piled = []
    this.world.requeue(piled)
  }

  /** Called once, in the event in which the process dies. */
  onDeath(callback: () => void): void {
    this.#deathWatchers.push(callback)
  }

  #die(): void {
    this.#alive = false
    this.#piled = []
    this.#resumeEvent?.cancel()
  }

  #runningMs(): number {
    const frozenNowMs = this.#pausedSinceMs !== undefined && this.#clockFreezes ? this.world.nowMs - this.#pausedSinceMs : 0
    return this.world.nowMs - this.#frozenMs - frozenNowMs
  }
}

/** Collects into `world.logLines`. */
function simLogger(world: World, process: string, bound: object): Logger {
  const log = (level: LogLine['level']) => (fields: object, message: string) =>
    world.log({ atMs: world.nowMs, process, level, fields: { ...bound, ...fields }, message })
  return {
    debug: log('debug'),
    info: log('info'),
    warn: log('warn'),
    error: log('error'),
    child: (fields) => simLogger(world, process, { ...bound, ...fields }),
  }
}
