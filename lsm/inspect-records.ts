import { type FramedRecord, nextRecordOffset, recordAt, syncedUpToAt } from '../base/framed-record.ts'
import type { Damage } from './damage.ts'

/** A file of framed records, read as far as it can be: also what lies behind damage. */
export interface RecordsInspection {
  readonly bytes: number
  /** All whole records but those that are passed over with a torn tail; those without payload too. */
  readonly records: readonly FramedRecord[]
  /** Offset behind the last record before the first bad byte. */
  readonly end: number
  /** All below it was durable: the highest `syncedUpTo` of any record. */
  readonly durableEnd: number
  /** `torn`: bad bytes that were never acknowledged; they are passed over. `damaged`: bad bytes before `durableEnd`. */
  readonly ending: 'whole' | 'torn' | 'damaged'
  readonly damages: readonly Damage[]
}

/** `durable`: the file is known to have been synced up to here, whatever its records say. */
export function inspectRecords(bytes: Uint8Array, options: { file: string; salt: number; durable?: number }): RecordsInspection {
  const { file, salt } = options
  const records: FramedRecord[] = []
  const gaps: { readonly from: number; readonly to: number }[] = []
  let durableEnd = options.durable ?? 0
  let firstBad: number | undefined
  let offset = 0
  while (offset < bytes.length) {
    const record = recordAt(bytes, offset, salt)
    if (record !== undefined) {
      records.push(record)
      durableEnd = Math.max(durableEnd, record.syncedUpTo)
      offset = record.end
      continue
    }
    firstBad ??= offset
    // The header may be whole where the payload is not: where it says that the record ends is not to be relied on.
    const next = nextRecordOffset(bytes, offset + 8, salt) ?? bytes.length
    if (next < bytes.length) durableEnd = Math.max(durableEnd, syncedUpToAt(bytes, next))
    const last = gaps.at(-1)
    if (last?.to === offset) gaps.splice(-1, 1, { from: last.from, to: next })
    else gaps.push({ from: offset, to: next })
    offset = next
  }
  const end = firstBad ?? bytes.length
  const damages: Damage[] = gaps
    .filter(({ from }) => from < durableEnd)
    .map(({ from, to }) => ({ file, offset: from, what: `damaged record before the durable end at ${durableEnd} (${to - from} bytes)` }))
  if (bytes.length < durableEnd && damages.length === 0) {
    damages.push({ file, offset: bytes.length, what: `ends before the durable end at ${durableEnd}` })
  }
  const ending = damages.length > 0 ? 'damaged' : end < bytes.length ? 'torn' : 'whole'
  const counted = records.filter((record) => record.offset < Math.max(end, durableEnd))
  return { bytes: bytes.length, records: counted, end, durableEnd, ending, damages }
}
