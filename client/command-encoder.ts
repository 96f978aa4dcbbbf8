/**
 * Writes as bytes (`proto/kv.proto`). What a command does is encoded once, when the call is made; its header (shard, numbers) and the batch
 * around it are written when a request leaves. The frequent commands are written by hand, the others by the generated code.
 */
import { assert } from '../base/assert.ts'
import { varintLength, writeVarint } from '../base/bytes.ts'
import { encoded } from '../proto/encode.ts'
import { pb } from '../proto/messages.ts'
import type { Operation } from './operation.ts'
import type { Bytes } from './types.ts'

/** Field numbers of `Command.operation`, as protobuf tags (number << 3 | 2). */
const PUT_TAG = 0x2a
const DELETE_TAG = 0x32
const APPEND_TAG = 0x3a

/** Most bytes that a command's header takes beside its payload. */
const HEADER_BYTES_MAX = 48

export function lengthOf(bytes: Bytes): number {
  return typeof bytes === 'string' ? Buffer.byteLength(bytes) : bytes.length
}

export function toBuffer(bytes: Bytes): Buffer {
  return typeof bytes === 'string' ? Buffer.from(bytes) : Buffer.from(bytes)
}

export function encodePut(key: Buffer, value: Bytes, ttlMs: number): Buffer {
  return encodeKeyed(PUT_TAG, key, value, ttlMs)
}

export function encodeDelete(key: Buffer): Buffer {
  return encodeKeyed(DELETE_TAG, key, '', 0)
}

export function encodeAppend(key: Buffer, value: Bytes): Buffer {
  return encodeKeyed(APPEND_TAG, key, value, 0)
}

/** A command that is nothing but its operation. */
export function encodeRare(operation: pb.v1.Command.$Properties): Uint8Array {
  return encoded(pb.v1.Command, operation)
}

/** A message with key = 1, value = 2 and ttl_ms = 3 under `tag`. */
function encodeKeyed(tag: number, key: Buffer, value: Bytes, ttlMs: number): Buffer {
  const valueLength = lengthOf(value)
  let length = 1 + varintLength(key.length) + key.length
  if (valueLength > 0) length += 1 + varintLength(valueLength) + valueLength
  if (ttlMs > 0) length += 1 + varintLength(ttlMs)
  const bytes = Buffer.allocUnsafe(1 + varintLength(length) + length)
  bytes[0] = tag
  let offset = writeVarint(bytes, 1, length)
  bytes[offset++] = 0x0a
  offset = writeVarint(bytes, offset, key.length)
  bytes.set(key, offset)
  offset += key.length
  if (valueLength > 0) {
    bytes[offset++] = 0x12
    offset = writeVarint(bytes, offset, valueLength)
    if (typeof value === 'string') bytes.write(value, offset)
    else bytes.set(value, offset)
    offset += valueLength
  }
  if (ttlMs > 0) {
    bytes[offset++] = 0x18
    offset = writeVarint(bytes, offset, ttlMs)
  }
  assert(offset === bytes.length, 'a command as long as computed')
  return bytes
}

/** A `WriteBatch` of numbered operations of one client id. */
export function encodeBatch(clientId: Uint8Array, operations: readonly Operation[], ageMs: number): Buffer {
  let bound = 2 + clientId.length + 8
  for (const operation of operations) bound += HEADER_BYTES_MAX + operation.payload.length
  const bytes = Buffer.allocUnsafe(bound)
  bytes[0] = 0x0a
  let offset = writeVarint(bytes, 1, clientId.length)
  bytes.set(clientId, offset)
  offset += clientId.length
  for (const operation of operations) offset = writeCommand(bytes, offset, operation)
  if (ageMs > 0) {
    bytes[offset++] = 0x18
    offset = writeVarint(bytes, offset, ageMs)
  }
  return bytes.subarray(0, offset)
}

function writeCommand(bytes: Buffer, start: number, operation: Operation): number {
  const { session, sequence, shard, payload } = operation
  assert(session !== undefined && sequence > 0, 'a command without a number')
  const lowest = Math.min(session.lowest, sequence)
  let length = 2 + varintLength(sequence) + varintLength(lowest) + payload.length
  if (shard > 0) length += 1 + varintLength(shard)
  if (session.first) length += 2
  let offset = start
  bytes[offset++] = 0x12
  offset = writeVarint(bytes, offset, length)
  if (shard > 0) {
    bytes[offset++] = 0x08
    offset = writeVarint(bytes, offset, shard)
  }
  bytes[offset++] = 0x10
  offset = writeVarint(bytes, offset, sequence)
  bytes[offset++] = 0x18
  offset = writeVarint(bytes, offset, lowest)
  if (session.first) {
    bytes[offset++] = 0x20
    bytes[offset++] = 1
  }
  bytes.set(payload, offset)
  return offset + payload.length
}
