import type protobuf from 'protobufjs/minimal.js'
import type { Codec, Method } from '../base/transport.ts'
import { encoded } from './encode.ts'
import { pb } from './messages.ts'

/** Our gRPC methods as the transport wants them. One constant a method; the `.proto` files say what each does. */

interface GeneratedMessage<T> {
  encode(message: NoInfer<T>, writer?: protobuf.Writer): protobuf.Writer
  decode(bytes: Uint8Array): T
}

function codec<T>(type: GeneratedMessage<T>): Codec<T> {
  return { encode: (message) => encoded(type, message), decode: (bytes) => type.decode(bytes) }
}

/** Bytes beside a message in memory that is its own: what the transport frames it with. */
const framingBytes = 64

/** What is decoded is kept long, and must not pin the chunk in which it came with others: it is decoded from a copy. */
function keptCodec<T>(type: GeneratedMessage<T>): Codec<T> {
  const isAlone = (bytes: Uint8Array) => bytes.buffer.byteLength - bytes.length <= framingBytes
  return { ...codec(type), decode: (bytes) => type.decode(isAlone(bytes) ? bytes : new Uint8Array(bytes)) }
}

function method<Request, Response>(
  path: string,
  kind: 'unary' | 'stream',
  request: GeneratedMessage<Request>,
  response: GeneratedMessage<Response>,
  lossy = false,
): Method<Request, Response> {
  return { path: `/ostraka.v1.${path}`, kind, request: codec(request), response: codec(response), lossy }
}

const v1 = pb.v1

export const kvMethods = {
  execute: method('KV/Execute', 'unary', v1.ExecuteRequest, v1.ExecuteReply),
  executeStream: method('KV/ExecuteStream', 'stream', v1.ExecuteRequest, v1.ExecuteReply),
  scan: method('KV/Scan', 'unary', v1.ScanRequest, v1.ScanReply),
}

export const controllerMethods = {
  query: method('Controller/Query', 'unary', v1.QueryRequest, v1.QueryReply),
  watch: method('Controller/Watch', 'stream', v1.WatchRequest, v1.WatchUpdate),
  join: method('Controller/Join', 'unary', v1.JoinRequest, v1.ChangeReply),
  plan: method('Controller/Plan', 'unary', v1.PlanRequest, v1.PlanReply),
  leave: method('Controller/Leave', 'unary', v1.LeaveRequest, v1.ChangeReply),
  move: method('Controller/Move', 'unary', v1.MoveRequest, v1.ChangeReply),
  unpin: method('Controller/Unpin', 'unary', v1.UnpinRequest, v1.ChangeReply),
  weigh: method('Controller/Weigh', 'unary', v1.WeighRequest, v1.ChangeReply),
  rebalance: method('Controller/Rebalance', 'unary', v1.RebalanceRequest, v1.ChangeReply),
  autoRebalance: method('Controller/AutoRebalance', 'unary', v1.AutoRebalanceRequest, v1.ChangeReply),
  migrations: method('Controller/Migrations', 'unary', v1.MigrationsRequest, v1.MigrationsReply),
  steer: method('Controller/Steer', 'unary', v1.SteerRequest, v1.ChangeReply),
  changeMembers: method('Controller/ChangeMembers', 'unary', v1.ChangeMembersRequest, v1.ChangeReply),
  replaceNode: method('Controller/ReplaceNode', 'unary', v1.ReplaceNodeRequest, v1.ChangeReply),
  reportMembers: method('Controller/ReportMembers', 'unary', v1.ReportMembersRequest, v1.ReportMembersReply),
  report: method('Controller/Report', 'unary', v1.ReportRequest, v1.ReportReply),
  status: method('Controller/Status', 'unary', v1.ClusterStatusRequest, v1.ClusterStatusReply),
  register: method('Controller/Register', 'unary', v1.RegisterRequest, v1.RegisterReply),
  claimReplica: method('Controller/ClaimReplica', 'unary', v1.ClaimReplicaRequest, v1.ClaimReplicaReply),
  heartbeat: method('Controller/Heartbeat', 'unary', v1.HeartbeatRequest, v1.HeartbeatReply),
}

export const raftMethods = {
  hello: method('RaftTransport/Hello', 'unary', v1.HelloRequest, v1.HelloReply),
  receive: { ...method('RaftTransport/Receive', 'stream', v1.ReceiveRequest, v1.RaftFrame, true), response: keptCodec(v1.RaftFrame) },
}

export const nodeMethods = {
  status: method('Node/Status', 'unary', v1.NodeStatusRequest, v1.NodeStatusReply),
  transferLeader: method('Node/TransferLeader', 'unary', v1.TransferLeaderRequest, v1.TransferLeaderReply),
  compact: method('Node/Compact', 'unary', v1.CompactRequest, v1.CompactReply),
}

export const fileMethods = {
  open: method('Files/Open', 'unary', v1.OpenFilesRequest, v1.OpenFilesReply),
  read: method('Files/Read', 'unary', v1.ReadFileRequest, v1.ReadFileReply),
}

export const migrationMethods = {
  export: method('ShardMigration/Export', 'unary', v1.ExportRequest, v1.ExportReply),
  delta: { ...method('ShardMigration/Delta', 'unary', v1.DeltaRequest, v1.DeltaReply), response: keptCodec(v1.DeltaReply) },
  release: { ...method('ShardMigration/Release', 'unary', v1.ReleaseRequest, v1.DeltaReply), response: keptCodec(v1.DeltaReply) },
  holds: method('ShardMigration/Holds', 'unary', v1.HoldsRequest, v1.HoldsReply),
}
