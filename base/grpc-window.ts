import type http2 from 'node:http2'
import { type ConnectionInjector, type Server, ServerCredentials } from '@grpc/grpc-js'

/**
 * grpc-js gives a server no say in its HTTP/2 windows: with Node's 64 KiB a busy server receives 14 to 35 MB/s where a client with larger
 * windows receives 150 to 220. This file reaches into two private fields of `Server` to raise them, and is the only one that does.
 * `test/base/grpc-window.test.ts` fails when a new version of grpc-js ignores it; the transport then still works, slower.
 */
interface ServerInternals {
  readonly commonServerOptions?: http2.ServerOptions
  readonly http2Servers?: ReadonlyMap<http2.Http2Server, unknown>
}

export interface WideInjector {
  readonly injector: ConnectionInjector
  /** False: this version of grpc-js has changed inside, the windows are Node's. */
  readonly raised: boolean
}

/** Makes `server` take connections whose windows, of each stream and of the connection as a whole, are `windowBytes`. */
export function injectorWithWindow(server: Server, windowBytes: number): WideInjector {
  const internals = server as unknown as ServerInternals
  const options = internals.commonServerOptions
  if (options !== undefined) options.settings = { ...options.settings, initialWindowSize: windowBytes }
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure())
  const servers = internals.http2Servers instanceof Map ? [...internals.http2Servers.keys()] : []
  for (const http2Server of servers) {
    http2Server.on('session', (session: http2.ServerHttp2Session) => {
      if (!session.destroyed) session.setLocalWindowSize(windowBytes)
    })
  }
  return { injector, raised: options !== undefined && servers.length > 0 }
}
