import { GrpcTransport } from '../base/grpc-transport.ts'
import { silentLogger } from '../base/logger.ts'
import { NodeClock } from '../base/node-clock.ts'
import { NodeRandom } from '../base/node-random.ts'
import { type Method, TransportError } from '../base/transport.ts'
import { ControllerClient } from '../proto/controller-client.ts'
import { decodeError } from '../proto/error-codec.ts'
import { OstrakaError } from '../proto/errors.ts'
import type { pb } from '../proto/messages.ts'
import { nodeMethods } from '../proto/methods.ts'

/** How commands reach controllers and nodes: over gRPC. */

export function controllersAt(addresses: readonly string[]): ControllerClient {
  const transport = new GrpcTransport({ logger: silentLogger })
  return new ControllerClient({ transport, clock: new NodeClock(), random: new NodeRandom(), logger: silentLogger, addresses })
}

export function nodeStatus(
  address: string,
  request: pb.v1.NodeStatusRequest.$Properties,
  timeoutMs: number,
): Promise<pb.v1.NodeStatusReply> {
  return askNode(nodeMethods.status, address, request as pb.v1.NodeStatusRequest, timeoutMs)
}

export function transferLeader(
  address: string,
  request: pb.v1.TransferLeaderRequest.$Properties,
  timeoutMs: number,
): Promise<pb.v1.TransferLeaderReply> {
  return askNode(nodeMethods.transferLeader, address, request as pb.v1.TransferLeaderRequest, timeoutMs)
}

export function compact(address: string, request: pb.v1.CompactRequest.$Properties, timeoutMs: number): Promise<pb.v1.CompactReply> {
  return askNode(nodeMethods.compact, address, request as pb.v1.CompactRequest, timeoutMs)
}

/** One call of the Node service at `address`. Rejects with an OstrakaError. */
async function askNode<Request, Reply extends { readonly error?: pb.v1.Error.$Properties | null }>(
  method: Method<Request, Reply>,
  address: string,
  request: Request,
  timeoutMs: number,
): Promise<Reply> {
  const channel = new GrpcTransport({ logger: silentLogger }).connect(address)
  try {
    const reply = await channel.unary(method, request, { timeoutMs })
    if (reply.error) throw decodeError(reply.error)
    return reply
  } catch (error) {
    if (!(error instanceof TransportError)) throw error
    throw new OstrakaError('UNAVAILABLE', `${address} does not answer: ${error.message}`, true)
  } finally {
    channel.close()
  }
}
