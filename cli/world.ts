import type { Readable, Writable } from 'node:stream'
import type { FileSystem } from '../base/file-system.ts'
import type { Seams } from '../base/seams.ts'
import type {
  Bytes,
  CallOptions,
  CompareAndSetResult,
  Condition,
  Explanation,
  Found,
  ReadOptions,
  Replacement,
  ScannedRecord,
  ScanOptions,
  WriteOptions,
  Written,
} from '../client/types.ts'
import type { Config } from '../proto/config.ts'
import type { ChangeOutcome, ControllerCallOptions } from '../proto/controller-client.ts'
import type { Directory } from '../proto/directory.ts'
import type { pb } from '../proto/messages.ts'

/** What a command reaches of the world outside, so that tests run commands without processes. */

/** What the data commands use of the SDK. */
export interface Database {
  put(key: Bytes, value: Bytes, options?: WriteOptions): Promise<Written>
  get(key: Bytes, options?: ReadOptions): Promise<Found | undefined>
  delete(key: Bytes, options?: CallOptions): Promise<{ existed: boolean }>
  append(key: Bytes, value: Bytes, options?: CallOptions): Promise<{ length: number; revision: number }>
  increment(key: Bytes, by?: bigint, options?: CallOptions): Promise<{ value: bigint; revision: number }>
  compareAndSet(key: Bytes, condition: Condition, replacement: Replacement, options?: WriteOptions): Promise<CompareAndSetResult>
  scan(options?: ScanOptions): AsyncIterable<ScannedRecord>
  explain(key: Bytes, options?: CallOptions): Promise<Explanation>
  close(): Promise<void>
}

/** What the admin commands use of `ControllerClient`. */
export interface Controllers {
  query(number: number, options: ControllerCallOptions): Promise<{ config: Config; directory: Directory }>
  join(request: pb.v1.JoinRequest.$Properties, options: ControllerCallOptions): Promise<ChangeOutcome>
  leave(request: pb.v1.LeaveRequest.$Properties, options: ControllerCallOptions): Promise<ChangeOutcome>
  move(request: pb.v1.MoveRequest.$Properties, options: ControllerCallOptions): Promise<ChangeOutcome>
  unpin(request: pb.v1.UnpinRequest.$Properties, options: ControllerCallOptions): Promise<ChangeOutcome>
  rebalance(request: pb.v1.RebalanceRequest.$Properties, options: ControllerCallOptions): Promise<ChangeOutcome>
  weigh(request: pb.v1.WeighRequest.$Properties, options: ControllerCallOptions): Promise<ChangeOutcome>
  autoRebalance(request: pb.v1.AutoRebalanceRequest.$Properties, options: ControllerCallOptions): Promise<ChangeOutcome>
  steer(request: pb.v1.SteerRequest.$Properties, options: ControllerCallOptions): Promise<ChangeOutcome>
  changeMembers(request: pb.v1.ChangeMembersRequest.$Properties, options: ControllerCallOptions): Promise<ChangeOutcome>
  replaceNode(request: pb.v1.ReplaceNodeRequest.$Properties, options: ControllerCallOptions): Promise<ChangeOutcome>
  listMigrations(request: pb.v1.MigrationsRequest.$Properties, options: ControllerCallOptions): Promise<pb.v1.MigrationsReply>
  plan(request: pb.v1.PlanRequest.$Properties, options: ControllerCallOptions): Promise<pb.v1.PlanReply>
  status(options: ControllerCallOptions & { readonly shards?: boolean }): Promise<pb.v1.ClusterStatusReply>
  close(): void
}

export interface Input extends Readable {
  readonly isTTY?: boolean
}

export interface Output extends Writable {
  readonly isTTY?: boolean
}

export interface World {
  readonly stdin: Input
  readonly stdout: Output
  readonly stderr: Output
  readonly environment: Readonly<Record<string, string | undefined>>
  /** What called us: 'user@host', for histories. */
  readonly author: string
  connect(options: { controllers: string[]; deadlineMs: number }): Promise<Database>
  controllers(addresses: readonly string[]): Promise<Controllers>
  /** The Node service of the process at `address`. Rejects with an OstrakaError. */
  nodeStatus(address: string, request: pb.v1.NodeStatusRequest.$Properties, timeoutMs: number): Promise<pb.v1.NodeStatusReply>
  /** Asks the process at `address` to hand the leadership of a group over. Rejects with an OstrakaError. */
  transferLeader(address: string, request: pb.v1.TransferLeaderRequest.$Properties, timeoutMs: number): Promise<pb.v1.TransferLeaderReply>
  /** Has the node at `address` write its tables anew. Rejects with an OstrakaError. */
  compact(address: string, request: pb.v1.CompactRequest.$Properties, timeoutMs: number): Promise<pb.v1.CompactReply>
  /** The files of this machine, for tools that need no server. */
  fileSystem(): Promise<FileSystem>
  /** The seams of a server process. */
  seams(logLevel: string, fields: object): Promise<Seams>
  /** What this process still does must not take the processor from others; it goes on slowly where they leave nothing. Best effort. */
  yieldProcessor(): void
}
