import { type Clock, sleep, type Timer } from '../base/clock.ts'
import type { Logger } from '../base/logger.ts'
import type { Random } from '../base/random.ts'
import {
  type CallContext,
  type Channel,
  type Route,
  type Stream,
  type StreamHandlers,
  streamRoute,
  type Transport,
  type TransportError,
} from '../base/transport.ts'
import { protocolVersion } from '../proto/limits.ts'
import { pb } from '../proto/messages.ts'
import { raftMethods } from '../proto/methods.ts'
import { sameCluster } from './cluster-id.ts'
import type { Message } from './core/types.ts'
import { decodeHeartbeats, type ReceivedHeartbeat } from './heartbeat-columns.ts'
import type { Envelope } from './message-codec.ts'
import { Outbox } from './outbox.ts'
import type { Turn } from './turn.ts'

/**
 * Carries Raft messages between nodes. Every node receives on streams that it dialled itself (the receiving end of a dialled stream is the
 * fast one in grpc-js, docs/decisions/0003-receivers-dial.md): one stream for control and one for entries, each on a connection of its own,
 * so that votes never wait behind entries. What queues while a frame is on its way leaves as the next frame. A message that cannot be sent
 * is dropped: Raft repeats what counts.
 */

const lanes = [pb.v1.Lane.CONTROL, pb.v1.Lane.ENTRIES] as const
const retryMsMin = 50
const retryMsMax = 1000
/** A process that ends its streams in good order is about to end: for about so long it has nothing for us, and those who dial it are in its way. */
const awayMs = 400
/** Over about so long the streams end that a closing node has dialled; for those that its peers dialled see the listener. */
const partingMs = 100

export interface MessengerOptions {
  readonly transport: Transport
  readonly clock: Clock
  readonly turn: Pick<Turn, 'leave'>
  readonly random: Random
  readonly logger: Logger
  /** This node's id. */
  readonly self: string
  /** The cluster this node belongs to; empty: none yet. Asked each time, since a fresh controller learns it while it runs. */
  clusterId(): Uint8Array
  /** Where a node can be reached by its peers; undefined: not known yet. */
  resolve(node: string): string | undefined
  /** `node`: whose stream brought it. */
  onMessage(message: pb.v1.RaftMessage, node: string): void
  onHeartbeat(heartbeat: ReceivedHeartbeat, node: string): void
  /** `node` says that its process lives, and for which quiet groups that stands. */
  onBeat(node: string, beat: pb.v1.NodeBeat): void
  /** Something came from `node`; called before what came is handed on. */
  onHeard(node: string): void
  /** A control stream from or to `node` ended: messages may be lost, and its process may be another than before. */
  onBroken(node: string): void
  /** The control stream from `node` ended, and the next try to have another failed: its process has ended, or cannot be reached. */
  onLost(node: string): void
  /** Whether a replica here follows a leader on `node`. */
  isLedFrom(node: string): boolean
}

export class Messenger {
  readonly #options: MessengerOptions
  readonly #outboxes = new Map<string, Outbox>()
  readonly #links = new Map<string, Link[]>()
  #closed = false

  constructor(options: MessengerOptions) {
    this.#options = options
  }

  routes(): Route[] {
    return [streamRoute(raftMethods.receive, (stream, context) => this.#accept(stream, context))]
  }

  /** Begins to receive from `node`, and goes on until `disconnect`. */
  connect(node: string): void {
    if (this.#closed || node === this.#options.self || this.#links.has(node)) return
    this.#links.set(
      node,
      lanes.map((lane) => new Link(this.#options, node, lane)),
    )
  }

  disconnect(node: string): void {
    for (const link of this.#links.get(node) ?? []) link.close()
    this.#links.delete(node)
  }

  /**
   * Queues a message for `node`; it leaves with all others of this turn. `bytes`: about what it takes on the wire. Returns false where it was
   * dropped: `node` has not dialled, or takes nothing more at present.
   */
  send(node: string, lane: pb.v1.Lane, message: pb.v1.RaftMessage, bytes: number): boolean {
    return this.#outboxes.get(outboxKey(node, lane))?.push(message, bytes) ?? false
  }

  /** Like `send`, for a heartbeat or its answer: those of a turn travel as one. */
  sendHeartbeat(node: string, message: Message, envelope: Envelope): boolean {
    return this.#outboxes.get(outboxKey(node, pb.v1.Lane.CONTROL))?.pushHeartbeat(message, envelope) ?? false
  }

  /** Tells every node that has dialled that this process lives. */
  beat(beatFor: (node: string) => pb.v1.NodeBeat): void {
    for (const node of this.#links.keys()) this.#outboxes.get(outboxKey(node, pb.v1.Lane.CONTROL))?.setBeat(beatFor(node))
  }

  /** `node` has dialled to receive: what is sent leaves. */
  isConnected(node: string): boolean {
    return this.#outboxes.has(outboxKey(node, pb.v1.Lane.CONTROL))
  }

  /**
   * Before `close`: ends the streams that this node dialled, one after the other over `partingMs`. Who loses one has work of it, and has what this
   * node led to do as well.
   */
  async part(): Promise<void> {
    this.#closed = true
    const links = [...this.#links.values()].flat()
    for (const [i, link] of links.entries()) {
      link.close()
      if (i < links.length - 1) await sleep(this.#options.clock, partingMs / links.length)
    }
  }

  close(): void {
    this.#closed = true
    for (const node of [...this.#links.keys()]) this.disconnect(node)
    for (const outbox of this.#outboxes.values()) outbox.end()
    this.#outboxes.clear()
  }

  /** A peer dialled us to receive. Its first message says who it is. */
  #accept(stream: Stream<pb.v1.RaftFrame>, context: CallContext): StreamHandlers<pb.v1.ReceiveRequest> {
    let key: string | undefined
    let outbox: Outbox | undefined
    let node = ''
    return {
      onMessage: (request) => {
        // A further request only asks whether this process still knows the stream: `Link.check`.
        if (outbox !== undefined || stream.closed) return
        if (this.#closed || !this.#mayReceive(request, context)) {
          stream.end()
          return
        }
        if (request.lane === pb.v1.Lane.CONTROL) node = request.id
        key = outboxKey(request.id, request.lane)
        this.#outboxes.get(key)?.end()
        outbox = new Outbox(stream, this.#options.turn, this.#options.clusterId)
        this.#outboxes.set(key, outbox)
        if (request.lane === pb.v1.Lane.CONTROL) for (const link of this.#links.get(request.id) ?? []) link.check()
      },
      onDrain: () => outbox?.drained(),
      onEnd: () => {
        outbox?.end()
        if (key !== undefined && this.#outboxes.get(key) === outbox) this.#outboxes.delete(key)
        if (node !== '' && !this.#closed) this.#options.onBroken(node)
      },
    }
  }

  #mayReceive(request: pb.v1.ReceiveRequest, context: CallContext): boolean {
    const { clusterId, logger } = this.#options
    if (request.protocolVersion !== protocolVersion) {
      logger.warn({ peer: context.peer, node: request.id, version: request.protocolVersion }, 'refused a peer of another protocol version')
      return false
    }
    if (request.id === '' || !sameCluster(request.clusterId, clusterId())) {
      logger.warn({ peer: context.peer, node: request.id }, 'refused a peer of another cluster')
      return false
    }
    return true
  }
}

function outboxKey(node: string, lane: number): string {
  return `${lane} ${node}`
}

/** live: something came on this stream. probing: the one before was live. */
type LinkState = 'live' | 'probing' | 'down'

/** One stream on which this node receives from a peer, dialled again whenever it ends. */
class Link {
  readonly #options: MessengerOptions
  readonly #node: string
  readonly #lane: pb.v1.Lane
  #channel: Channel | undefined
  #stream: Stream<pb.v1.ReceiveRequest> | undefined
  #timer: Timer | undefined
  #retryMs = retryMsMin
  #dialledMs = 0
  #state: LinkState = 'down'
  #closed = false

  constructor(options: MessengerOptions, node: string, lane: pb.v1.Lane) {
    this.#options = options
    this.#node = node
    this.#lane = lane
    this.#dial()
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
    this.#stream?.end()
    this.#channel?.close()
  }

  /**
   * The peer is there, for it has just dialled us; its process may be another than the one that our stream leads to. After a loss of power
   * nobody tells us so, and a stream that we do not write on seems open until a keepalive fails. So we write: a machine that does not know
   * the connection resets it, and the stream that ends is dialled again; a living one ignores it. Where we wait before the next try, the wait
   * is cut to the shortest, not left out: two nodes whose streams end at once must not dial each other without a pause.
   */
  check(): void {
    if (this.#closed) return
    if (this.#stream !== undefined) this.#request(this.#stream)
    else if (this.#retryMs > 2 * retryMsMin) {
      this.#timer?.cancel()
      this.#retryMs = retryMsMin
      this.#redialLater()
    }
  }

  #dial(): void {
    if (this.#closed) return
    const { resolve, transport } = this.#options
    const address = resolve(this.#node)
    if (address === undefined) {
      this.#redialLater()
      return
    }
    if (this.#channel?.address !== address) {
      this.#channel?.close()
      this.#channel = transport.connect(address)
    }
    this.#dialledMs = this.#options.clock.monotonicMs()
    this.#stream = this.#channel.stream(raftMethods.receive, {
      onMessage: (frame) => this.#receive(frame),
      onEnd: (error) => this.#ended(error),
    })
    this.#request(this.#stream)
  }

  #request(stream: Stream<pb.v1.ReceiveRequest>): void {
    const { self, clusterId } = this.#options
    stream.write(new pb.v1.ReceiveRequest({ id: self, clusterId: clusterId(), lane: this.#lane, protocolVersion }))
  }

  #receive(frame: pb.v1.RaftFrame): void {
    if (this.#closed || !sameCluster(frame.clusterId, this.#options.clusterId())) return
    const { onHeard, onMessage, onBeat } = this.#options
    this.#retryMs = retryMsMin
    this.#state = 'live'
    onHeard(this.#node)
    for (const message of frame.messages) onMessage(message as pb.v1.RaftMessage, this.#node)
    if (frame.heartbeats != null) this.#receiveHeartbeats(frame.heartbeats as pb.v1.Heartbeats)
    // Last: what it counts includes what stands before it in the frame.
    if (frame.beat != null) onBeat(this.#node, frame.beat as pb.v1.NodeBeat)
  }

  #receiveHeartbeats(columns: pb.v1.Heartbeats): void {
    const heartbeats = decodeHeartbeats(columns)
    if (heartbeats === undefined) this.#options.logger.warn({ node: this.#node }, 'dropped malformed heartbeats')
    else for (const heartbeat of heartbeats) this.#options.onHeartbeat(heartbeat, this.#node)
  }

  #ended(error: TransportError | undefined): void {
    this.#stream = undefined
    if (this.#closed) return
    const { logger, onBroken, onLost } = this.#options
    logger.debug({ node: this.#node, error: error?.message }, 'a stream of Raft messages ended')
    const before = this.#state
    this.#state = before === 'live' ? 'probing' : 'down'
    const tells = this.#lane === pb.v1.Lane.CONTROL
    if (tells && before === 'live') onBroken(this.#node)
    if (tells && before === 'probing') onLost(this.#node)
    if (error === undefined && this.#isParting(before)) {
      this.#retryMs = Math.max(this.#retryMs, awayMs)
      this.#redialLater()
    } else if (before === 'live') this.#dial()
    else this.#redialLater()
  }

  /** A stream ended in good order. One that lasted was not refused; and whoever still leads us may be gone without having handed over. */
  #isParting(state: LinkState): boolean {
    const { clock, isLedFrom } = this.#options
    return (state === 'live' || clock.monotonicMs() - this.#dialledMs > awayMs) && !isLedFrom(this.#node)
  }

  #redialLater(): void {
    const { clock, random } = this.#options
    this.#timer = clock.setTimer(this.#retryMs * (0.5 + random.next() / 2), () => this.#dial())
    this.#retryMs = Math.min(this.#retryMs * 2, retryMsMax)
  }
}
