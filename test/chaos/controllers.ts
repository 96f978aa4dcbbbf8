import { GrpcTransport } from '../../base/grpc-transport.ts'
import { silentLogger } from '../../base/logger.ts'
import { NodeClock } from '../../base/node-clock.ts'
import { NodeRandom } from '../../base/node-random.ts'
import { ControllerClient } from '../../proto/controller-client.ts'

/** A client of real controllers, for what has to be faster than a command. To be closed. */
export function openControllers(addresses: readonly string[]): ControllerClient {
  const transport = new GrpcTransport({ logger: silentLogger })
  return new ControllerClient({ transport, clock: new NodeClock(), random: new NodeRandom(), logger: silentLogger, addresses })
}
