import { copyBytes, equalBytes, utf8 } from '../base/bytes.ts'
import { limits } from '../proto/limits.ts'
import { pb } from '../proto/messages.ts'
import { isExpired, type RecordView } from './record.ts'
import type { WriteResult } from './session.ts'

/**
 * What a command does to a shard's records: pure, total, and the same on every replica. A record that the shard's time has passed counts as
 * absent. put and compareAndSet replace a time to live, append and increment keep it. A command that writes takes the shard's next revision,
 * once, and gives it to every record that it writes.
 */
export type Command = pb.v1.Command.$Properties

/** The records of one shard, and what is written to them. All calls are synchronous. */
export interface ShardView {
  /** The shard's time, ms. */
  readonly timeMs: number
  /** Only for keys that `keysToRead` gave. Expired records included. */
  lookup(key: Uint8Array): RecordView | undefined
  /** The shard's next revision. */
  nextRevision(): number
  put(key: Uint8Array, value: Uint8Array, expiry: number, revision: number): void
  delete(key: Uint8Array): void
}

const empty = new Uint8Array(0)
const int64Min = -(2n ** 63n)
const int64Max = 2n ** 63n - 1n
const integerText = /^-?(0|[1-9][0-9]{0,18})$/
/** A command that does not need the whole value is shown at least so many bytes of it: enough to see that it is no integer, or too long to be kept. */
export const headBytes = limits.storedReplyBytesMax + 1

/** The keys whose records `executeCommand` will look up; a command without any is blind. `whole` false: `headBytes` of the value are enough. */
export function keysToRead(command: Command, receive: (key: Uint8Array, whole: boolean) => void): void {
  const one = command.delete ?? command.append ?? command.increment ?? command.compareAndSet ?? command.expire
  if (one) {
    if (isKey(one.key)) receive(one.key, needsWhole(command))
  } else if (command.batch) {
    for (const check of command.batch.checks ?? []) if (isKey(check.key)) receive(check.key, false)
  }
}

/** Whether a command needs the whole present value. */
export function needsWhole(command: Command): boolean {
  if (command.append || command.expire) return true
  return command.compareAndSet?.expectValue !== null && command.compareAndSet?.expectValue !== undefined
}

function isKey(key: Uint8Array | null | undefined): key is Uint8Array {
  return key !== null && key !== undefined && key.length > 0 && key.length <= limits.keyBytesMax
}

function hasBadKey(command: Command): boolean {
  const one = command.put ?? command.delete ?? command.append ?? command.increment ?? command.compareAndSet ?? command.expire
  if (one) return !isKey(one.key)
  for (const check of command.batch?.checks ?? []) if (!isKey(check.key)) return true
  for (const write of command.batch?.writes ?? []) if (!isKey((write.put ?? write.delete)?.key)) return true
  return false
}

/** Never throws on a command that passed `checkWriteBatch`, nor on any other: what has no meaning is refused as INVALID_ARGUMENT. */
export function executeCommand(command: Command, view: ShardView): WriteResult {
  if (hasBadKey(command)) return invalid(`a key holds 1 to ${limits.keyBytesMax} bytes`)
  if (command.put) return put(command.put, view)
  if (command.delete) return remove(command.delete.key ?? empty, view)
  if (command.append) return append(command.append, view)
  if (command.increment) return increment(command.increment, view)
  if (command.compareAndSet) return compareAndSet(command.compareAndSet, view)
  if (command.expire) return expire(command.expire, view)
  if (command.batch) return batch(command.batch, view)
  return invalid('a command without an operation')
}

function put(command: pb.v1.Put.$Properties, view: ShardView): WriteResult {
  const revision = view.nextRevision()
  view.put(command.key ?? empty, command.value ?? empty, expiryOf(command.ttlMs, view), revision)
  return { revision }
}

function remove(key: Uint8Array, view: ShardView): WriteResult {
  if (live(view, key) === undefined) return { existed: false }
  const revision = view.nextRevision()
  view.delete(key)
  return { revision, existed: true }
}

function append(command: pb.v1.Append.$Properties, view: ShardView): WriteResult {
  const key = command.key ?? empty
  const tail = command.value ?? empty
  const record = live(view, key)
  const head = record?.value ?? empty
  const length = head.length + tail.length
  if (length > limits.valueBytesMax)
    return invalid(`append would make a value of ${length} bytes; at most ${limits.valueBytesMax} are allowed`)
  const value = new Uint8Array(length)
  value.set(head)
  value.set(tail, head.length)
  const revision = view.nextRevision()
  view.put(key, value, record?.expiry ?? 0, revision)
  return { revision, length }
}

function increment(command: pb.v1.Increment.$Properties, view: ShardView): WriteResult {
  const key = command.key ?? empty
  const by = parseInt64(command.by ?? '')
  if (by === undefined) return invalid('increment takes the decimal text of a 64-bit integer')
  const record = live(view, key)
  const present = record === undefined ? 0n : record.value.length > 20 ? undefined : parseInt64(String.fromCharCode(...record.value))
  if (present === undefined) return invalid('the value is no 64-bit integer in decimal text')
  const sum = present + by
  if (sum < int64Min || sum > int64Max) return invalid('increment would pass the range of a 64-bit integer')
  const value = sum.toString()
  const revision = view.nextRevision()
  view.put(key, utf8(value), record?.expiry ?? 0, revision)
  return { revision, value }
}

/** Decimal text of an int64, no plus, no leading zeroes; undefined for anything else. */
export function parseInt64(text: string): bigint | undefined {
  if (!integerText.test(text)) return undefined
  const value = BigInt(text)
  return value >= int64Min && value <= int64Max ? value : undefined
}

function compareAndSet(command: pb.v1.CompareAndSet.$Properties, view: ShardView): WriteResult {
  const key = command.key ?? empty
  const record = live(view, key)
  if (!holds(command, record)) return record === undefined ? { applied: false } : { applied: false, current: currentOf(record, view) }
  if (command.remove) {
    if (record === undefined) return { applied: true }
    const revision = view.nextRevision()
    view.delete(key)
    return { applied: true, revision }
  }
  const revision = view.nextRevision()
  view.put(key, command.value ?? empty, expiryOf(command.ttlMs, view), revision)
  return { applied: true, revision }
}

function holds(command: pb.v1.CompareAndSet.$Properties, record: RecordView | undefined): boolean {
  if (command.expectAbsent) return record === undefined
  if (record === undefined) return false
  if (command.expectRevision !== null && command.expectRevision !== undefined) return record.revision === command.expectRevision
  if (command.expectValue) return equalBytes(record.value, command.expectValue)
  return false
}

/** The value is left out where it would make the stored reply too long. It is copied: replies outlive what they were read from. */
function currentOf(record: RecordView, view: ShardView): pb.v1.ReadResult.$Properties {
  const omitted = record.value.length > limits.storedReplyBytesMax
  return {
    found: true,
    value: omitted ? empty : copyBytes(record.value),
    revision: record.revision,
    expiresInMs: record.expiry === 0 ? 0 : record.expiry - view.timeMs,
    valueOmitted: omitted,
  }
}

function expire(command: pb.v1.Expire.$Properties, view: ShardView): WriteResult {
  const key = command.key ?? empty
  const record = live(view, key)
  if (record === undefined) return { existed: false }
  const revision = view.nextRevision()
  view.put(key, record.value, expiryOf(command.ttlMs, view), revision)
  return { revision, existed: true }
}

function batch(command: pb.v1.Batch.$Properties, view: ShardView): WriteResult {
  for (const check of command.checks ?? []) {
    const revision = live(view, check.key ?? empty)?.revision ?? 0
    if (revision !== (check.revision ?? 0))
      return refusal(pb.v1.ErrorCode.CONDITION_FAILED, 'a check of the batch failed: nothing was written')
  }
  if ((command.writes ?? []).length === 0) return {}
  const revision = view.nextRevision()
  for (const write of command.writes ?? []) {
    if (write.put) view.put(write.put.key ?? empty, write.put.value ?? empty, expiryOf(write.put.ttlMs, view), revision)
    else if (write.delete) view.delete(write.delete.key ?? empty)
  }
  return { revision }
}

function live(view: ShardView, key: Uint8Array): RecordView | undefined {
  const record = view.lookup(key)
  return record === undefined || isExpired(record.expiry, view.timeMs) ? undefined : record
}

function expiryOf(ttlMs: number | null | undefined, view: ShardView): number {
  return ttlMs ? view.timeMs + Math.min(ttlMs, limits.ttlMsMax) : 0
}

function invalid(message: string): WriteResult {
  return refusal(pb.v1.ErrorCode.INVALID_ARGUMENT, message)
}

/** A refusal decided in `apply`: definite. */
export function refusal(code: pb.v1.ErrorCode, message: string, waitMs = 0): WriteResult {
  return { error: { code, message, definite: true, waitMs } }
}
