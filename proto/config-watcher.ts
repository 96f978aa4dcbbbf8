import { equalBytes, toHex } from '../base/bytes.ts'
import type { Clock, Timer } from '../base/clock.ts'
import type { Logger } from '../base/logger.ts'
import type { Random } from '../base/random.ts'
import type { Channel, Stream, Transport } from '../base/transport.ts'
import { type Config, decodeConfig } from './config.ts'
import { applyDifferences } from './config-difference.ts'
import { type Directory, emptyDirectory } from './directory.ts'
import { OstrakaError } from './errors.ts'
import type { pb } from './messages.ts'
import { controllerMethods } from './methods.ts'
import { type MigrationList, mergeMigrationList, noMigrations } from './migration-list.ts'

export interface ConfigWatcherParts {
  readonly transport: Transport
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  /** HOST:PORT of the controllers, at least one. */
  readonly addresses: readonly string[]
  /** Also keep what groups may have to act upon: for nodes. */
  readonly migrations?: boolean
}

const firstBackoffMs = 50
const backoffMsMax = 1000
/** Controllers speak at least every 2 s: one that is silent for so long is not there. */
const silenceMs = 6000
/** Who waits for a config that this controller does not bring in so long a time has another one asked. */
const patienceMs = 500

interface Waiter {
  readonly number: number
  readonly resolve: (config: Config) => void
  readonly reject: (error: OstrakaError) => void
  readonly timer: Timer
}

/**
 * Keeps the newest config and node directory: one watch stream to some controller, resumed from what is known on another when it breaks or
 * falls silent. Never goes back to an older config, nor to another cluster.
 */
export class ConfigWatcher {
  readonly #parts: ConfigWatcherParts
  readonly #logger: Logger
  readonly #listeners = new Set<() => void>()
  readonly #waiters = new Set<Waiter>()
  #config: Config | undefined
  #directory: Directory = emptyDirectory
  #migrations: MigrationList = noMigrations
  #clusterId: Uint8Array | undefined
  #channel: Channel | undefined
  #stream: Stream<pb.v1.WatchRequest.$Properties> | undefined
  /** Counts connections: what an earlier one still says is not heard. */
  #connection = 0
  #next: number
  #failures = 0
  #silence: Timer | undefined
  #retry: Timer | undefined
  #patience: Timer | undefined
  #state: 'new' | 'running' | 'closed' = 'new'

  constructor(parts: ConfigWatcherParts) {
    if (parts.addresses.length === 0) throw new OstrakaError('INVALID_ARGUMENT', 'no controller address given', true)
    this.#parts = parts
    this.#logger = parts.logger
    this.#next = parts.random.below(parts.addresses.length)
  }

  /** The newest config seen; undefined before the first. */
  get config(): Config | undefined {
    return this.#config
  }

  get directory(): Directory {
    return this.#directory
  }

  /** The newest list of migrations seen; version 0 before the first, and where they were not asked for. */
  get migrations(): MigrationList {
    return this.#migrations
  }

  /** The cluster that is watched; undefined before the first answer. */
  get clusterId(): Uint8Array | undefined {
    return this.#clusterId
  }

  start(): void {
    if (this.#state !== 'new') return
    this.#state = 'running'
    this.#connect()
  }

  /** Calls `listener` after each change of config, directory or migrations, until the returned function is called. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  /** A config that came by another way (a registration's answer, another node). Taken if it is newer. */
  offer(config: Config, directory?: Directory): void {
    const newer = this.#config === undefined || config.number > this.#config.number
    const moved = directory !== undefined && directory.version > this.#directory.version
    if (newer) this.#config = config
    if (moved) this.#directory = directory
    if (newer || moved) this.#tell()
  }

  /** The first config with at least this number. Rejects with UNAVAILABLE after `timeoutMs`, CANCELLED at `close`. */
  atLeast(number: number, timeoutMs: number): Promise<Config> {
    if (this.#config !== undefined && this.#config.number >= number) return Promise.resolve(this.#config)
    if (this.#state === 'closed') return Promise.reject(new OstrakaError('CANCELLED', 'the config watcher was closed', true))
    return new Promise((resolve, reject) => {
      const timer = this.#parts.clock.setTimer(timeoutMs, () => {
        this.#waiters.delete(waiter)
        const controllers = this.#parts.addresses.join(', ')
        const text = `config ${number} did not come within ${timeoutMs} ms (have ${this.#config?.number ?? 'none'}; controllers ${controllers})`
        reject(new OstrakaError('UNAVAILABLE', text, true))
      })
      const waiter: Waiter = { number, resolve, reject, timer }
      this.#waiters.add(waiter)
      this.#watchPatience()
    })
  }

  close(): void {
    this.#state = 'closed'
    this.#disconnect()
    this.#retry?.cancel()
    this.#patience?.cancel()
    for (const waiter of this.#waiters) {
      waiter.timer.cancel()
      waiter.reject(new OstrakaError('CANCELLED', 'the config watcher was closed', true))
    }
    this.#waiters.clear()
    this.#listeners.clear()
  }

  #connect(): void {
    const connection = ++this.#connection
    const address = this.#parts.addresses[this.#next % this.#parts.addresses.length] ?? ''
    this.#next++
    this.#channel = this.#parts.transport.connect(address)
    this.#listenForSilence(connection)
    const stream = this.#channel.stream(controllerMethods.watch, {
      onMessage: (update) => {
        if (connection === this.#connection) this.#handle(update, connection, address)
      },
      onEnd: (error) => {
        if (connection === this.#connection) this.#reconnect(address, error?.message ?? 'the stream ended')
      },
    })
    if (connection !== this.#connection) return
    this.#stream = stream
    // Answered by a whole config where nothing is known.
    stream.write({
      knownNumber: this.#config?.number ?? 0,
      knownDirectory: this.#directory.version,
      migrations: this.#parts.migrations ?? false,
      knownMigrations: this.#migrations.version,
    } as pb.v1.WatchRequest)
  }

  #disconnect(): void {
    this.#connection++
    this.#silence?.cancel()
    this.#stream?.end()
    this.#stream = undefined
    this.#channel?.close()
    this.#channel = undefined
  }

  #reconnect(address: string, why: string): void {
    this.#logger.debug({ controller: address, why }, 'config watch broken')
    this.#disconnect()
    const delayMs = Math.min(backoffMsMax, firstBackoffMs * 2 ** Math.min(this.#failures, 10))
    this.#failures++
    this.#retry?.cancel()
    this.#retry = this.#parts.clock.setTimer(delayMs * (0.5 + this.#parts.random.next()), () => {
      if (this.#state === 'running') this.#connect()
    })
  }

  #listenForSilence(connection: number): void {
    this.#silence?.cancel()
    this.#silence = this.#parts.clock.setTimer(silenceMs, () => {
      if (connection !== this.#connection) return
      this.#reconnect('', 'silent')
    })
  }

  #handle(update: pb.v1.WatchUpdate, connection: number, address: string): void {
    this.#listenForSilence(connection)
    if (!this.#isOurCluster(update.clusterId, address)) return
    try {
      if (this.#take(update)) this.#tell()
      this.#failures = 0
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      // Ours may be a config that this controller never had; asking anew brings what fits, or a whole one.
      this.#logger.warn({ controller: address, error: error.message }, 'config update does not fit')
      this.#reconnect(address, error.message)
    }
  }

  #isOurCluster(id: Uint8Array, address: string): boolean {
    if (id.length === 0) return true
    this.#clusterId ??= Uint8Array.from(id)
    if (equalBytes(id, this.#clusterId)) return true
    this.#logger.error({ controller: address, theirs: toHex(id), ours: toHex(this.#clusterId) }, 'controller of another cluster')
    this.#reconnect(address, 'another cluster')
    return false
  }

  /** Whether anything was new. */
  #take(update: pb.v1.WatchUpdate): boolean {
    let config = this.#config
    if (update.config) {
      const whole = decodeConfig(update.config)
      if (config === undefined || whole.number > config.number) config = whole
    }
    if (update.differences.length > 0) {
      const known = config?.number
      if (config === undefined || known === undefined) throw new RangeError('a difference before any config')
      config = applyDifferences(
        config,
        update.differences.filter(({ to }) => (to?.number ?? 0) > known),
      )
    }
    const directory = update.directory ? this.#directory.merge(update.directory) : this.#directory
    // A controller that is behind does not bring back what has ended.
    const migrations = update.migrations ? mergeMigrationList(this.#migrations, update.migrations) : this.#migrations
    const changed = config !== this.#config || directory !== this.#directory || migrations !== this.#migrations
    this.#config = config
    this.#directory = directory
    this.#migrations = migrations
    return changed
  }

  #tell(): void {
    const config = this.#config
    for (const waiter of this.#waiters) {
      if (config === undefined || config.number < waiter.number) continue
      this.#waiters.delete(waiter)
      waiter.timer.cancel()
      waiter.resolve(config)
    }
    for (const listener of [...this.#listeners]) listener()
  }

  /** A controller may be cut off from the others and not know it: while somebody waits, ask around. */
  #watchPatience(): void {
    this.#patience ??= this.#parts.clock.setTimer(patienceMs, () => {
      this.#patience = undefined
      if (this.#waiters.size === 0 || this.#state !== 'running') return
      if (this.#channel !== undefined && this.#parts.addresses.length > 1) this.#reconnect('', 'does not bring the config waited for')
      this.#watchPatience()
    })
  }
}
