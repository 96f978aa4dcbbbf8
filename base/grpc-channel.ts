import {
  Client,
  type ClientDuplexStream,
  type ClientUnaryCall,
  connectivityState,
  credentials,
  Metadata,
  type StatusObject,
} from '@grpc/grpc-js'
import { asBuffer, CONNECT_TIMEOUT_MS, channelOptions, passBytes, WRITE_QUEUE_BYTES, withoutStackTrace } from './grpc-options.ts'
import { decodeStatus } from './grpc-status.ts'
import { WriteWindow } from './grpc-write-window.ts'
import type { Logger } from './logger.ts'
import { type Channel, type Method, type Stream, type StreamHandlers, TransportError } from './transport.ts'

/** A timeout that `setTimeout` still takes. */
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1

/** Something under way on a channel that must end when the channel does. */
interface OpenCall {
  fail(error: TransportError): void
}

/** The client's end of one connection. */
export class GrpcChannel implements Channel {
  readonly address: string
  readonly #logger: Logger
  readonly #calls = new Set<OpenCall>()
  #client: Client
  #watching = false
  #closed = false

  constructor(address: string, logger: Logger) {
    this.address = address
    this.#logger = logger
    this.#client = newClient(address)
  }

  unary<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    options: { timeoutMs: number; signal?: AbortSignal },
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(closedError(this.address))
      if (options.signal?.aborted) return reject(new TransportError('CANCELLED', 'the caller gave up'))
      const bytes = asBuffer(method.request.encode(request))
      this.#watchConnection()
      let failure: TransportError | undefined
      const deadline = Date.now() + Math.min(options.timeoutMs, LONGEST_TIMEOUT_MS)
      const call: ClientUnaryCall = withoutStackTrace(() =>
        this.#client.makeUnaryRequest(method.path, passBytes, passBytes, bytes, new Metadata(), { deadline }, (error, reply) => {
          this.#calls.delete(open)
          options.signal?.removeEventListener('abort', abort)
          if (error !== null || reply === undefined) return reject(failure ?? decodeStatus(error ?? {}))
          try {
            resolve(decodeReply(method, reply))
          } catch (error) {
            reject(error)
          }
        }),
      )
      const open: OpenCall = {
        fail(error) {
          failure ??= error
          call.cancel()
        },
      }
      const abort = () => open.fail(new TransportError('CANCELLED', 'the caller gave up'))
      options.signal?.addEventListener('abort', abort, { once: true })
      this.#calls.add(open)
    })
  }

  stream<Request, Response>(method: Method<Request, Response>, handlers: StreamHandlers<Response>): Stream<Request> {
    if (this.#closed) {
      process.nextTick(() => handlers.onEnd(closedError(this.address)))
      return { write: () => false, end() {}, closed: true }
    }
    this.#watchConnection()
    const call = withoutStackTrace(() => this.#client.makeBidiStreamRequest(method.path, passBytes, passBytes, new Metadata(), {}))
    const stream: GrpcClientStream<Request, Response> = new GrpcClientStream(method, call, handlers, this.#logger, () =>
      this.#calls.delete(stream),
    )
    this.#calls.add(stream)
    return stream
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#failAll(closedError(this.address))
    this.#client.close()
  }

  #failAll(error: TransportError): void {
    for (const call of [...this.#calls]) call.fail(error)
  }

  /**
   * grpc-js waits without end for a peer that accepts the connection and then says nothing; we dial anew. Not by its `waitForReady`, which
   * asks a channel that is being closed to connect: that brings it back to life, with a timer that holds the process.
   */
  #watchConnection(): void {
    const client = this.#client
    const channel = client.getChannel()
    if (this.#watching || channel.getConnectivityState(false) === connectivityState.READY) return
    this.#watching = true
    const deadline = Date.now() + CONNECT_TIMEOUT_MS
    const check = (late?: Error) => {
      if (this.#closed) return
      const isReady = channel.getConnectivityState(true) === connectivityState.READY
      if (!isReady && late === undefined) {
        channel.watchConnectivityState(channel.getConnectivityState(false), deadline, check)
        return
      }
      this.#watching = false
      if (isReady) return
      this.#failAll(new TransportError('UNAVAILABLE', `no connection to ${this.address} within ${CONNECT_TIMEOUT_MS} ms`))
      this.#client = newClient(this.address)
      client.close()
    }
    check()
  }
}

class GrpcClientStream<Out, In> implements Stream<Out>, OpenCall {
  closed = false
  readonly #method: Method<Out, In>
  readonly #call: ClientDuplexStream<Buffer, Buffer>
  readonly #handlers: StreamHandlers<In>
  readonly #logger: Logger
  readonly #onGone: () => void
  readonly #window: WriteWindow
  #ended = false
  #status: StatusObject | undefined

  constructor(
    method: Method<Out, In>,
    call: ClientDuplexStream<Buffer, Buffer>,
    handlers: StreamHandlers<In>,
    logger: Logger,
    onGone: () => void,
  ) {
    this.#method = method
    this.#call = call
    this.#handlers = handlers
    this.#logger = logger
    this.#onGone = onGone
    this.#window = new WriteWindow(WRITE_QUEUE_BYTES, () => {
      if (!this.closed) this.#guard(() => handlers.onDrain?.())
    })
    call.on('data', (bytes: Buffer) => this.#receive(bytes))
    // The status tells more; without a listener Node would throw.
    call.on('error', () => {})
    call.on('status', (status: StatusObject) => {
      this.#status = status
      // Messages that came before the status are still in the stream's queue; 'end' follows them.
      setImmediate(() => this.#finishByStatus())
    })
    call.on('end', () => this.#finishByStatus())
  }

  write(message: Out): boolean {
    if (this.closed) return false
    const bytes = asBuffer(this.#method.request.encode(message))
    const room = this.#window.admit(bytes.length)
    this.#call.write(bytes, this.#window.written)
    return room
  }

  end(): void {
    if (this.closed) return
    this.closed = true
    this.#call.end()
    process.nextTick(() => this.#finish(undefined))
  }

  fail(error: TransportError): void {
    this.closed = true
    this.#call.cancel()
    process.nextTick(() => this.#finish(error))
    this.#onGone()
  }

  #receive(bytes: Buffer): void {
    if (this.closed) return
    let message: In
    try {
      message = decodeReply(this.#method, bytes)
    } catch (error) {
      this.fail(error as TransportError)
      return
    }
    // Not through #guard: this is the hot path, and a closure per message shows.
    try {
      this.#handlers.onMessage(message)
    } catch (error) {
      this.#handlerThrew(error)
    }
  }

  #finishByStatus(): void {
    const status = this.#status
    if (status === undefined) return
    this.#onGone()
    this.#finish(status.code === 0 ? undefined : decodeStatus(status))
  }

  #finish(error: TransportError | undefined): void {
    if (this.#ended) return
    this.#ended = true
    this.closed = true
    // The other side is done: nothing more can reach it.
    if (this.#status !== undefined && !this.#call.writableEnded) this.#call.end()
    this.#guard(() => this.#handlers.onEnd(error))
  }

  /** A handler that throws ends its stream, not the process. */
  #guard(handler: () => void): void {
    try {
      handler()
    } catch (error) {
      this.#handlerThrew(error)
    }
  }

  #handlerThrew(error: unknown): void {
    this.#logger.error({ method: this.#method.path, err: error }, 'a stream handler threw')
    if (!this.#ended) this.fail(new TransportError('INTERNAL', `${this.#method.path}: the receiver failed`))
  }
}

function decodeReply<Request, Response>(method: Method<Request, Response>, reply: Buffer): Response {
  try {
    return method.response.decode(reply)
  } catch {
    throw new TransportError('INTERNAL', `${method.path}: the answer is not what was agreed`)
  }
}

function newClient(address: string): Client {
  return new Client(`dns:${address}`, credentials.createInsecure(), channelOptions)
}

function closedError(address: string): TransportError {
  return new TransportError('CANCELLED', `the connection to ${address} was closed`)
}
