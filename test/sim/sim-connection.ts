/** One stream between two processes, as bytes: two ends, packets in order, an end in good order or a break. */
import { TransportError } from '../../base/transport.ts'
import type { Link, SimNetwork } from './sim-network.ts'
import type { SimProcess } from './sim-process.ts'
import { hashBytes, label } from './trace.ts'

export function unavailable(message: string): TransportError {
  return new TransportError('UNAVAILABLE', message)
}

/** What the layer above does with what arrives. `onEnd` comes once, and nothing after it. */
export interface EndHandlers {
  onBytes(bytes: Uint8Array): void
  onDrain(): void
  onEnd(error: TransportError | undefined): void
}

type Packet =
  | { readonly kind: 'open' }
  | { readonly kind: 'message'; readonly bytes: Uint8Array; readonly copy: boolean }
  | { readonly kind: 'end'; readonly error: TransportError | undefined }

/** Opens the server's side when the first packet arrives; a TransportError refuses. */
export type Opener = (end: SimEnd) => EndHandlers | TransportError

export class SimEnd {
  readonly process: SimProcess
  readonly connection: SimConnection
  handlers: EndHandlers | undefined
  /** No more goes out. */
  closed = false
  /** `onEnd` was called: nothing comes in any more. */
  finished = false
  /** Bytes written that have not arrived. */
  underWayBytes = 0
  /** `write` said false and no drain has come since. */
  blocked = false
  /** What waits for a cut link to be mended, in order. */
  stalled: Packet[] = []
  /** No packet that keeps order arrives before this. */
  lastArrivalMs = 0
  /** Set when this side ended the stream: what it is told then, whatever the other side says in the same moment. */
  #ownEnd: { readonly error: TransportError | undefined } | undefined

  constructor(process: SimProcess, connection: SimConnection, handlers: EndHandlers | undefined) {
    this.process = process
    this.connection = connection
    this.handlers = handlers
  }

  /** False when the window is full (or the end is closed, and the message dropped). */
  write(bytes: Uint8Array): boolean {
    if (this.closed) return false
    this.underWayBytes += bytes.length
    this.connection.send(this, { kind: 'message', bytes, copy: false })
    if (this.underWayBytes > this.connection.network.windowBytes) this.blocked = true
    return !this.blocked
  }

  /** What was written before still leaves. `error` is what the other side is told, `ownError` what this side is. */
  end(error: TransportError | undefined, ownError: TransportError | undefined): void {
    if (this.closed) return
    this.closed = true
    this.#ownEnd = { error: ownError }
    this.connection.send(this, { kind: 'end', error })
    this.process.schedule(0, 'stream ends', () => this.finish(ownError))
  }

  finish(error: TransportError | undefined): void {
    if (this.finished) return
    this.finished = true
    this.closed = true
    this.connection.endFinished()
    this.handlers?.onEnd(this.#ownEnd === undefined ? error : this.#ownEnd.error)
  }
}

export class SimConnection {
  readonly network: SimNetwork
  readonly address: string
  readonly path: string
  readonly client: SimEnd
  readonly server: SimEnd
  readonly #lossy: boolean
  readonly #opener: Opener
  readonly #fromClient: Link
  readonly #fromServer: Link
  /** What stands for each kind of packet in the trace. */
  readonly #labels: Readonly<Record<Packet['kind'], string>>
  /** The first packet has arrived at the server. */
  #opened = false
  #broken = false

  constructor(
    network: SimNetwork,
    options: {
      readonly client: SimProcess
      readonly server: SimProcess
      readonly address: string
      readonly path: string
      readonly lossy: boolean
      readonly handlers: EndHandlers
      readonly opener: Opener
    },
  ) {
    this.network = network
    this.address = options.address
    this.path = options.path
    this.#lossy = options.lossy
    this.#opener = options.opener
    this.#labels = labelsOf(options.path)
    this.#fromClient = network.link(options.client.name, options.server.name)
    this.#fromServer = network.link(options.server.name, options.client.name)
    this.client = new SimEnd(options.client, this, options.handlers)
    this.server = new SimEnd(options.server, this, undefined)
    network.add(this)
    this.send(this.client, { kind: 'open' })
    if (this.#isCut('stall')) this.#giveUpLater()
  }

  isBetween(a: string, b: string): boolean {
    const [client, server] = [this.client.process.name, this.server.process.name]
    return (client === a && server === b) || (client === b && server === a)
  }

  send(from: SimEnd, packet: Packet): void {
    if (this.#broken || !from.process.alive) return
    const to = this.#other(from)
    const link = this.#link(from)
    if (link.cut === 'refuse') {
      this.break(unavailable(`connection to ${this.address} reset`))
      return
    }
    if (!to.process.alive && this.network.process(to.process.name)?.alive) {
      // The machine is up again and knows nothing of this connection.
      this.break(unavailable(`connection to ${this.address} reset`))
      return
    }
    if (link.cut === 'stall' || from.stalled.length > 0) {
      from.stalled.push(packet)
      return
    }
    if (packet.kind === 'message' && this.#lossy && from === this.server) this.#sendLossy(from, packet, link)
    else this.#sendInOrder(from, packet, link)
  }

  /** Both ends learn of it, each in its own time; what is under way is lost. */
  break(error: TransportError): void {
    if (this.#broken) return
    this.#broken = true
    this.network.remove(this)
    for (const end of [this.client, this.server]) this.#notice(end, error, this.network.drawDelayMs(this.#link(this.#other(end))))
  }

  linkMended(from: string, to: string): void {
    for (const end of [this.client, this.server]) {
      if (end.process.name !== from || this.#other(end).process.name !== to) continue
      const stalled = end.stalled
      end.stalled = []
      for (const packet of stalled) this.send(end, packet)
    }
  }

  processDied(process: SimProcess, how: 'killed' | 'vanished'): void {
    for (const end of [this.client, this.server]) {
      if (end.process !== process || this.#broken) continue
      const other = this.#other(end)
      const error = unavailable(`connection to ${this.address} broke: ${process.name} is gone`)
      if (!other.process.alive || other.finished) this.network.remove(this)
      else if (how === 'vanished') {
        // Nobody says anything, until the other side gives up or the machine is up again and resets what it does not know.
        this.#notice(other, error, this.network.drawBreakMs())
      } else if (this.network.draw(0.5) && !this.#isCut('stall')) {
        // The kernel still sends what the process had written, then closes.
        const delayMs = Math.max(other.process.world.nowMs + this.network.drawDelayMs(this.#link(end)), end.lastArrivalMs)
        this.#notice(other, error, delayMs - other.process.world.nowMs)
      } else {
        this.#broken = true
        this.network.remove(this)
        this.#notice(other, error, this.#isCut('stall') ? this.network.drawBreakMs() : this.network.drawDelayMs(this.#link(end)))
      }
    }
  }

  /** One end is done. The connection is forgotten when nobody is left to tell anything. */
  endFinished(): void {
    const isDone = (end: SimEnd) => end.finished || !end.process.alive
    if (isDone(this.client) && isDone(this.server)) this.network.remove(this)
  }

  #notice(end: SimEnd, error: TransportError, delayMs: number): void {
    end.process.schedule(delayMs, label('broken', this.path), () => {
      this.#broken = true
      this.network.remove(this)
      end.finish(error)
    })
  }

  /** A connection that cannot be made is given up after a while. */
  #giveUpLater(): void {
    this.client.process.schedule(this.network.drawBreakMs(), label('dial', this.path), () => {
      if (!this.#opened) this.break(unavailable(`no connection to ${this.address} within the time`))
    })
  }

  #sendLossy(from: SimEnd, packet: Packet & { kind: 'message' }, link: Link): void {
    const { lossProbability, duplicateProbability, reorderProbability, reorderMs } = link.conditions
    if (this.network.draw(duplicateProbability)) {
      this.#arriveAt(from, { ...packet, copy: true }, this.#earliestMs(from, link) + this.network.drawUpTo(reorderMs))
    }
    if (this.network.draw(lossProbability)) {
      this.#leave(from, packet)
      return
    }
    if (this.network.draw(reorderProbability)) {
      this.#arriveAt(from, packet, this.#earliestMs(from, link) + this.network.drawUpTo(reorderMs))
    } else this.#sendInOrder(from, packet, link)
  }

  #sendInOrder(from: SimEnd, packet: Packet, link: Link): void {
    const bytes = packet.kind === 'message' ? packet.bytes.length : 0
    const arrivalMs = Math.max(this.#earliestMs(from, link), from.lastArrivalMs) + bytes / link.conditions.bytesPerMs
    from.lastArrivalMs = arrivalMs
    this.#arriveAt(from, packet, arrivalMs)
  }

  #earliestMs(from: SimEnd, link: Link): number {
    const nowMs = from.process.world.nowMs
    const openMs = this.#opened ? 0 : from.lastArrivalMs
    return Math.max(nowMs + this.network.drawDelayMs(link), link.cloggedUntilMs, openMs)
  }

  #arriveAt(from: SimEnd, packet: Packet, arrivalMs: number): void {
    const to = this.#other(from)
    const delayMs = arrivalMs - to.process.world.nowMs
    to.process.schedule(delayMs, this.#labels[packet.kind], () => this.#arrive(from, to, packet))
  }

  #arrive(from: SimEnd, to: SimEnd, packet: Packet): void {
    if (this.#broken) return
    const link = this.#link(from)
    if (link.cut === 'stall' || from.stalled.length > 0) {
      from.stalled.push(packet)
      return
    }
    const world = to.process.world
    if (link.cloggedUntilMs > world.nowMs) {
      from.lastArrivalMs = Math.max(from.lastArrivalMs, link.cloggedUntilMs)
      this.#arriveAt(from, packet, link.cloggedUntilMs)
    } else if (packet.kind === 'open') this.#open()
    else if (packet.kind === 'end') to.finish(packet.error)
    else {
      world.note(hashBytes(packet.bytes))
      if (!packet.copy) this.#leave(from, packet)
      if (!to.finished && !to.closed) to.handlers?.onBytes(packet.bytes)
    }
  }

  /** The packet is no longer under way: the sender's window opens. */
  #leave(from: SimEnd, packet: Packet & { kind: 'message' }): void {
    from.underWayBytes -= packet.bytes.length
    if (!from.blocked || from.underWayBytes > this.network.windowBytes / 2) return
    from.blocked = false
    from.process.schedule(this.network.drawDelayMs(this.#link(this.#other(from))), label('drain', this.path), () => {
      if (!from.closed && !from.finished) from.handlers?.onDrain()
    })
  }

  #open(): void {
    this.#opened = true
    const opened = this.#opener(this.server)
    if (opened instanceof TransportError) this.server.end(opened, undefined)
    else this.server.handlers = opened
  }

  #isCut(mode: 'stall' | 'refuse'): boolean {
    return this.#fromClient.cut === mode || this.#fromServer.cut === mode
  }

  #link(from: SimEnd): Link {
    return from === this.client ? this.#fromClient : this.#fromServer
  }

  #other(end: SimEnd): SimEnd {
    return end === this.client ? this.server : this.client
  }
}

const knownLabels = new Map<string, Readonly<Record<Packet['kind'], string>>>()

function labelsOf(path: string): Readonly<Record<Packet['kind'], string>> {
  let labels = knownLabels.get(path)
  if (labels === undefined) {
    labels = { open: label('open', path), message: label('message', path), end: label('end', path) }
    knownLabels.set(path, labels)
  }
  return labels
}
