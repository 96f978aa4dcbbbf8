import { sleep } from '../base/clock.ts'
import type { Logger } from '../base/logger.ts'
import { type CallContext, type Route, type Stream, type StreamHandlers, streamRoute, unaryRoute } from '../base/transport.ts'
import { encodeError } from '../proto/error-codec.ts'
import { pb } from '../proto/messages.ts'
import { kvMethods } from '../proto/methods.ts'
import { ExecuteCall } from './execute-call.ts'
import { InFlight, type InFlightLimits } from './in-flight.ts'
import { KvNode, type KvNodeParts } from './kv-node.ts'
import { overloaded } from './refusals.ts'
import { runScan } from './scan-call.ts'
import type { ShardLoads } from './shard-loads.ts'
import type { SlowWish } from './slow-writes.ts'

export interface KvServerOptions extends KvNodeParts {
  readonly logger: Logger
  /** Of one stream; default 4,096 requests, 64 MiB. */
  readonly connectionLimits?: InFlightLimits
  /** Of the node, unary calls included; default 32,768 requests, 256 MiB. */
  readonly nodeLimits?: InFlightLimits
  /** Scans at a time; default 64. */
  readonly scansMax?: number
}

const MiB = 1024 * 1024
const defaultConnectionLimits: InFlightLimits = { requests: 4096, bytes: 64 * MiB }
const defaultNodeLimits: InFlightLimits = { requests: 32_768, bytes: 256 * MiB }
const defaultScansMax = 64
/** How often a closing server looks whether all is answered. */
const idleLookMs = 5
/** Refusals that may wait for a client that does not read, by the requests that it may have under way. */
const waitingRefusals = 2

/** The KV service of one node: every request ends in one reply, and what is under way is bounded. */
export class KvServer {
  readonly #node: KvNode
  readonly #logger: Logger
  readonly #inFlight: InFlight
  readonly #connectionLimits: InFlightLimits
  readonly #scansMax: number
  #scans = 0
  #served = 0

  constructor(options: KvServerOptions) {
    this.#node = new KvNode(options)
    this.#logger = options.logger
    this.#inFlight = new InFlight(options.nodeLimits ?? defaultNodeLimits)
    this.#connectionLimits = options.connectionLimits ?? defaultConnectionLimits
    this.#scansMax = options.scansMax ?? defaultScansMax
  }

  routes(): Route[] {
    return [
      unaryRoute(kvMethods.execute, (request) => this.execute(request)),
      streamRoute(kvMethods.executeStream, (stream, context) => this.#accept(stream, context)),
      unaryRoute(kvMethods.scan, (request) => this.scan(request)),
    ]
  }

  /** Requests that were taken in so far, scans included. */
  get served(): number {
    return this.#served
  }

  /** Operations per second of the shards that are served here. */
  get loads(): ShardLoads {
    return this.#node.loads
  }

  /** The new group of some shards does not keep up with their writes, or does again. */
  slow(group: string, wish: SlowWish): void {
    this.#node.slowWrites.slow(group, wish)
  }

  /** Records of the group's shards changed, or its replica was started. `exporting`: migrations out of it that are not released. */
  shardsChanged(group: string, isImporting: boolean, exporting: readonly number[]): void {
    this.#node.arrivals.changed(group, isImporting)
    this.#node.slowWrites.keepOnly(group, exporting)
  }

  /** Resolves when every request that came is answered and its reply has left, at the latest after `timeoutMs`. */
  async whenIdle(timeoutMs: number): Promise<void> {
    const { clock } = this.#node
    const endMs = clock.monotonicMs() + timeoutMs
    while (this.#inFlight.requests > 0 && clock.monotonicMs() < endMs) await sleep(clock, idleLookMs)
  }

  /** Never rejects: what fails is in the reply. */
  execute(request: pb.v1.ExecuteRequest.$Properties): Promise<pb.v1.ExecuteReply> {
    const bytes = sizeOf(request)
    if (!this.#inFlight.maybeEnter(bytes)) return Promise.resolve(new pb.v1.ExecuteReply(this.#tooMuch(request)))
    this.#served++
    return new Promise((resolve) => {
      new ExecuteCall(this.#node, request, this.#inFlight, (reply, heldBytes) => {
        this.#inFlight.leave(bytes + heldBytes)
        resolve(new pb.v1.ExecuteReply(reply))
      }).start()
    })
  }

  async scan(request: pb.v1.ScanRequest.$Properties): Promise<pb.v1.ScanReply> {
    if (this.#scans >= this.#scansMax) {
      return new pb.v1.ScanReply({
        error: encodeError(overloaded('too many scans run on this node')),
        configNumber: this.#node.configNumber,
      })
    }
    this.#scans++
    this.#served++
    const ended = () => {
      this.#scans--
    }
    return new pb.v1.ScanReply(await runScan(this.#node, request, ended))
  }

  #accept(stream: Stream<pb.v1.ExecuteReply>, context: CallContext): StreamHandlers<pb.v1.ExecuteRequest> {
    const limits = this.#connectionLimits
    const inFlight = new InFlight(limits, this.#inFlight)
    const replies = new ReplyQueue(stream, this.#node, inFlight)
    return {
      onMessage: (request) => {
        const bytes = sizeOf(request)
        if (inFlight.maybeEnter(bytes)) {
          this.#served++
          new ExecuteCall(this.#node, request, inFlight, (reply, heldBytes) => replies.add(reply, bytes + heldBytes)).start()
        } else if (replies.length < waitingRefusals * limits.requests) {
          replies.add(this.#tooMuch(request), undefined)
        } else {
          this.#logger.warn({ peer: context.peer, waiting: replies.length }, 'a client does not read its replies: its stream is ended')
          stream.end()
        }
      },
      onDrain: () => replies.drained(),
      onEnd: () => replies.close(),
    }
  }

  #tooMuch(request: pb.v1.ExecuteRequest.$Properties): pb.v1.ExecuteReply.$Properties {
    return {
      id: request.id ?? 0,
      error: encodeError(overloaded('too many requests are under way')),
      configNumber: this.#node.configNumber,
    }
  }
}

/**
 * The replies of one stream. Those of a turn leave together; while the other side takes no more they wait, and count as under way. After the
 * stream's end what still comes is only taken off the count.
 */
class ReplyQueue {
  readonly #stream: Stream<pb.v1.ExecuteReply>
  readonly #node: KvNode
  readonly #inFlight: InFlight
  #waiting: { readonly reply: pb.v1.ExecuteReply.$Properties; readonly bytes: number | undefined }[] = []
  /** What of `#waiting` has left. */
  #sent = 0
  #isScheduled = false
  #isBlocked = false
  #isClosed = false

  constructor(stream: Stream<pb.v1.ExecuteReply>, node: KvNode, inFlight: InFlight) {
    this.#stream = stream
    this.#node = node
    this.#inFlight = inFlight
  }

  get length(): number {
    return this.#waiting.length - this.#sent
  }

  /** `bytes`: what its request entered with and grew by; undefined: it did not enter. */
  add(reply: pb.v1.ExecuteReply.$Properties, bytes: number | undefined): void {
    if (this.#isClosed) {
      this.#leave(bytes)
      return
    }
    this.#waiting.push({ reply, bytes })
    if (this.#isScheduled || this.#isBlocked) return
    this.#isScheduled = true
    this.#node.clock.soon(() => this.#flush())
  }

  drained(): void {
    this.#isBlocked = false
    this.#flush()
  }

  close(): void {
    this.#isClosed = true
    for (; this.#sent < this.#waiting.length; this.#sent++) this.#leave(this.#waiting[this.#sent]?.bytes)
  }

  #flush(): void {
    this.#isScheduled = false
    while (this.#sent < this.#waiting.length && !this.#isBlocked) {
      const next = this.#waiting[this.#sent++]
      if (next === undefined) break
      this.#leave(next.bytes)
      if (!this.#stream.write(new pb.v1.ExecuteReply(next.reply))) this.#isBlocked = true
    }
    this.#waiting = this.#waiting.slice(this.#sent)
    this.#sent = 0
  }

  #leave(bytes: number | undefined): void {
    if (bytes !== undefined) this.#inFlight.leave(bytes)
  }
}

/** What a request holds in memory, about. */
function sizeOf(request: pb.v1.ExecuteRequest.$Properties): number {
  let bytes = 256 + (request.writes?.length ?? 0)
  for (const read of request.reads ?? []) bytes += 64 + (read.key?.length ?? 0)
  return bytes
}
