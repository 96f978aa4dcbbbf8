/** Where in a log's segment something lies, for tests that damage it. */
import { must } from '../../base/assert.ts'
import {
  batchHeaderBytes,
  padded,
  RecordKind,
  readBatchHeader,
  readNameBody,
  readRecordHeader,
  readStateBody,
  recordHeaderBytes,
} from '../../raft/log/format.ts'

/** Inside the body of a record of entries, about the middle of the segment, and whose it is. */
export function entryInTheMiddle(segment: Uint8Array): { readonly at: number; readonly group: string } {
  const uids = new Map<number, string>()
  const found: { at: number; group: number }[] = []
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
      if (record.kind === RecordKind.entries) found.push({ at: at + recordHeaderBytes + 3, group: record.group })
      at += recordHeaderBytes + padded(record.bodyLength)
    }
  }
  const { at, group } = must(found[Math.floor(found.length / 2)], 'entries')
  return { at, group: must(uids.get(group), `the name of group ${group}`) }
}
