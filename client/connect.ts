import { GrpcTransport } from '../base/grpc-transport.ts'
import { type Logger, silentLogger } from '../base/logger.ts'
import { NodeClock } from '../base/node-clock.ts'
import { NodeRandom } from '../base/node-random.ts'
import { Client } from './client.ts'
import type { ReadMode } from './types.ts'
import { invalid } from './validate.ts'

export interface ConnectOptions {
  /** HOST:PORT of the controllers; one is enough, all are better. */
  readonly controllers: readonly string[]
  /** Milliseconds until a call is given up, 1 to 600,000. Default: 5,000. `connect` itself waits as long. */
  readonly deadlineMs?: number | undefined
  /** How fresh reads are unless a call says otherwise. Default: 'linearizable'. */
  readonly read?: ReadMode | undefined
  /** How old answers to 'stale' reads may be, unless a call says otherwise. Default: 10,000. */
  readonly maxStalenessMs?: number | undefined
  /** Default: silent. pino's loggers fit. */
  readonly logger?: Logger | undefined
}

/** A client of the cluster behind `controllers`. Rejects with UNAVAILABLE if none of them answers within the deadline. */
export async function connect(options: ConnectOptions): Promise<Client> {
  const { controllers } = options
  if (!Array.isArray(controllers) || controllers.length === 0) throw invalid('connect needs controllers: a list of HOST:PORT')
  for (const address of controllers) checkAddress(address)
  const logger = options.logger ?? silentLogger
  const client = new Client({
    transport: new GrpcTransport({ logger }),
    clock: new NodeClock(),
    random: new NodeRandom(),
    logger,
    controllers,
    deadlineMs: options.deadlineMs,
    read: options.read,
    maxStalenessMs: options.maxStalenessMs,
  })
  try {
    await client.ready()
    return client
  } catch (error) {
    await client.close()
    throw error
  }
}

/** HOST:PORT, the host a name, an IPv4 address or an IPv6 address in brackets. */
function checkAddress(address: unknown): void {
  const port = typeof address === 'string' ? /^(?:\[[0-9a-fA-F:.]+\]|[^\s:/]+):(\d{1,5})$/.exec(address)?.[1] : undefined
  if (port === undefined || Number(port) < 1 || Number(port) > 65_535)
    throw invalid(`a controller's address is HOST:PORT, not '${String(address)}'`)
}
