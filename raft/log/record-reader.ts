import { readU32, readU64 } from '../../base/bytes.ts'
import { crc32 } from '../../base/checksum.ts'
import { CorruptionError, DiskError } from '../../base/errors.ts'
import type { Entry } from '../core/types.ts'
import { entryRowBytes, RecordKind, readRecordHeader, recordHeaderBytes } from './format.ts'
import type { Segment } from './segments.ts'

/** A record is read in one go up to this size, which is that of most. */
const guessBytes = 64 * 1024

/**
 * The entries of the record at `offset` of `segment`, which must be one of group `group`. Their data is a view of one buffer.
 * CorruptionError: the bytes are not what was written; DiskError: they cannot be read.
 */
export async function readEntriesRecord(segment: Segment, offset: number, group: number): Promise<Entry[]> {
  const front = await readAt(segment, offset, Math.min(guessBytes, segment.length - offset))
  const header = readRecordHeader(front)
  const isEntries = header !== undefined && (header.kind === RecordKind.entries || header.kind === RecordKind.rewritten)
  if (header === undefined || !isEntries || header.group !== group) throw new CorruptionError(segment.path, offset, 'damaged record header')
  const total = recordHeaderBytes + header.bodyLength
  if (offset + total > segment.length) throw new CorruptionError(segment.path, offset, 'record longer than its segment')
  const record = total <= front.length ? front.slice(0, total) : await readAt(segment, offset, total)
  const body = record.subarray(recordHeaderBytes)
  if (crc32(body) !== header.bodyChecksum) throw new CorruptionError(segment.path, offset, 'damaged record body')
  const entries: Entry[] = []
  let at = entryRowBytes * header.count
  for (let i = 0; i < header.count; i++) {
    const row = entryRowBytes * i
    const length = readU32(body, row + 12)
    entries.push({ term: readU64(body, row), index: header.first + i, kind: readU32(body, row + 8), data: body.subarray(at, at + length) })
    at += length
  }
  return entries
}

async function readAt(segment: Segment, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length)
  let count: number
  try {
    count = await segment.file.read(bytes, offset)
  } catch (error) {
    throw new DiskError(`cannot read ${segment.path}`, { cause: error })
  }
  if (count < length) throw new CorruptionError(segment.path, offset + count, 'the file ends too early')
  return bytes
}
