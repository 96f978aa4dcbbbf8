import { once } from 'node:events'
import net from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { type ConnectionInjector, Server, type ServerDuplexStream, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js'
import { systemErrorCode } from './errors.ts'
import { asBuffer, passBytes, serverOptions, WINDOW_BYTES, WRITE_QUEUE_BYTES } from './grpc-options.ts'
import { encodeStatus } from './grpc-status.ts'
import { injectorWithWindow } from './grpc-window.ts'
import { WriteWindow } from './grpc-write-window.ts'
import type { Logger } from './logger.ts'
import {
  type CallContext,
  type ListenAddress,
  type Route,
  type Stream,
  type StreamHandlers,
  type StreamRoute,
  TransportError,
  type UnaryRoute,
} from './transport.ts'

/** After the handlers have returned: how long their answers may take to leave. */
const FLUSH_MS = 1_000
/** Streams end one after the other, a step after each, over at most about this long: who loses one dials anew or turns to others, and not all in the same millisecond. */
const PARTING_MS = 300
const PARTING_STEPS = 20

/** One bound port under one listener's name, with a gRPC server of its own, so that a call knows by which name it came in. */
export class GrpcPort {
  readonly name: string
  readonly #logger: Logger
  readonly #server: Server
  readonly #injector: ConnectionInjector
  readonly #net: net.Server
  readonly #sockets = new Set<net.Socket>()
  readonly #streams = new Set<GrpcServerStream<unknown, unknown>>()
  #unaryCalls = 0
  #closing = false
  /** Called whenever a call or a connection has ended. */
  #onProgress: () => void = () => {}

  /** `extend` adds services beside the routes (health, reflection). */
  constructor(name: string, routes: readonly Route[], logger: Logger, extend: (server: Server) => void) {
    this.name = name
    this.#logger = logger
    this.#server = new Server(serverOptions)
    for (const route of routes) this.#register(route)
    extend(this.#server)
    const { injector, raised } = injectorWithWindow(this.#server, WINDOW_BYTES)
    if (!raised) logger.warn({}, 'this version of grpc-js does not let its windows be raised: bulk uploads will be slow')
    this.#injector = injector
    this.#net = net.createServer({ noDelay: true }, (socket) => this.#accept(socket))
  }

  /** Binds 'HOST:PORT' and returns it with the port in fact bound. Rejects with `code` EADDRINUSE if it is taken. */
  async bind(address: string): Promise<string> {
    const { host, port } = splitAddress(address)
    this.#net.listen({ host, port })
    try {
      await once(this.#net, 'listening')
    } catch (error) {
      this.#server.forceShutdown()
      throw Object.assign(new Error(bindFailure(address, error)), { code: systemErrorCode(error) ?? 'UNKNOWN' })
    }
    this.#net.on('error', (error) => this.#logger.error({ err: error }, 'the listening socket failed'))
    const bound = this.#net.address()
    if (bound === null || typeof bound === 'string') throw new Error(`${address} is not a TCP address`)
    return `${address.slice(0, address.lastIndexOf(':'))}:${bound.port}`
  }

  async close(graceMs: number): Promise<void> {
    this.#closing = true
    this.#net.close()
    const startMs = performance.now()
    const restMs = () => Math.max(0, graceMs - (performance.now() - startMs))
    await this.#endStreams(Math.min(graceMs, PARTING_MS))
    this.#injector.drain(restMs())
    await this.#until(() => this.#unaryCalls === 0, restMs())
    await this.#until(() => this.#sockets.size === 0, Math.min(restMs(), FLUSH_MS))
    for (const socket of this.#sockets) socket.destroy()
    this.#injector.destroy()
    this.#server.forceShutdown()
  }

  async #endStreams(withinMs: number): Promise<void> {
    const streams = [...this.#streams]
    const perStep = Math.ceil(streams.length / PARTING_STEPS)
    for (const [i, stream] of streams.entries()) {
      stream.end()
      if (i % perStep === perStep - 1 && i < streams.length - 1) await delay(withinMs / PARTING_STEPS)
    }
  }

  #accept(socket: net.Socket): void {
    if (this.#closing) {
      socket.destroy()
      return
    }
    this.#sockets.add(socket)
    // HTTP/2 listens too; this one is for what a peer does to a socket before HTTP/2 has it.
    socket.on('error', () => socket.destroy())
    socket.once('close', () => {
      this.#sockets.delete(socket)
      this.#onProgress()
    })
    this.#injector.injectConnection(socket)
  }

  #until(condition: () => boolean, timeoutMs: number): Promise<void> {
    if (condition()) return Promise.resolve()
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer)
        this.#onProgress = () => {}
        resolve()
      }
      const timer = setTimeout(done, timeoutMs)
      this.#onProgress = () => {
        if (condition()) done()
      }
    })
  }

  #register(route: Route): void {
    const { path } = route.method
    if ('handle' in route) {
      const handler = (call: ServerUnaryCall<Buffer, Buffer>, respond: sendUnaryData<Buffer>) => void this.#serveUnary(route, call, respond)
      this.#server.register(path, handler, passBytes, passBytes, 'unary')
    } else {
      const handler = (call: ServerDuplexStream<Buffer, Buffer>) => this.#serveStream(route, call)
      this.#server.register(path, handler, passBytes, passBytes, 'bidi')
    }
  }

  async #serveUnary(
    route: UnaryRoute<unknown, unknown>,
    call: ServerUnaryCall<Buffer, Buffer>,
    respond: sendUnaryData<Buffer>,
  ): Promise<void> {
    this.#unaryCalls++
    try {
      if (this.#closing) throw new TransportError('UNAVAILABLE', 'the server is closing')
      const request = decodeRequest(route, call.request)
      const reply = await route.handle(request, this.#contextOf(call))
      respond(null, asBuffer(route.method.response.encode(reply)))
    } catch (error) {
      respond(encodeStatus(refusalOf(route, error, this.#logger)))
    } finally {
      this.#unaryCalls--
      this.#onProgress()
    }
  }

  #serveStream(route: StreamRoute<unknown, unknown>, call: ServerDuplexStream<Buffer, Buffer>): void {
    const stream: GrpcServerStream<unknown, unknown> = new GrpcServerStream(route, call, this.#logger, () => this.#streams.delete(stream))
    if (this.#closing) {
      stream.fail(new TransportError('UNAVAILABLE', 'the server is closing'))
      return
    }
    this.#streams.add(stream)
    stream.open(this.#contextOf(call))
  }

  #contextOf(call: { getPeer(): string }): CallContext {
    return { listener: this.name, peer: call.getPeer() }
  }
}

/** The server's end of a stream. */
class GrpcServerStream<Out, In> implements Stream<Out> {
  closed = false
  readonly #route: StreamRoute<In, Out>
  readonly #call: ServerDuplexStream<Buffer, Buffer>
  readonly #logger: Logger
  readonly #onGone: () => void
  readonly #window: WriteWindow
  #handlers: StreamHandlers<In> | undefined
  #ended = false

  constructor(route: StreamRoute<In, Out>, call: ServerDuplexStream<Buffer, Buffer>, logger: Logger, onGone: () => void) {
    this.#route = route
    this.#call = call
    this.#logger = logger
    this.#onGone = onGone
    this.#window = new WriteWindow(WRITE_QUEUE_BYTES, () => {
      if (!this.closed) this.#guard(() => this.#handlers?.onDrain?.())
    })
    call.on('error', () => {})
    call.on('cancelled', () => this.#finish(new TransportError('CANCELLED', 'the other side is gone')))
    call.on('close', () => this.#finish(new TransportError('CANCELLED', 'the other side is gone')))
    // A stream that was reset ends too, and Node says that it was reset two turns later.
    call.on('end', () => setImmediate(() => setImmediate(() => this.#endedByPeer())))
  }

  open(context: CallContext): void {
    this.#guard(() => {
      this.#handlers = this.#route.accept(this, context)
    })
    this.#call.on('data', (bytes: Buffer) => this.#receive(bytes))
  }

  write(message: Out): boolean {
    if (this.closed) return false
    const bytes = asBuffer(this.#route.method.response.encode(message))
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

  /** Ends the call with `error` as its status. */
  fail(error: TransportError): void {
    this.closed = true
    // grpc-js takes the status of a stream from an 'error' event.
    this.#call.emit('error', encodeStatus(error))
    process.nextTick(() => this.#finish(error))
  }

  #receive(bytes: Buffer): void {
    if (this.closed) return
    let request: In
    try {
      request = decodeRequest(this.#route, bytes)
    } catch (error) {
      this.fail(refusalOf(this.#route, error, this.#logger))
      return
    }
    // Not through #guard: this is the hot path, and a closure per message shows.
    try {
      this.#handlers?.onMessage(request)
    } catch (error) {
      this.#handlerThrew(error)
    }
  }

  #endedByPeer(): void {
    this.#finish(undefined)
    if (!this.#call.writableEnded) this.#call.end()
  }

  #finish(error: TransportError | undefined): void {
    if (this.#ended) return
    this.#ended = true
    this.closed = true
    this.#onGone()
    this.#guard(() => this.#handlers?.onEnd(error))
  }

  #guard(handler: () => void): void {
    try {
      handler()
    } catch (error) {
      this.#handlerThrew(error)
    }
  }

  #handlerThrew(error: unknown): void {
    const refusal = refusalOf(this.#route, error, this.#logger)
    if (!this.#ended) this.fail(refusal)
  }
}

function decodeRequest<In, Out>(route: UnaryRoute<In, Out> | StreamRoute<In, Out>, bytes: Buffer): In {
  try {
    return route.method.request.decode(bytes)
  } catch {
    throw new TransportError('INVALID_ARGUMENT', `${route.method.path}: the request is no such message`)
  }
}

/** What a caller is told of what a handler threw. Anything but a TransportError is our own bug: it is logged, and told in one line. */
function refusalOf(route: Route, error: unknown, logger: Logger): TransportError {
  if (error instanceof TransportError) return error
  logger.error({ method: route.method.path, err: error }, 'a handler threw')
  return new TransportError('INTERNAL', `${route.method.path} failed: ${error instanceof Error ? error.message : String(error)}`)
}

/** 'HOST:PORT' or '[HOST]:PORT' in its parts. */
function splitAddress(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(':')
  return { host: address.slice(0, colon).replace(/^\[(.*)\]$/, '$1'), port: Number(address.slice(colon + 1)) }
}

function bindFailure(address: string, error: unknown): string {
  const code = systemErrorCode(error)
  if (code === 'EADDRINUSE') return `address ${address} is in use: stop what listens there, or choose another port`
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') return `address ${address} is not one of this machine`
  if (code === 'EACCES') return `address ${address} may not be used by this user: choose a port above 1023`
  return `address ${address} cannot be listened on: ${error instanceof Error ? error.message : String(error)}`
}

/** All ports of one `listen`. */
export async function bindAll(ports: readonly GrpcPort[], addresses: readonly ListenAddress[]): Promise<ListenAddress[]> {
  const bound: ListenAddress[] = []
  try {
    for (const [index, { name, address }] of addresses.entries()) {
      const port = ports[index]
      if (port !== undefined) bound.push({ name, address: await port.bind(address) })
    }
    return bound
  } catch (error) {
    await Promise.all(ports.slice(0, bound.length).map((port) => port.close(0)))
    throw error
  }
}
