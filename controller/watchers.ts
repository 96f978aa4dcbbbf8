import { emptyBytes } from '../base/bytes.ts'
import type { Clock, Timer } from '../base/clock.ts'
import { type CallContext, type Method, type Stream, type StreamHandlers, type StreamRoute, streamRoute } from '../base/transport.ts'
import { type Config, encodeConfig } from '../proto/config.ts'
import { type ConfigDifference, squash } from '../proto/config-difference.ts'
import { encodeDirectory } from '../proto/directory.ts'
import { pb } from '../proto/messages.ts'
import { controllerMethods } from '../proto/methods.ts'
import type { ConfigState } from './config-state.ts'
import { Rounds } from './rounds.ts'

/** How often a watcher hears that its controller lives, and is in touch with the others: one that is not has no news, and is to be left. */
const keepaliveMs = 2000
/** A difference larger than this is told as the whole config, if that is smaller. */
const smallBytes = 4096
const watchersMax = 10_000

interface Watcher {
  readonly stream: Stream<Uint8Array>
  readonly listener: string
  /** Config number sent; -1: send the whole one. */
  config: number
  /** Directory version sent. */
  directory: number
  /** Version of the list of migrations sent; Infinity: it did not ask for it. */
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
  readonly #isInTouch: () => boolean
  readonly #watchers = new Set<Watcher>()
  /** Encoded updates to the present state, by what the watcher knows. */
  readonly #encoded = new Map<string, Uint8Array>()
  #encodedFor = ''
  readonly #news: Rounds<Watcher>
  readonly #signs: Rounds<Watcher>
  #keepalive: Timer | undefined
  /** Of life, encoded. */
  #sign: Uint8Array = emptyBytes

  /** `isInTouch`: whether a leader is known here. */
  constructor(getState: () => ConfigState, clock: Clock, isInTouch: () => boolean) {
    this.#getState = getState
    this.#clock = clock
    this.#isInTouch = isInTouch
    this.#news = new Rounds(this.#watchers, clock, (watcher) => this.#push(watcher))
    this.#signs = new Rounds(this.#watchers, clock, (watcher) => this.#giveSign(watcher))
  }

  get #state(): ConfigState {
    return this.#getState()
  }

  get count(): number {
    return this.#watchers.size
  }

  /** The state has changed: watchers are told from the end of this turn on. Who is told later than the next change gets both at once. */
  changed(): void {
    if (this.#watchers.size > 0) this.#news.want()
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
        if (request.migrations) watcher.migrations = request.knownMigrations
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
    const migrations = Math.min(watcher.migrations, this.#state.migrations.version)
    const key = `${watcher.config} ${watcher.directory} ${migrations} ${watcher.listener}`
    const known = this.#encoded.get(key)
    if (known !== undefined) return known
    const bytes = pb.v1.WatchUpdate.encode(this.#message(watcher)).finish()
    this.#encoded.set(key, bytes)
    return bytes
  }

  #message(watcher: Watcher): pb.v1.WatchUpdate.$Properties {
    const { config, directory, migrations } = this.#state
    const update: pb.v1.WatchUpdate.$Properties = { clusterId: this.#state.clusterId }
    if (config !== undefined && config.number > watcher.config) Object.assign(update, this.#configNews(config, watcher.config))
    if (directory.version > watcher.directory) update.directory = encodeDirectory(directory, watcher.listener, watcher.directory)
    if (migrations.version > watcher.migrations) update.migrations = migrations.list(watcher.migrations)
    return update
  }

  #configNews(config: Config, known: number): Pick<pb.v1.WatchUpdate.$Properties, 'config' | 'differences'> {
    const { recent } = this.#state
    const behind = config.number - known
    const difference = known >= 0 && behind <= recent.length ? squash(recent.slice(-behind)) : undefined
    if (difference !== undefined && bytesOf(difference) <= smallBytes) return { differences: [difference] }
    const whole = encodeConfig(config)
    const isSmaller = difference !== undefined && bytesOf(difference) < pb.v1.Config.encode(whole).finish().length
    return isSmaller ? { differences: [difference] } : { config: whole }
  }

  #scheduleKeepalive(): void {
    this.#keepalive?.cancel()
    this.#keepalive = this.#clock.setTimer(keepaliveMs, () => {
      this.#sign = pb.v1.WatchUpdate.encode({ clusterId: this.#state.clusterId }).finish()
      if (this.#isInTouch()) this.#signs.want()
      if (this.#watchers.size > 0) this.#scheduleKeepalive()
    })
  }

  #giveSign(watcher: Watcher): void {
    if (!watcher.spoken && !watcher.blocked) watcher.blocked = !watcher.stream.write(this.#sign)
    watcher.spoken = false
  }
}

function bytesOf(difference: ConfigDifference): number {
  return pb.v1.ConfigDifference.encode(difference).finish().length
}
