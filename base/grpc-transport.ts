/**
 * Transport over gRPC (`@grpc/grpc-js`). Every listener also serves the standard health service (each service of the routes is SERVING
 * until the listener closes) and, where a descriptor was handed in, server reflection, so that `grpcurl` and other languages need nothing.
 */
import { GrpcChannel } from './grpc-channel.ts'
import { bindAll, GrpcPort } from './grpc-listener.ts'
import { GrpcReflection } from './grpc-reflection.ts'
import type { Logger } from './logger.ts'
import type { Channel, ListenAddress, Listener, Route, Transport } from './transport.ts'

export interface GrpcTransportOptions {
  readonly logger: Logger
  /** The `.proto` files as protobufjs writes them in JSON (`proto/gen/descriptor.json`), for reflection; without it there is none. */
  readonly descriptor?: object
}

export class GrpcTransport implements Transport {
  readonly #logger: Logger
  readonly #descriptor: object | undefined

  constructor(options: GrpcTransportOptions) {
    this.#logger = options.logger
    this.#descriptor = options.descriptor
  }

  /** Rejects with an Error whose `code` is the system's (EADDRINUSE, EACCES, …) and whose message names the address; nothing is bound then. */
  async listen(addresses: readonly ListenAddress[], routes: readonly Route[]): Promise<Listener> {
    // Only who listens pays for loading them: a client starts a third faster without.
    const { HealthImplementation } = await import('grpc-health-check')
    const health = new HealthImplementation({ '': 'SERVING' })
    const services = new Set(routes.map((route) => serviceOf(route)))
    for (const service of services) health.setStatus(service, 'SERVING')
    const reflection = this.#descriptor === undefined ? undefined : new GrpcReflection(this.#descriptor, [...services])
    const ports = addresses.map(
      ({ name }) =>
        new GrpcPort(name, routes, this.#logger, (server) => {
          health.addToServer(server)
          reflection?.addToServer(server)
        }),
    )
    const bound = await bindAll(ports, addresses)
    return {
      addresses: bound,
      close: async (graceMs) => {
        for (const service of ['', ...services]) health.setStatus(service, 'NOT_SERVING')
        await Promise.all(ports.map((port) => port.close(graceMs)))
      },
    }
  }

  connect(address: string): Channel {
    return new GrpcChannel(address, this.#logger)
  }
}

/** 'ostraka.v1.KV' of '/ostraka.v1.KV/Execute'. */
function serviceOf(route: Route): string {
  return route.method.path.slice(1, route.method.path.lastIndexOf('/'))
}
