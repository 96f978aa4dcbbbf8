/** Where in a log's segment something lies, and what a newer release would have written there, for tests that damage it. */
import { must } from '../../base/assert.ts'
import { writeU32 } from '../../base/bytes.ts'
import { crc32 } from '../../base/checksum.ts'
import {
  batchHeaderBytes,
  padded,
  RecordKind,
  readBatchHeader,
  readNameBody,
  readRecordHeader,
  readStateBody,
  recordHeaderBytes,
  writeBatchHeader,
  writeRecordHeader,
} from '../../raft/log/format.ts'

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
