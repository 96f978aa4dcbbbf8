import { readU32, readU64 } from '../../base/bytes.ts'
import { crc32 } from '../../base/checksum.ts'
import { CorruptionError, DiskError } from '../../base/errors.ts'
import type { Entry } from '../core/types.ts'
import { entryRowBytes, type RecordHeader, RecordKind, readRecordHeader, recordHeaderBytes } from './format.ts'
import type { Segment } from './segments.ts'

/** A first read takes so much, which most records fit into; each that follows takes twice as much as the one before, up to the most. */
const readBytesMin = 64 * 1024
const readBytesMax = 512 * 1024

/**
 * Reads records of entries in a pass forward through the log: what a read brings beyond its record serves those behind it. A replica that replays
 * reads its log once so, and not 64 KiB for each entry. For one pass: it keeps the bytes of its last read.
 */
export class RecordReader {
  #readBytes = readBytesMin
  #segment: Segment | undefined
  #start = 0
  #bytes: Uint8Array = new Uint8Array(0)

  /**
   * The entries of the record at `offset` of `segment`, which must be one of group `group`. Their data is a view of one buffer.
   * CorruptionError: the bytes are not what was written; DiskError: they cannot be read.
   */
  async read(segment: Segment, offset: number, group: number): Promise<Entry[]> {
    const kept = this.#kept(segment, offset, group)
    if (kept !== undefined) return kept
    const front = await this.#fetch(segment, offset, Math.min(this.#readBytes, segment.length - offset))
    this.#readBytes = Math.min(2 * this.#readBytes, readBytesMax)
    const header = entriesHeader(front)
    if (header?.group !== group) return raise(segment, offset, 'damaged record header')
    const total = recordHeaderBytes + header.bodyLength
    if (offset + total > segment.length) return raise(segment, offset, 'record longer than its segment')
    const whole = total <= front.length ? front : await this.#fetch(segment, offset, total)
    return entriesOf(header, whole) ?? raise(segment, offset, 'damaged record body')
  }

  /** From what was read before: a segment's bytes do not change once they are written. Undefined where that is not the whole record. */
  #kept(segment: Segment, offset: number, group: number): Entry[] | undefined {
    const from = offset - this.#start
    if (segment !== this.#segment || from < 0 || from >= this.#bytes.length) return undefined
    const bytes = this.#bytes.subarray(from)
    const header = entriesHeader(bytes)
    if (header?.group !== group || recordHeaderBytes + header.bodyLength > bytes.length) return undefined
    return entriesOf(header, bytes)
  }

  async #fetch(segment: Segment, offset: number, length: number): Promise<Uint8Array> {
    this.#bytes = await readAt(segment, offset, length)
    this.#segment = segment
    this.#start = offset
    return this.#bytes
  }
}

function entriesHeader(bytes: Uint8Array): RecordHeader | undefined {
  const header = bytes.length < recordHeaderBytes ? undefined : readRecordHeader(bytes)
  return header?.kind === RecordKind.entries || header?.kind === RecordKind.rewritten ? header : undefined
}

/** `bytes` begin with the record. Undefined: its body is not what was written. */
function entriesOf(header: RecordHeader, bytes: Uint8Array): Entry[] | undefined {
  const body = bytes.slice(recordHeaderBytes, recordHeaderBytes + header.bodyLength)
  if (crc32(body) !== header.bodyChecksum) return undefined
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

function raise(segment: Segment, offset: number, what: string): never {
  throw new CorruptionError(segment.path, offset, what)
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
