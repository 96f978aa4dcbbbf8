import type { Codec, Method } from '../base/transport.ts'
import { pb } from './messages.ts'

/** Our gRPC methods as the transport wants them. One constant a method; the `.proto` files say what each does. */

interface GeneratedMessage<T> {
  encode(message: NoInfer<T>): { finish(): Uint8Array }
  decode(bytes: Uint8Array): T
}

function codec<T>(generated: GeneratedMessage<T>): Codec<T> {
  return {
    encode: (message) => generated.encode(message).finish(),
    decode: (bytes) => generated.decode(bytes),
  }
}

/** Decodes a copy: what is decoded is kept long and must not pin the chunk in which it came. */
function copyingCodec<T>(generated: GeneratedMessage<T>): Codec<T> {
  return {
    encode: (message) => generated.encode(message).finish(),
    decode: (bytes) => generated.decode(new Uint8Array(bytes)),
  }
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
  status: method('Controller/Status', 'unary', v1.ClusterStatusRequest, v1.ClusterStatusReply),
  register: method('Controller/Register', 'unary', v1.RegisterRequest, v1.RegisterReply),
  claimReplica: method('Controller/ClaimReplica', 'unary', v1.ClaimReplicaRequest, v1.ClaimReplicaReply),
  heartbeat: method('Controller/Heartbeat', 'unary', v1.HeartbeatRequest, v1.HeartbeatReply),
}

export const raftMethods = {
  hello: method('RaftTransport/Hello', 'unary', v1.HelloRequest, v1.HelloReply),
  receive: { ...method('RaftTransport/Receive', 'stream', v1.ReceiveRequest, v1.RaftFrame, true), response: copyingCodec(v1.RaftFrame) },
}

export const nodeMethods = {
  status: method('Node/Status', 'unary', v1.NodeStatusRequest, v1.NodeStatusReply),
}
