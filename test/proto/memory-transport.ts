import type { Clock } from '../../base/clock.ts'
import {
  type Channel,
  type ListenAddress,
  type Method,
  type Route,
  type Stream,
  type StreamHandlers,
  type Transport,
  TransportError,
} from '../../base/transport.ts'
import { SimClock } from '../sim/sim-clock.ts'
import { World } from '../sim/world.ts'

/** A small network for tests of clients and servers: every message takes a millisecond; an address may refuse, hang or be gone. */
export class MemoryNetwork implements Transport {
  readonly clock: Clock
  /** Addresses that take calls and never answer. */
  readonly hanging = new Set<string>()
  /** What was called, in order: 'address path'. */
  readonly calls: string[] = []
  readonly #servers = new Map<string, { routes: readonly Route[]; listener: string }>()
  readonly #streams = new Map<string, Set<() => void>>()

  constructor(clock: Clock) {
    this.clock = clock
  }

  async listen(addresses: readonly ListenAddress[], routes: readonly Route[]) {
    for (const { name, address } of addresses) this.#servers.set(address, { routes, listener: name })
    return {
      addresses,
      close: async () => {
        for (const { address } of addresses) this.drop(address)
      },
    }
  }

  /** The server at `address` is gone, and its streams are broken. */
  drop(address: string): void {
    this.#servers.delete(address)
    for (const end of [...(this.#streams.get(address) ?? [])]) end()
  }

  openStreams(address: string): number {
    return this.#streams.get(address)?.size ?? 0
  }

  connect(address: string): Channel {
    let closed = false
    const ends = new Set<() => void>()
    return {
      address,
      unary: (method, request, options) => {
        if (closed) return Promise.reject(new TransportError('CANCELLED', 'channel closed'))
        return this.#unary(address, method, request, options, ends)
      },
      stream: (method, handlers) => this.#stream(address, method, handlers, ends),
      close: () => {
        closed = true
        for (const end of [...ends]) end()
      },
    }
  }

  #unary<Request, Response>(
    address: string,
    method: Method<Request, Response>,
    request: Request,
    options: { timeoutMs: number; signal?: AbortSignal },
    ends: Set<() => void>,
  ): Promise<Response> {
    this.calls.push(`${address} ${method.path.split('/')[2]}`)
    const bytes = method.request.encode(request)
    return new Promise((resolve, reject) => {
      const fail = (code: 'DEADLINE_EXCEEDED' | 'CANCELLED' | 'UNAVAILABLE', text: string) => reject(new TransportError(code, text))
      const cancel = () => fail('CANCELLED', 'cancelled')
      ends.add(cancel)
      options.signal?.addEventListener('abort', cancel)
      this.clock.setTimer(options.timeoutMs, () => fail('DEADLINE_EXCEEDED', 'deadline'))
      this.clock.setTimer(1, () => {
        if (this.hanging.has(address)) return
        const server = this.#servers.get(address)
        const route = server?.routes.find((one) => one.method.path === method.path)
        if (server === undefined || route === undefined || !('handle' in route)) return fail('UNAVAILABLE', 'connection refused')
        route.handle(route.method.request.decode(bytes), { listener: server.listener, peer: 'test' }).then((reply) => {
          const answer = route.method.response.encode(reply)
          this.clock.setTimer(1, () => resolve(method.response.decode(answer)))
        }, reject)
      })
    })
  }

  #stream<Request, Response>(
    address: string,
    method: Method<Request, Response>,
    handlers: StreamHandlers<Response>,
    ends: Set<() => void>,
  ): Stream<Request> {
    this.calls.push(`${address} ${method.path.split('/')[2]}`)
    const server = this.#servers.get(address)
    const route = server?.routes.find((one) => one.method.path === method.path)
    let closed = false
    let receiver: StreamHandlers<unknown> | undefined
    const streams = this.#streams.get(address) ?? new Set()
    this.#streams.set(address, streams)
    const end = (error?: TransportError) => {
      if (closed) return
      closed = true
      streams.delete(breakOff)
      ends.delete(cancel)
      handlers.onEnd(error)
      receiver?.onEnd(error)
    }
    const breakOff = () => end(new TransportError('UNAVAILABLE', 'broken'))
    const cancel = () => end(new TransportError('CANCELLED', 'cancelled'))
    const later = (act: () => void) => this.clock.setTimer(1, () => (closed || this.hanging.has(address) ? undefined : act()))
    ends.add(cancel)
    if (server !== undefined && route !== undefined && 'accept' in route) {
      streams.add(breakOff)
      const toCaller: Stream<unknown> = {
        write: (message) => {
          const bytes = route.method.response.encode(message)
          later(() => handlers.onMessage(method.response.decode(bytes)))
          return true
        },
        end: () => end(),
        get closed() {
          return closed
        },
      }
      later(() => {
        receiver = route.accept(toCaller, { listener: server.listener, peer: 'test' })
      })
    } else {
      this.clock.setTimer(1, () => end(new TransportError('UNAVAILABLE', 'connection refused')))
    }
    return {
      write: (message) => {
        const bytes = method.request.encode(message)
        later(() => receiver?.onMessage((route as Route).method.request.decode(bytes)))
        return true
      },
      end: () => end(),
      get closed() {
        return closed
      },
    }
  }
}

/** A world on virtual time with such a network. */
export function memoryWorld(seed: number): { world: World; clock: Clock; network: MemoryNetwork } {
  const world = new World({ seed })
  const clock = new SimClock({
    runningMs: () => world.nowMs,
    worldMs: () => world.nowMs,
    schedule: (delayMs, what, callback) => world.schedule(delayMs, undefined, what, callback),
  })
  return { world, clock, network: new MemoryNetwork(clock) }
}
