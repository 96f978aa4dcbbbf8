/** Where in a log's segment something lies, what a newer release would have written there, and which damage nothing tells, for tests that damage it. */
import { must } from '../../base/assert.ts'
import { writeU32 } from '../../base/bytes.ts'
import { crc32 } from '../../base/checksum.ts'
import { joinPath, parentFolder } from '../../base/file-system.ts'
import {
  type BatchHeader,
  batchHeaderBytes,
  padded,
  RecordKind,
  readBatchHeader,
  readHardStateBody,
  readNameBody,
  readRecordHeader,
  readStateBody,
  recordHeaderBytes,
  segmentNumber,
  writeBatchHeader,
  writeRecordHeader,
} from '../../raft/log/format.ts'
import type { SimDisk } from './sim-disk.ts'

/** Inside the body of a record of entries, about the middle of the segment, and whose it is. */
export function entryInTheMiddle(segment: Uint8Array): { readonly at: number; readonly group: string } {
  const found = entryRecords(segment)
  const { offset, group } = must(found[Math.floor(found.length / 2)], 'entries')
  return { at: offset + recordHeaderBytes + 3, group }
}

/** Where the records of entries begin, and whose they are. */
export function entryRecords(segment: Uint8Array): { readonly offset: number; readonly group: string }[] {
  const uids = new Map<number, string>()
  const found: { offset: number; group: number }[] = []
  for (let offset = 0; ; ) {
    const batch = readBatchHeader(segment, offset)
    if (batch === undefined) break
    let at = offset + batchHeaderBytes
    offset = at + batch.bodyLength
    for (let i = 0; i < batch.records; i++) {
      const record = must(readRecordHeader(segment, at), `a record at ${at}`)
      const body = segment.subarray(at + recordHeaderBytes, at + recordHeaderBytes + record.bodyLength)
      if (record.kind === RecordKind.name) uids.set(record.group, readNameBody(body).uid)
      if (record.kind === RecordKind.state) uids.set(record.group, readStateBody(body).key.uid)
      if (record.kind === RecordKind.entries) found.push({ offset: at, group: record.group })
      at += recordHeaderBytes + padded(record.bodyLength)
    }
  }
  return found.map(({ offset, group }) => ({ offset, group: must(uids.get(group), `the name of group ${group}`) }))
}

/** Changes `segment` in place: the record of entries at `offset` becomes one of kind `kind`, whole and with right checksums. */
export function changeKind(segment: Uint8Array, offset: number, kind: number): void {
  for (let start = 0; ; ) {
    const batch = must(readBatchHeader(segment, start), `a batch at ${start}`)
    let at = start + batchHeaderBytes
    const end = at + batch.bodyLength
    if (offset >= end) {
      start = end
      continue
    }
    const checksums = new Uint8Array(4 * batch.records)
    for (let i = 0; i < batch.records; i++) {
      const record = must(readRecordHeader(segment, at), `a record at ${at}`)
      const checksum = at === offset ? writeRecordHeader(segment.subarray(at), { ...record, kind }) : record.checksum
      writeU32(checksums, 4 * i, checksum)
      at += recordHeaderBytes + record.bodyLength
    }
    writeBatchHeader(segment.subarray(start), { ...batch, recordsChecksum: crc32(checksums) })
    return
  }
}

/**
 * Whether a log that has lost [from, to) of its segment `path` takes that for a torn tail, though votes or entries were in it: no header that is left
 * says that they were durable. False where the file is none of a log's.
 */
export function isTakenForTorn(disk: SimDisk, path: string, from: number, to: number): boolean {
  const numberOf = (name: string) => segmentNumber(name.slice(name.lastIndexOf('/') + 1)) ?? 0
  const number = numberOf(path)
  if (number === 0) return false
  const folder = parentFolder(path)
  const isSealed = disk.list(folder).some((name) => numberOf(name) > number && batchesOf(disk.bytesOf(joinPath(folder, name))).length > 0)
  const lost = batchesOf(disk.bytesOf(path)).filter(({ end }) => end > from)
  const at = lost[0]?.offset ?? from
  const isTold = lost.some(({ offset, syncedUpTo }) => offset >= to && syncedUpTo.segment === number && syncedUpTo.offset > at)
  return !isSealed && !isTold && lost.some(({ promises }) => promises)
}

interface Batch extends BatchHeader {
  readonly end: number
  /** It holds more than news of commits and truncations, which nobody waits for. */
  readonly promises: boolean
}

/** Up to the first that is not whole. */
function batchesOf(segment: Uint8Array): Batch[] {
  const found: Batch[] = []
  const votes = new Map<number, string>()
  for (let end = 0; ; ) {
    const header = readBatchHeader(segment, end)
    if (header?.offset !== end) return found
    let at = end + batchHeaderBytes
    end = at + header.bodyLength
    let promises = false
    for (let i = 0; i < header.records; i++) {
      const record = readRecordHeader(segment, at)
      if (record === undefined) return found
      const body = segment.subarray(at + recordHeaderBytes, at + recordHeaderBytes + record.bodyLength)
      at += recordHeaderBytes + record.bodyLength
      if (record.kind === RecordKind.hardState || record.kind === RecordKind.state) {
        const { term, vote } = readHardStateBody(body)
        promises ||= votes.get(record.group) !== `${term} ${vote}`
        votes.set(record.group, `${term} ${vote}`)
      } else promises ||= record.kind !== RecordKind.truncation
    }
    found.push({ ...header, end, promises })
  }
}
