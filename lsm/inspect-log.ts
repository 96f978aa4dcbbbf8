import { ByteReader } from '../base/bytes.ts'
import { type FileSystem, readFile } from '../base/file-system.ts'
import type { FramedRecord } from '../base/framed-record.ts'
import type { Damage } from './damage.ts'
import { inspectRecords, type RecordsInspection } from './inspect-records.ts'
import { kindTombstone, kindValue } from './kind.ts'
import { logSalt } from './write-ahead-log.ts'

/** An operation of a logged batch: views. */
export interface LoggedOperation {
  readonly key: Uint8Array
  /** Undefined: a tombstone. */
  readonly value: Uint8Array | undefined
}

export interface LoggedBatch {
  readonly sequence: number
  readonly operations: readonly LoggedOperation[]
}

export type LogRecord = { readonly offset: number; readonly bytes: number } & (
  | { readonly type: 'start'; readonly previous: number }
  | { readonly type: 'batches'; readonly batches: readonly LoggedBatch[] }
  | { readonly type: 'end' }
  | { readonly type: 'mark'; readonly syncedUpTo: number }
  | { readonly type: 'unknown' }
)

export interface LogInspection extends Omit<RecordsInspection, 'records'> {
  readonly number: number
  readonly records: readonly LogRecord[]
  /** It was ended: the next log began behind it. */
  readonly ended: boolean
}

/** All that can be read of the log `number` at `path`; nothing is changed. */
export async function inspectLog(fileSystem: FileSystem, path: string, number: number): Promise<LogInspection> {
  const found = inspectRecords(await readFile(fileSystem, path), { file: path, salt: logSalt + number })
  const damages: Damage[] = [...found.damages]
  let ended = false
  let sequence = 0
  const records = found.records.map((record): LogRecord => {
    const decoded = decodeRecord(record, (what) => damages.push({ file: path, offset: record.offset, what }))
    if (decoded.type === 'mark') return decoded
    const isOutOfPlace = decoded.type !== 'unknown' && (decoded.type === 'start') !== (record.offset === 0)
    if (ended || isOutOfPlace) damages.push({ file: path, offset: record.offset, what: 'record out of place' })
    if (decoded.type === 'end') ended = true
    if (decoded.type === 'batches') {
      for (const batch of decoded.batches) {
        if (batch.sequence <= sequence) {
          damages.push({ file: path, offset: record.offset, what: `sequence ${batch.sequence} after ${sequence}` })
        }
        sequence = batch.sequence
      }
    }
    return decoded
  })
  return { ...found, number, records, ended, damages, ending: damages.length > 0 ? 'damaged' : found.ending }
}

function decodeRecord({ offset, end, payload, syncedUpTo }: FramedRecord, report: (what: string) => void): LogRecord {
  const place = { offset, bytes: end - offset }
  if (payload.length === 0) return { ...place, type: 'mark', syncedUpTo }
  try {
    const reader = new ByteReader(payload)
    const type = reader.u8()
    if (type === 1) return { ...place, type: 'start', previous: reader.varint() }
    if (type === 2) return { ...place, type: 'batches', batches: decodeBatches(reader) }
    if (type === 3) return { ...place, type: 'end' }
    report(`unknown record type ${type}`)
  } catch (error) {
    report(`malformed record: ${error instanceof Error ? error.message : error}`)
  }
  return { ...place, type: 'unknown' }
}

function decodeBatches(reader: ByteReader): LoggedBatch[] {
  const batches: LoggedBatch[] = []
  while (!reader.done) {
    const sequence = reader.u64()
    batches.push({ sequence, operations: decodeOperations(new ByteReader(reader.raw(reader.u32()))) })
  }
  return batches
}

function decodeOperations(reader: ByteReader): LoggedOperation[] {
  const operations: LoggedOperation[] = []
  while (!reader.done) {
    const kind = reader.u8()
    if (kind !== kindValue && kind !== kindTombstone) throw new RangeError(`unknown kind ${kind}`)
    const keyLength = reader.varint()
    const valueLength = reader.varint()
    const key = reader.raw(keyLength)
    const value = reader.raw(valueLength)
    operations.push({ key, value: kind === kindTombstone ? undefined : value })
  }
  return operations
}
