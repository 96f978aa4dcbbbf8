/** The one connection to one node: a long-lived stream of requests and replies, opened when first needed and again after it broke. */
import type { Channel, Stream, Transport } from '../base/transport.ts'
import type { pb } from '../proto/messages.ts'
import { kvMethods } from '../proto/methods.ts'
import type { Request } from './request.ts'

export interface NodeLinkEvents {
  onReply(request: Request, reply: pb.v1.ExecuteReply, link: NodeLink): void
  /** The stream ended: these are not answered any more. */
  onBroken(requests: readonly Request[], why: string, link: NodeLink): void
  onWritable(link: NodeLink): void
}

export class NodeLink {
  readonly node: string
  readonly address: string
  readonly #channel: Channel
  readonly #events: NodeLinkEvents
  readonly #pending = new Map<number, Request>()
  #stream: Stream<pb.v1.ExecuteRequest> | undefined
  #writable = true
  #nextId = 1
  /** Monotonic time of the newest message on it. */
  lastHeardMs = Number.NEGATIVE_INFINITY
  /** Monotonic time at which it was replaced by another link to its node. */
  retiredMs = 0

  constructor(node: string, address: string, transport: Transport, events: NodeLinkEvents) {
    this.node = node
    this.address = address
    this.#events = events
    this.#channel = transport.connect(address)
  }

  get channel(): Channel {
    return this.#channel
  }

  /** False: what waits is more than the other side takes. */
  get writable(): boolean {
    return this.#writable
  }

  get pending(): IterableIterator<Request> {
    return this.#pending.values()
  }

  get pendingCount(): number {
    return this.#pending.size
  }

  send(request: Request, message: pb.v1.ExecuteRequest.$Properties, nowMs: number): void {
    request.id = this.#nextId++
    request.node = this.node
    request.sentMs = nowMs
    this.#pending.set(request.id, request)
    const stream = this.#open()
    // A stream that could not be opened has told so already, and the request with it.
    if (stream === undefined || !this.#pending.has(request.id)) return
    message.id = request.id
    this.#writable = stream.write(message as pb.v1.ExecuteRequest)
  }

  /** Opens the stream ahead of the first request. */
  warm(): void {
    this.#open()
  }

  /** Ends the stream, which is dialled anew by the next request; what is pending is told to be broken. */
  reset(why: string): void {
    const stream = this.#stream
    this.#stream = undefined
    stream?.end()
    this.#break(why)
  }

  /** Ends everything, without a word to `onBroken`. */
  close(): void {
    const stream = this.#stream
    this.#stream = undefined
    this.#pending.clear()
    stream?.end()
    this.#channel.close()
  }

  #open(): Stream<pb.v1.ExecuteRequest> | undefined {
    if (this.#stream !== undefined) return this.#stream
    let ended = false
    let stream: Stream<pb.v1.ExecuteRequest> | undefined
    stream = this.#channel.stream(kvMethods.executeStream, {
      onMessage: (reply) => {
        if (stream === this.#stream) this.#handleReply(reply)
      },
      onDrain: () => {
        if (stream !== this.#stream) return
        this.#writable = true
        this.#events.onWritable(this)
      },
      onEnd: (error) => {
        ended = true
        if (stream !== undefined && stream !== this.#stream) return
        this.#stream = undefined
        this.#break(error?.message ?? 'the node ended the stream')
      },
    })
    if (ended) return undefined
    this.#stream = stream
    return stream
  }

  #handleReply(reply: pb.v1.ExecuteReply): void {
    const request = this.#pending.get(reply.id)
    if (request === undefined) return
    this.#pending.delete(reply.id)
    this.#events.onReply(request, reply, this)
  }

  #break(why: string): void {
    this.#writable = true
    const requests = [...this.#pending.values()]
    this.#pending.clear()
    this.#events.onBroken(requests, why, this)
  }
}
