/**
 * How processes talk, as a seam: methods with codecs, unary calls and two-way streams. Production is gRPC (`base/grpc-transport.ts`); the
 * simulator carries the same encoded bytes over a network that it may cut, clog or delay. Messages are encoded by the sender and decoded by
 * the receiver in both, so no object is ever shared between two processes.
 *
 * A stream keeps the order of its messages and loses none until it ends; after it ended the sender does not know which of its last messages
 * arrived. A method marked `lossy` promises less for what the server sends: its user copes with lost, doubled and reordered messages, and
 * the simulator takes it at its word (Raft's messages).
 */

export interface Codec<T> {
  encode(message: T): Uint8Array
  /** Throws on bytes that are no such message. The result may be a view of `bytes`: copy what is kept. */
  decode(bytes: Uint8Array): T
}

export interface Method<Request, Response> {
  /** As gRPC names it: '/ostraka.v1.KV/Execute'. */
  readonly path: string
  readonly kind: 'unary' | 'stream'
  readonly request: Codec<Request>
  readonly response: Codec<Response>
  readonly lossy?: boolean
}

/** The standard gRPC status codes that we use. */
export type TransportErrorCode =
  | 'UNAVAILABLE'
  | 'DEADLINE_EXCEEDED'
  | 'CANCELLED'
  | 'INVALID_ARGUMENT'
  | 'FAILED_PRECONDITION'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'UNIMPLEMENTED'
  | 'RESOURCE_EXHAUSTED'
  | 'INTERNAL'

/** A call that failed as a whole. UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED and INTERNAL leave open whether the other side acted. A handler throws one to answer with that code. */
export class TransportError extends Error {
  override readonly name = 'TransportError'
  readonly code: TransportErrorCode

  constructor(code: TransportErrorCode, message: string) {
    super(message)
    this.code = code
  }
}

/** Who called: the name of the listener that was dialled (CONTRACT: named listeners) and the peer's address, for logs. */
export interface CallContext {
  readonly listener: string
  readonly peer: string
}

/** One end of an open stream. */
export interface Stream<Out> {
  /** Returns false when what waits is more than the other side takes: write no more until `onDrain`. A message written after the end is dropped. */
  write(message: Out): boolean
  /** Ends this stream, in both directions. What was written before still leaves. Idempotent. */
  end(): void
  readonly closed: boolean
}

/** What the user of a stream does with what comes. None is called after `onEnd`, which is called exactly once, also after one's own `end()`. */
export interface StreamHandlers<In> {
  onMessage(message: In): void
  onDrain?(): void
  /** `error` undefined: the stream was ended in good order. */
  onEnd(error: TransportError | undefined): void
}

export interface UnaryRoute<Request, Response> {
  readonly method: Method<Request, Response>
  handle(request: Request, context: CallContext): Promise<Response>
}

export interface StreamRoute<Request, Response> {
  readonly method: Method<Request, Response>
  /** Called when a stream opens; returns what receives. `stream` may be written at once. */
  accept(stream: Stream<Response>, context: CallContext): StreamHandlers<Request>
}

// biome-ignore lint/suspicious/noExplicitAny: a server's table holds routes of every message type
export type Route = UnaryRoute<any, any> | StreamRoute<any, any>

export function unaryRoute<Request, Response>(
  method: Method<Request, Response>,
  handle: (request: Request, context: CallContext) => Promise<Response>,
): UnaryRoute<Request, Response> {
  return { method, handle }
}

export function streamRoute<Request, Response>(
  method: Method<Request, Response>,
  accept: (stream: Stream<Response>, context: CallContext) => StreamHandlers<Request>,
): StreamRoute<Request, Response> {
  return { method, accept }
}

export interface ListenAddress {
  /** 'default' where the user gave none. */
  readonly name: string
  /** 'HOST:PORT'; port 0 takes a free one. */
  readonly address: string
}

export interface Listener {
  /** The addresses in fact bound, in the order asked. */
  readonly addresses: readonly ListenAddress[]
  /** Takes no new calls, ends streams, resolves when all handlers have returned or after `graceMs`. */
  close(graceMs: number): Promise<void>
}

export interface Channel {
  /** The address dialled. */
  readonly address: string
  /** Rejects with a TransportError. `timeoutMs` counts from now. */
  unary<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    options: { timeoutMs: number; signal?: AbortSignal },
  ): Promise<Response>
  /** Never throws: a connection that cannot be had is an `onEnd` with UNAVAILABLE. */
  stream<Request, Response>(method: Method<Request, Response>, handlers: StreamHandlers<Response>): Stream<Request>
  /** Ends all calls with CANCELLED and the connection. */
  close(): void
}

export interface Transport {
  listen(addresses: readonly ListenAddress[], routes: readonly Route[]): Promise<Listener>
  /** A lazy connection: dials at the first call and again whenever it broke. Each channel is a connection of its own. */
  connect(address: string): Channel
}
