/** The Transport of one process incarnation over the simulated network. */
import { AssertionError } from '../../base/assert.ts'
import {
  type CallContext,
  type Channel,
  type Codec,
  type ListenAddress,
  type Listener,
  type Method,
  type Route,
  type Stream,
  type StreamHandlers,
  type StreamRoute,
  type Transport,
  TransportError,
  type TransportErrorCode,
  type UnaryRoute,
} from '../../base/transport.ts'
import { type EndHandlers, SimConnection, type SimEnd, unavailable } from './sim-connection.ts'
import type { SimNetwork } from './sim-network.ts'
import type { SimProcess } from './sim-process.ts'

/** A process's claim on addresses. */
export class ListenerBinding {
  readonly process: SimProcess
  readonly routes: ReadonlyMap<string, Route>
  /** Listener names by address. */
  readonly names = new Map<string, string>()
  /** Open streams. */
  readonly streams = new Set<SimEnd>()
  /** Unary calls without an answer yet. */
  readonly calls = new Set<SimEnd>()
  /** Unary handlers that have not returned. */
  handling = 0
  whenIdle: (() => void) | undefined
  #closed = false

  constructor(process: SimProcess, routes: readonly Route[]) {
    this.process = process
    this.routes = new Map(routes.map((route) => [route.method.path, route]))
  }

  get isOpen(): boolean {
    return !this.#closed && this.process.alive
  }

  close(): void {
    this.#closed = true
    for (const end of [...this.streams]) end.end(undefined, undefined)
  }

  giveUpCalls(): void {
    for (const end of [...this.calls]) end.end(unavailable('the server has closed'), undefined)
  }
}

export class SimTransport implements Transport {
  readonly #process: SimProcess
  readonly #network: SimNetwork

  constructor(process: SimProcess, network: SimNetwork) {
    this.#process = process
    this.#network = network
  }

  async listen(addresses: readonly ListenAddress[], routes: readonly Route[]): Promise<Listener> {
    const binding = new ListenerBinding(this.#process, routes)
    const bound: ListenAddress[] = []
    for (const { name, address } of addresses) {
      const actual = this.#network.bind(binding, address)
      if (actual === undefined) {
        binding.close()
        throw Object.assign(new Error(`EADDRINUSE: ${address}`), { code: 'EADDRINUSE' })
      }
      binding.names.set(actual, name)
      bound.push({ name, address: actual })
    }
    return { addresses: bound, close: (graceMs) => this.#close(binding, graceMs) }
  }

  connect(address: string): Channel {
    return new SimChannel(this.#process, this.#network, address)
  }

  #close(binding: ListenerBinding, graceMs: number): Promise<void> {
    binding.close()
    if (binding.handling === 0) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = this.#process.clock.setTimer(graceMs, () => {
        binding.giveUpCalls()
        resolve()
      })
      binding.whenIdle = () => {
        timer.cancel()
        resolve()
      }
    })
  }
}

class SimChannel implements Channel {
  readonly address: string
  readonly #process: SimProcess
  readonly #network: SimNetwork
  readonly #ends = new Set<SimEnd>()
  #closed = false

  constructor(process: SimProcess, network: SimNetwork, address: string) {
    this.#process = process
    this.#network = network
    this.address = address
  }

  unary<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    options: { timeoutMs: number; signal?: AbortSignal },
  ): Promise<Response> {
    return new Promise<Response>((resolve, reject) => {
      const { signal } = options
      let isSettled = false
      const settled = () => {
        isSettled = true
        timer.cancel()
        signal?.removeEventListener('abort', abort)
      }
      const stream = this.stream(method, {
        onMessage: (response) => {
          settled()
          resolve(response)
        },
        onEnd: (error) => {
          if (isSettled) return
          settled()
          reject(error ?? unavailable(`${this.address} ended the call ${method.path} without an answer`))
        },
      })
      const giveUp = (error: TransportError) => {
        settled()
        reject(error)
        stream.end()
      }
      const abort = () => giveUp(new TransportError('CANCELLED', `call ${method.path} was cancelled`))
      const timer = this.#process.clock.setTimer(options.timeoutMs, () =>
        giveUp(new TransportError('DEADLINE_EXCEEDED', `no answer from ${this.address} to ${method.path} within ${options.timeoutMs} ms`)),
      )
      signal?.addEventListener('abort', abort)
      if (signal?.aborted) abort()
      else stream.write(request)
    })
  }

  stream<Request, Response>(method: Method<Request, Response>, handlers: StreamHandlers<Response>): Stream<Request> {
    const receiver = this.#receiver(method, handlers)
    const binding = this.#network.bindingAt(this.address)
    if (this.#closed)
      return refused(this.#process, receiver, new TransportError('CANCELLED', `the channel to ${this.address} is closed`), 0)
    if (binding === undefined || !binding.isOpen || !this.#process.alive) {
      return refused(this.#process, receiver, unavailable(`nobody listens at ${this.address}`), this.#refusalMs(binding))
    }
    const { client } = new SimConnection(this.#network, {
      client: this.#process,
      server: binding.process,
      address: this.address,
      path: method.path,
      lossy: method.lossy ?? false,
      handlers: receiver,
      opener: (end) => accept(this.#network, this.address, method.path, end),
    })
    receiver.end = client
    if (!client.finished) this.#ends.add(client)
    return new SimStream(client, (message: Request) => {
      const bytes = method.request.encode(message)
      this.#network.sent(method.path, this.address, bytes)
      return bytes
    })
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    const error = new TransportError('CANCELLED', `the channel to ${this.address} was closed`)
    for (const end of this.#ends) end.end(error, error)
  }

  /** A live machine refuses at once; one that is down, or behind a cut link, does not answer at all. */
  #refusalMs(binding: ListenerBinding | undefined): number {
    if (binding === undefined) return this.#process.worldRandom.next()
    const link = this.#network.link(this.#process.name, binding.process.name)
    const isSilent = link.cut === 'stall' || (!binding.process.alive && this.#network.draw(0.5))
    return isSilent ? this.#network.drawBreakMs() : this.#network.drawDelayMs(link)
  }

  #receiver<Request, Response>(
    method: Method<Request, Response>,
    handlers: StreamHandlers<Response>,
  ): EndHandlers & { end: SimEnd | undefined } {
    const receiver: EndHandlers & { end: SimEnd | undefined } = {
      end: undefined,
      onBytes: (bytes) => {
        const message = decode(bytes, method.response, receiver.end, 'INTERNAL')
        if (message !== undefined) handlers.onMessage(message.message)
      },
      onDrain: () => handlers.onDrain?.(),
      onEnd: (error) => {
        if (receiver.end !== undefined) this.#ends.delete(receiver.end)
        handlers.onEnd(error)
      },
    }
    return receiver
  }
}

/** A stream that cannot be had: it ends after `delayMs`, or soon after its user ends it. */
function refused(process: SimProcess, receiver: EndHandlers, error: TransportError, delayMs: number): Stream<never> {
  let closed = false
  const refusal = process.schedule(delayMs, 'refused', () => {
    closed = true
    receiver.onEnd(error)
  })
  return {
    write: () => false,
    end: () => {
      if (closed) return
      closed = true
      refusal.cancel()
      process.schedule(0, 'stream ends', () => receiver.onEnd(undefined))
    },
    get closed() {
      return closed
    },
  }
}

class SimStream<Out> implements Stream<Out> {
  readonly #end: SimEnd
  readonly #encode: (message: Out) => Uint8Array

  constructor(end: SimEnd, encode: (message: Out) => Uint8Array) {
    this.#end = end
    this.#encode = encode
  }

  write(message: Out): boolean {
    if (this.#end.closed) return false
    // A copy: an encoder may use its buffer again.
    return this.#end.write(this.#encode(message).slice())
  }

  end(): void {
    this.#end.end(undefined, undefined)
  }

  get closed(): boolean {
    return this.#end.closed
  }
}

/** The server's side of a new stream. */
function accept(network: SimNetwork, address: string, path: string, end: SimEnd): EndHandlers | TransportError {
  const binding = network.bindingAt(address)
  if (binding === undefined || !binding.isOpen || binding.process !== end.process) return unavailable(`nobody listens at ${address}`)
  const route = binding.routes.get(path)
  if (route === undefined) return new TransportError('UNIMPLEMENTED', `${path} is not served at ${address}`)
  const context: CallContext = {
    listener: binding.names.get(address) ?? 'default',
    peer: `${end.connection.client.process.name}:0`,
  }
  return 'accept' in route ? acceptStream(route, binding, end, context) : acceptUnary(route, binding, end, context)
}

function acceptStream(
  route: StreamRoute<unknown, unknown>,
  binding: ListenerBinding,
  end: SimEnd,
  context: CallContext,
): EndHandlers | TransportError {
  const { method } = route
  let handlers: StreamHandlers<unknown>
  try {
    handlers = route.accept(new SimStream(end, (message: unknown) => method.response.encode(message)), context)
  } catch (error) {
    return asAnswer(error, method)
  }
  binding.streams.add(end)
  return {
    onBytes: (bytes) => {
      const message = decode(bytes, method.request, end, 'INVALID_ARGUMENT')
      if (message === undefined) return
      try {
        handlers.onMessage(message.message)
      } catch (error) {
        end.end(asAnswer(error, method), undefined)
      }
    },
    onDrain: () => handlers.onDrain?.(),
    onEnd: (error) => {
      binding.streams.delete(end)
      handlers.onEnd(error)
    },
  }
}

function acceptUnary(route: UnaryRoute<unknown, unknown>, binding: ListenerBinding, end: SimEnd, context: CallContext): EndHandlers {
  const { method } = route
  binding.calls.add(end)
  const handle = async (request: unknown) => {
    binding.handling++
    try {
      end.write(method.response.encode(await route.handle(request, context)).slice())
      end.end(undefined, undefined)
    } catch (error) {
      end.end(asAnswer(error, method), undefined)
    } finally {
      if (--binding.handling === 0) binding.whenIdle?.()
    }
  }
  return {
    onBytes: (bytes) => {
      const message = decode(bytes, method.request, end, 'INVALID_ARGUMENT')
      if (message !== undefined) void handle(message.message)
    },
    onDrain: () => {},
    onEnd: () => binding.calls.delete(end),
  }
}

/** What a handler's error is on the wire. A failed assertion is a bug of ours: it fails the run instead of being answered. */
function asAnswer(error: unknown, method: Method<unknown, unknown>): TransportError {
  if (error instanceof TransportError) return error
  if (error instanceof AssertionError) throw error
  return new TransportError('INTERNAL', `${method.path} failed: ${String(error).split('\n')[0]}`)
}

/** Bytes that are no message end the stream with `code`, on both sides. */
function decode<T>(bytes: Uint8Array, codec: Codec<T>, end: SimEnd | undefined, code: TransportErrorCode): { message: T } | undefined {
  try {
    return { message: codec.decode(bytes) }
  } catch (error) {
    const broken = new TransportError(code, `a message that cannot be decoded: ${String(error)}`)
    end?.end(broken, broken)
    return undefined
  }
}
