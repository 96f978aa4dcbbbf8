import type { Clock, Timer } from './clock.ts'
import { type CallContext, type Channel, type Method, type Route, TransportError, type UnaryRoute } from './transport.ts'

/** What is needed of a channel by those who open no stream. */
export type CallChannel = Pick<Channel, 'address' | 'unary' | 'close'>

const context: CallContext = { listener: 'default', peer: 'this process' }

/**
 * A channel to the routes of this process itself: a call is its handler's, with neither socket nor codec in between, and its reply is the handler's object.
 * What the handler throws comes as it is: here it is a failure of one's own.
 */
export class LocalChannel implements CallChannel {
  readonly address: string
  readonly #clock: Clock
  readonly #routes = new Map<string, Route>()
  readonly #calls = new Set<(error: TransportError) => void>()
  #closed = false

  constructor(address: string, clock: Clock, routes: readonly Route[]) {
    this.address = address
    this.#clock = clock
    for (const route of routes) this.#routes.set(route.method.path, route)
  }

  unary<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    { timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal },
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(closedError(this.address))
      if (signal?.aborted) return reject(gaveUp())
      const route = this.#routes.get(method.path)
      if (route === undefined || !('handle' in route)) return reject(new TransportError('UNIMPLEMENTED', `no ${method.path} here`))
      let timer: Timer | undefined
      const end = () => {
        timer?.cancel()
        this.#calls.delete(fail)
        signal?.removeEventListener('abort', abort)
      }
      const fail = (error: TransportError) => {
        end()
        reject(error)
      }
      const abort = () => fail(gaveUp())
      timer = this.#clock.setTimer(timeoutMs, () => fail(new TransportError('DEADLINE_EXCEEDED', `no answer within ${timeoutMs} ms`)))
      this.#calls.add(fail)
      signal?.addEventListener('abort', abort, { once: true })
      ;(route as UnaryRoute<Request, Response>).handle(request, context).finally(end).then(resolve, reject)
    })
  }

  close(): void {
    this.#closed = true
    for (const fail of [...this.#calls]) fail(closedError(this.address))
  }
}

function closedError(address: string): TransportError {
  return new TransportError('CANCELLED', `the channel to ${address} is closed`)
}

function gaveUp(): TransportError {
  return new TransportError('CANCELLED', 'the caller gave up')
}
