import { shardOf, slotOf } from '../base/slot.ts'
import { OstrakaError } from '../proto/errors.ts'
import { limits } from '../proto/limits.ts'
import type { pb } from '../proto/messages.ts'
import { type Command, needsWhole, parseInt64 } from './commands.ts'

/**
 * Requests are checked before anything of them is proposed or read. Each function returns what is wrong in one line, or undefined; none
 * throws, whatever the bytes. What passes is executed by `apply` without an INVALID_ARGUMENT but those that depend on what is stored.
 */
const timeoutMsMax = 600_000
const requestReadsMax = limits.batchOperationsMax
const writesBytesMax = limits.batchBytesMax + limits.batchEnvelopeBytes

/** How long the caller waits, ms: the default where nothing is said, bounded whatever is. */
export function timeoutOf(request: { readonly timeoutMs?: number | null }): number {
  return Math.min(timeoutMsMax, request.timeoutMs || limits.deadlineMsDefault)
}

/** A typed, definite refusal. */
export function invalidArgument(message: string): OstrakaError {
  return new OstrakaError('INVALID_ARGUMENT', message, true)
}

/** The envelope and the reads; the writes are `checkWriteBatch`'s. */
export function checkExecuteRequest(request: pb.v1.ExecuteRequest.$Properties, shardCount: number): string | undefined {
  const writes = request.writes ?? []
  const reads = request.reads ?? []
  if (!request.group) return 'group is empty: name the uid of the group'
  if (!isCount(request.configNumber ?? 0)) return 'config_number is out of range'
  if (!isCount(request.id ?? 0)) return 'id is out of range'
  if ((request.timeoutMs ?? 0) > timeoutMsMax) return `timeout_ms is above ${timeoutMsMax}`
  if (writes.length === 0 && reads.length === 0) return 'the request holds neither writes nor reads'
  if (writes.length > writesBytesMax) return `the writes take ${writes.length} bytes; at most ${writesBytesMax} are allowed`
  if (reads.length > requestReadsMax) return `${reads.length} reads; at most ${requestReadsMax} are allowed`
  for (const read of reads) {
    const wrong = checkKey(read.key, read.shard ?? 0, shardCount) ?? checkFreshness(read)
    if (wrong !== undefined) return wrong
  }
  return undefined
}

/** Every field of a WriteBatch. */
export function checkWriteBatch(batch: pb.v1.WriteBatch.$Properties, shardCount: number): string | undefined {
  const commands = batch.commands ?? []
  if (batch.clientId?.length !== limits.clientIdBytes) {
    return `client_id holds ${batch.clientId?.length ?? 0} bytes; it must be ${limits.clientIdBytes} random ones`
  }
  if (commands.length === 0) return 'the batch holds no command'
  if ((batch.ageMs ?? 0) > limits.writeAgeMsMax) return `the oldest write was issued more than ${limits.writeAgeMsMax} ms ago`
  let operations = 0
  let wholeReads = 0
  for (const command of commands) {
    if (needsWhole(command) && ++wholeReads > limits.batchWholeReadsMax) {
      return `more than ${limits.batchWholeReadsMax} commands that append, expire or compare by value in one batch`
    }
    operations += Math.max(1, (command.batch?.checks?.length ?? 0) + (command.batch?.writes?.length ?? 0))
    if (operations > limits.batchOperationsMax) return `more than ${limits.batchOperationsMax} operations in one batch`
    const wrong = checkNumbers(command) ?? checkOperation(command, shardCount)
    if (wrong !== undefined) return wrong
  }
  return undefined
}

function checkNumbers(command: Command): string | undefined {
  const sequence = command.sequence ?? 0
  const lowest = command.lowestOutstanding ?? 0
  if (!isCount(sequence) || sequence === 0) return 'sequence counts from 1'
  if (!isCount(lowest) || lowest === 0) return 'lowest_outstanding counts from 1'
  if (sequence < lowest) return `sequence ${sequence} lies below lowest_outstanding ${lowest}`
  if (sequence >= lowest + limits.sessionWindow)
    return `sequence ${sequence} lies ${limits.sessionWindow} or more above lowest_outstanding ${lowest}`
  return undefined
}

function checkOperation(command: Command, shardCount: number): string | undefined {
  const { put, append, increment, compareAndSet, expire, batch } = command
  const set = [put, command.delete, append, increment, compareAndSet, expire, batch].filter((operation) => operation)
  if (set.length !== 1) return `a command holds ${set.length} operations; it must be exactly one`
  const shard = command.shard ?? 0
  if (put) return checkKey(put.key, shard, shardCount) ?? checkValue(put.value) ?? checkTtl(put.ttlMs)
  if (command.delete) return checkKey(command.delete.key, shard, shardCount)
  if (append) return checkKey(append.key, shard, shardCount) ?? checkValue(append.value)
  if (increment) return checkKey(increment.key, shard, shardCount) ?? checkBy(increment.by)
  if (compareAndSet) return checkCompareAndSet(compareAndSet, shard, shardCount)
  if (expire) return checkKey(expire.key, shard, shardCount) ?? checkTtl(expire.ttlMs)
  return checkBatch(batch ?? {}, shard, shardCount)
}

function checkBy(by: string | null | undefined): string | undefined {
  return parseInt64(by ?? '') === undefined ? 'increment takes the decimal text of a 64-bit integer' : undefined
}

function checkCompareAndSet(command: pb.v1.CompareAndSet.$Properties, shard: number, shardCount: number): string | undefined {
  const { expectValue, expectRevision, expectAbsent } = command
  const set = [expectValue, expectRevision, expectAbsent].filter((condition) => condition !== null && condition !== undefined)
  if (set.length !== 1) return `compare_and_set holds ${set.length} conditions; it must be exactly one`
  if (expectAbsent === false) return 'expect_absent, where it is set, must be true'
  if (!isCount(expectRevision ?? 0)) return 'expect_revision is out of range'
  return checkKey(command.key, shard, shardCount) ?? checkValue(expectValue) ?? checkValue(command.value) ?? checkTtl(command.ttlMs)
}

function checkBatch(batch: pb.v1.Batch.$Properties, shard: number, shardCount: number): string | undefined {
  const checks = batch.checks ?? []
  const writes = batch.writes ?? []
  if (checks.length + writes.length === 0) return 'the atomic batch is empty'
  for (const check of checks) {
    const wrong = checkKey(check.key, shard, shardCount)
    if (wrong !== undefined) return wrong
    if (!isCount(check.revision ?? 0)) return 'the revision of a check is out of range'
  }
  for (const { put, delete: remove } of writes) {
    if ((put ? 1 : 0) + (remove ? 1 : 0) !== 1) return 'a write of a batch must be exactly one put or delete'
    const wrong = checkKey((put ?? remove)?.key, shard, shardCount) ?? checkValue(put?.value) ?? checkTtl(put?.ttlMs)
    if (wrong !== undefined) return wrong
  }
  return undefined
}

export function checkScanRequest(request: pb.v1.ScanRequest.$Properties, shardCount: number): string | undefined {
  const shards = request.shards ?? []
  if (!request.group) return 'group is empty: name the uid of the group'
  if (!isCount(request.configNumber ?? 0)) return 'config_number is out of range'
  if (shards.length === 0) return 'shards is empty: name the shards to scan'
  if (shards.length > shardCount) return `${shards.length} shards; there are ${shardCount}`
  for (const shard of shards) if (shard >= shardCount) return `no shard ${shard}; there are ${shardCount}`
  if (new Set(shards).size !== shards.length) return 'a shard is named twice'
  if ((request.start?.length ?? 0) > limits.keyBytesMax + 1) return `start holds more than ${limits.keyBytesMax + 1} bytes`
  if ((request.end?.length ?? 0) > limits.keyBytesMax + 1) return `end holds more than ${limits.keyBytesMax + 1} bytes`
  if ((request.timeoutMs ?? 0) > timeoutMsMax) return `timeout_ms is above ${timeoutMsMax}`
  return checkFreshness(request)
}

/** 1 to 4,096 bytes, and its slot belongs to the shard that the request names. */
function checkKey(key: Uint8Array | null | undefined, shard: number, shardCount: number): string | undefined {
  if (key === null || key === undefined || key.length === 0) return 'a key is empty; it must hold at least 1 byte'
  if (key.length > limits.keyBytesMax) return `a key holds ${key.length} bytes; at most ${limits.keyBytesMax} are allowed`
  const owner = shardOf(slotOf(key), shardCount)
  return owner === shard ? undefined : `a key belongs to shard ${owner}, not to ${shard}: all keys of an operation must lie in its shard`
}

function checkValue(value: Uint8Array | null | undefined): string | undefined {
  if ((value?.length ?? 0) <= limits.valueBytesMax) return undefined
  return `a value holds ${value?.length} bytes; at most ${limits.valueBytesMax} are allowed`
}

function checkTtl(ttlMs: number | null | undefined): string | undefined {
  return isCount(ttlMs ?? 0) && (ttlMs ?? 0) <= limits.ttlMsMax ? undefined : `ttl_ms is above ${limits.ttlMsMax}`
}

/** Of a read or a scan. */
function checkFreshness(read: { readonly consistency?: number | null; readonly maxStalenessMs?: number | null }): string | undefined {
  const { consistency, maxStalenessMs } = read
  if ((consistency ?? 0) < 0 || (consistency ?? 0) > 3) return `unknown consistency ${consistency}`
  return (maxStalenessMs ?? 0) <= limits.maxStalenessMsMax ? undefined : `max_staleness_ms is above ${limits.maxStalenessMsMax}`
}

/** 64-bit fields above 2^53 do not come exact, and mean nothing here. */
function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}
