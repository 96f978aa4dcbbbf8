/** The settings of both ends, in one place because they belong together. */

/** Largest message: what the protocol allows (16 MiB) plus room for the envelope around the largest batch. */
const MESSAGE_BYTES_MAX = 16 * 1024 * 1024 + 64 * 1024

/** HTTP/2 window of a stream and of a connection: what may be under way before the receiver has read it. */
export const WINDOW_BYTES = 4 * 1024 * 1024

/** What a stream's writer may have waiting before `write` says no. */
export const WRITE_QUEUE_BYTES = 1024 * 1024

/** A connection that is not there after so long is given up and dialled anew: a stopped peer accepts, and never says a word. */
export const CONNECT_TIMEOUT_MS = 3_000

export const channelOptions = {
  'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
  'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
  // Each channel is a connection of its own: votes must not wait behind entries.
  'grpc.use_local_subchannel_pool': 1,
  // The default grows to two minutes.
  'grpc.initial_reconnect_backoff_ms': 50,
  'grpc.max_reconnect_backoff_ms': 1_000,
  'grpc.dns_min_time_between_resolutions_ms': 1_000,
  // A peer that vanished without a word is noticed after at most five seconds, also while nothing is asked of it.
  'grpc.keepalive_time_ms': 2_000,
  'grpc.keepalive_timeout_ms': 3_000,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc-node.flow_control_window': WINDOW_BYTES,
  // Retries belong to those who know whether a call may be made twice.
  'grpc.enable_retries': 0,
  'grpc.service_config_disable_resolution': 1,
  // Only advertised addresses are dialled: no proxy from the environment in between.
  'grpc.enable_http_proxy': 0,
  'grpc.enable_channelz': 0,
} as const

export const serverOptions = {
  'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
  'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
  'grpc.keepalive_time_ms': 5_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc.enable_channelz': 0,
} as const

/** grpc-js wants Buffers: a view, no copy. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Messages are encoded and decoded by our codecs, outside of grpc-js, where a failure can be answered properly. */
export function passBytes(bytes: Buffer): Buffer {
  return bytes
}

/** grpc-js takes a stack trace per call, for its error messages only: a fifth of the cost of a small call. */
export function withoutStackTrace<T>(make: () => T): T {
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 0
  try {
    return make()
  } finally {
    Error.stackTraceLimit = limit
  }
}
