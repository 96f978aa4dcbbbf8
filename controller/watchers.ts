import type { Clock, Timer } from '../base/clock.ts'
import { type CallContext, type Method, type Stream, type StreamHandlers, type StreamRoute, streamRoute } from '../base/transport.ts'
import { encodeConfig } from '../proto/config.ts'
import { encodeDirectory } from '../proto/directory.ts'
import { pb } from '../proto/messages.ts'
import { controllerMethods } from '../proto/methods.ts'
import type { ConfigState } from './config-state.ts'

/** How often a watcher hears that its controller lives. */
const keepaliveMs = 2000
/** A watcher further behind gets the whole config. */
const differencesMax = 64
const watchersMax = 10_000

interface Watcher {
  readonly stream: Stream<Uint8Array>
  readonly listener: string
  /** Config number sent; -1: send the whole one. */
  config: number
  /** Directory version sent. */
  directory: number
  /** Version of the migrations sent; Infinity: it did not ask for them. */
  migrations: number
  /** Whether it has said what it knows. */
  started: boolean
  /** Whether its stream takes more. What it misses meanwhile goes out as one update. */
  blocked: boolean
  /** Whether anything was sent since the last keepalive. */
  spoken: boolean
}

/** The reply is given as bytes, so that what goes to many is encoded once. */
const watchMethod: Method<pb.v1.WatchRequest, Uint8Array> = {
  ...controllerMethods.watch,
  response: { encode: (bytes) => bytes, decode: (bytes) => bytes },
}

/** The watch streams of one controller, fed from its applied state whether it leads or not. */
export class Watchers {
  readonly route: StreamRoute<pb.v1.WatchRequest, Uint8Array> = streamRoute(watchMethod, (stream, context) => this.#accept(stream, context))
  readonly #getState: () => ConfigState
  readonly #clock: Clock
  readonly #watchers = new Set<Watcher>()
  /** Encoded updates to the present state, by what the watcher knows. */
  readonly #encoded = new Map<string, Uint8Array>()
  #encodedFor = ''
  #scheduled = false
  #keepalive: Timer | undefined

  constructor(getState: () => ConfigState, clock: Clock) {
    this.#getState = getState
    this.#clock = clock
  }

  get #state(): ConfigState {
    return this.#getState()
  }

  get count(): number {
    return this.#watchers.size
  }

  /** The state has changed: each watcher is told once this turn is over. */
  changed(): void {
    if (this.#scheduled || this.#watchers.size === 0) return
    this.#scheduled = true
    this.#clock.soon(() => {
      this.#scheduled = false
      for (const watcher of this.#watchers) this.#push(watcher)
    })
  }

  close(): void {
    this.#keepalive?.cancel()
    for (const { stream } of [...this.#watchers]) stream.end()
    this.#watchers.clear()
  }

  #accept(stream: Stream<Uint8Array>, context: CallContext): StreamHandlers<pb.v1.WatchRequest> {
    const watcher: Watcher = {
      stream,
      listener: context.listener,
      config: -1,
      directory: 0,
      migrations: Number.POSITIVE_INFINITY,
      started: false,
      blocked: false,
      spoken: false,
    }
    if (this.#watchers.size >= watchersMax) stream.end()
    else this.#watchers.add(watcher)
    if (this.#watchers.size === 1) this.#scheduleKeepalive()
    return {
      onMessage: (request) => {
        if (watcher.started) return
        watcher.started = true
        watcher.config = request.knownNumber === 0 ? -1 : request.knownNumber
        watcher.directory = request.knownDirectory
        if (request.migrations) watcher.migrations = 0
        this.#push(watcher)
      },
      onDrain: () => {
        watcher.blocked = false
        this.#push(watcher)
      },
      onEnd: () => {
        this.#watchers.delete(watcher)
      },
    }
  }

  #push(watcher: Watcher): void {
    const { config, directory, migrations } = this.#state
    if (config === undefined || !watcher.started || watcher.blocked || watcher.stream.closed) return
    const isCurrent = config.number <= watcher.config && directory.version <= watcher.directory && migrations.version <= watcher.migrations
    if (isCurrent) return
    watcher.blocked = !watcher.stream.write(this.#update(watcher, `${config.number} ${directory.version} ${migrations.version}`))
    watcher.spoken = true
    watcher.config = Math.max(watcher.config, config.number)
    watcher.directory = Math.max(watcher.directory, directory.version)
    watcher.migrations = Math.max(watcher.migrations, migrations.version)
  }

  #update(watcher: Watcher, present: string): Uint8Array {
    if (this.#encodedFor !== present) this.#encoded.clear()
    this.#encodedFor = present
    const lacksMigrations = watcher.migrations < this.#state.migrations.version
    const key = `${watcher.config} ${watcher.directory} ${lacksMigrations} ${watcher.listener}`
    const known = this.#encoded.get(key)
    if (known !== undefined) return known
    const bytes = pb.v1.WatchUpdate.encode(this.#message(watcher)).finish()
    this.#encoded.set(key, bytes)
    return bytes
  }

  #message(watcher: Watcher): pb.v1.WatchUpdate.$Properties {
    const { config, directory, recent, migrations } = this.#state
    const update: pb.v1.WatchUpdate.$Properties = { clusterId: this.#state.clusterId }
    if (config !== undefined && config.number > watcher.config) {
      const behind = config.number - watcher.config
      if (watcher.config >= 0 && behind <= Math.min(differencesMax, recent.length)) update.differences = recent.slice(-behind)
      else update.config = encodeConfig(config)
    }
    if (directory.version > watcher.directory) update.directory = encodeDirectory(directory, watcher.listener, watcher.directory)
    if (migrations.version > watcher.migrations) update.migrations = migrations.list()
    return update
  }

  #scheduleKeepalive(): void {
    this.#keepalive?.cancel()
    this.#keepalive = this.#clock.setTimer(keepaliveMs, () => {
      const bytes = pb.v1.WatchUpdate.encode({ clusterId: this.#state.clusterId }).finish()
      for (const watcher of this.#watchers) {
        if (!watcher.spoken && !watcher.blocked) watcher.blocked = !watcher.stream.write(bytes)
        watcher.spoken = false
      }
      if (this.#watchers.size > 0) this.#scheduleKeepalive()
    })
  }
}
