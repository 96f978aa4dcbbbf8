import { readFileSync } from 'node:fs'
import os from 'node:os'
import { GrpcTransport } from '../base/grpc-transport.ts'
import { silentLogger } from '../base/logger.ts'
import { NodeClock } from '../base/node-clock.ts'
import { NodeFileSystem } from '../base/node-file-system.ts'
import { type LogLevel, nodeLogger } from '../base/node-logger.ts'
import { NodeRandom } from '../base/node-random.ts'
import type { Seams } from '../base/seams.ts'
import { type Method, TransportError } from '../base/transport.ts'
import { ControllerClient } from '../proto/controller-client.ts'
import { decodeError, OstrakaError } from '../proto/errors.ts'
import type { pb } from '../proto/messages.ts'
import { nodeMethods } from '../proto/methods.ts'
import { JobLanes } from './job-lanes.ts'
import type { Controllers, Database, World } from './world.ts'

/** The real world: this process's streams, gRPC, this machine. */
export class NodeWorld implements World {
  readonly stdin = process.stdin
  readonly stdout = process.stdout
  readonly stderr = process.stderr
  readonly environment = process.env

  get author(): string {
    return `${userName()}@${os.hostname()}`
  }

  async connect(options: { controllers: string[]; deadlineMs: number }): Promise<Database> {
    const { connect } = await import('../client/connect.ts')
    return await connect(options)
  }

  controllers(addresses: readonly string[]): Controllers {
    const transport = new GrpcTransport({ logger: silentLogger })
    return new ControllerClient({ transport, clock: new NodeClock(), random: new NodeRandom(), logger: silentLogger, addresses })
  }

  nodeStatus(address: string, request: pb.v1.NodeStatusRequest.$Properties, timeoutMs: number): Promise<pb.v1.NodeStatusReply> {
    return this.#askNode(nodeMethods.status, address, request as pb.v1.NodeStatusRequest, timeoutMs)
  }

  transferLeader(address: string, request: pb.v1.TransferLeaderRequest.$Properties, timeoutMs: number): Promise<pb.v1.TransferLeaderReply> {
    return this.#askNode(nodeMethods.transferLeader, address, request as pb.v1.TransferLeaderRequest, timeoutMs)
  }

  async #askNode<Request, Reply extends { readonly error?: pb.v1.Error.$Properties | null }>(
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

  seams(logLevel: string, fields: object): Seams {
    const logger = nodeLogger(logLevel as LogLevel, fields)
    return {
      logger,
      clock: new NodeClock(),
      random: new NodeRandom(),
      fileSystem: new NodeFileSystem(),
      executor: new JobLanes(),
      transport: new GrpcTransport({ logger, descriptor: protoDescriptor() }),
    }
  }
}

/** Made by the build from `proto/*.proto`. */
function protoDescriptor(): object {
  const descriptor: unknown = JSON.parse(readFileSync(new URL('../proto/gen/descriptor.json', import.meta.url), 'utf8'))
  return descriptor as object
}

/** A container may run under a user id that has no name. */
function userName(): string {
  try {
    return os.userInfo().username
  } catch {
    return String(process.getuid?.() ?? 'unknown')
  }
}
