import os from 'node:os'
import type { FileSystem } from '../base/file-system.ts'
import type { LogLevel } from '../base/node-logger.ts'
import type { Seams } from '../base/seams.ts'
import type { pb } from '../proto/messages.ts'
import type { Controllers, Database, Input, Output, World } from './world.ts'

/** About a third of what a process of usual priority gets where no core is free, so that what closes is not starved. */
const niceness = 5

/** The real world: gRPC, this machine, and `process`'s streams and variables: this one's unless a test puts others in their place. */
export class NodeWorld implements World {
  readonly stdin: Input
  readonly stdout: Output
  readonly stderr: Output
  readonly environment: Readonly<Record<string, string | undefined>>

  constructor(from: { stdin: Input; stdout: Output; stderr: Output; env: World['environment'] } = process) {
    this.stdin = from.stdin
    this.stdout = from.stdout
    this.stderr = from.stderr
    this.environment = from.env
  }

  get author(): string {
    return `${userName()}@${os.hostname()}`
  }

  async connect(options: { controllers: string[]; deadlineMs: number }): Promise<Database> {
    const { connect } = await import('../client/connect.ts')
    return await connect(options)
  }

  async controllers(addresses: readonly string[]): Promise<Controllers> {
    const { controllersAt } = await import('./cluster-calls.ts')
    return controllersAt(addresses)
  }

  async nodeStatus(address: string, request: pb.v1.NodeStatusRequest.$Properties, timeoutMs: number): Promise<pb.v1.NodeStatusReply> {
    const { nodeStatus } = await import('./cluster-calls.ts')
    return await nodeStatus(address, request, timeoutMs)
  }

  async transferLeader(
    address: string,
    request: pb.v1.TransferLeaderRequest.$Properties,
    timeoutMs: number,
  ): Promise<pb.v1.TransferLeaderReply> {
    const { transferLeader } = await import('./cluster-calls.ts')
    return await transferLeader(address, request, timeoutMs)
  }

  async compact(address: string, request: pb.v1.CompactRequest.$Properties, timeoutMs: number): Promise<pb.v1.CompactReply> {
    const { compact } = await import('./cluster-calls.ts')
    return await compact(address, request, timeoutMs)
  }

  async fileSystem(): Promise<FileSystem> {
    const { NodeFileSystem } = await import('../base/node-file-system.ts')
    return new NodeFileSystem()
  }

  async seams(logLevel: string, fields: object): Promise<Seams> {
    const { serverSeams } = await import('./server-seams.ts')
    return serverSeams(logLevel as LogLevel, fields)
  }

  yieldProcessor(): void {
    try {
      // On Linux, of the main thread. A process that was started with less keeps less.
      os.setPriority(Math.max(os.getPriority(), niceness))
    } catch {
      // Where the system does not allow it, the processor is shared as before.
    }
  }
}

/** A container may run under a user id that has no name. */
function userName(): string {
  try {
    return os.userInfo().username
  } catch {
    return String(process.getuid?.() ?? 'unknown')
  }
}
