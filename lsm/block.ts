import { compareRanges, emptyBytes, readU32, writeU32, writeVarint } from '../base/bytes.ts'
import { type BlockKind, CorruptionError } from '../base/errors.ts'
import { entryTrailerBytes } from './table-format.ts'

/** Builds the payload of a data or index block (`table-format.ts`). */
export class BlockBuilder {
  readonly #restartInterval: number
  #buffer: Uint8Array
  #length = 0
  #restarts: number[] = []
  #sinceRestart = 0
  #lastKey = new Uint8Array(64)
  #lastKeyLength = 0
  #entries = 0

  constructor(restartInterval: number, capacity = 8192) {
    this.#restartInterval = restartInterval
    this.#buffer = new Uint8Array(capacity)
  }

  get entries(): number {
    return this.#entries
  }

  /** Bytes that it holds memory for. */
  get capacity(): number {
    return this.#buffer.length
  }

  /** Payload so far, restarts included. */
  get bytes(): number {
    return this.#length + 4 * this.#restarts.length + 4
  }

  /** A view of the last key added, valid until the next. */
  get lastKey(): Uint8Array {
    return this.#lastKey.subarray(0, this.#lastKeyLength)
  }

  add(
    key: Uint8Array,
    keyStart: number,
    keyEnd: number,
    kind: number,
    sequence: number,
    value: Uint8Array,
    valueStart: number,
    valueEnd: number,
  ): void {
    const keyLength = keyEnd - keyStart
    const valueLength = valueEnd - valueStart
    let shared = 0
    if (this.#entries === 0 || this.#sinceRestart === this.#restartInterval) {
      this.#restarts.push(this.#length)
      this.#sinceRestart = 0
    } else {
      const most = Math.min(keyLength, this.#lastKeyLength)
      while (shared < most && this.#lastKey[shared] === key[keyStart + shared]) shared++
    }
    this.#reserve(30 + entryTrailerBytes + keyLength + valueLength)
    const buffer = this.#buffer
    let at = writeVarint(buffer, this.#length, shared)
    at = writeVarint(buffer, at, keyLength - shared)
    at = writeVarint(buffer, at, valueLength)
    buffer[at] = kind
    writeU32(buffer, at + 1, sequence % 2 ** 32)
    const high = Math.floor(sequence / 2 ** 32)
    buffer[at + 5] = high
    buffer[at + 6] = high >>> 8
    buffer[at + 7] = high >>> 16
    at += entryTrailerBytes
    for (let i = keyStart + shared; i < keyEnd; i++) buffer[at++] = key[i] as number
    if (valueLength > 0) buffer.set(value.subarray(valueStart, valueEnd), at)
    this.#length = at + valueLength
    this.#remember(key, keyStart, keyEnd, shared)
    this.#sinceRestart++
    this.#entries++
  }

  /** The payload, a view valid until the next `add`; the builder is empty again. */
  finish(): Uint8Array {
    this.#reserve(4 * this.#restarts.length + 4)
    let at = this.#length
    for (const restart of this.#restarts) {
      writeU32(this.#buffer, at, restart)
      at += 4
    }
    writeU32(this.#buffer, at, this.#restarts.length)
    this.clear()
    return this.#buffer.subarray(0, at + 4)
  }

  clear(): void {
    this.#length = 0
    this.#restarts = []
    this.#sinceRestart = 0
    this.#entries = 0
  }

  #remember(key: Uint8Array, start: number, end: number, shared: number): void {
    const length = end - start
    if (length > this.#lastKey.length) {
      const grown = new Uint8Array(2 * length)
      grown.set(this.#lastKey.subarray(0, shared))
      this.#lastKey = grown
    }
    for (let i = shared; i < length; i++) this.#lastKey[i] = key[start + i] as number
    this.#lastKeyLength = length
  }

  #reserve(count: number): void {
    const wanted = this.#length + count
    if (wanted <= this.#buffer.length) return
    const grown = new Uint8Array(Math.max(wanted, 2 * this.#buffer.length))
    grown.set(this.#buffer.subarray(0, this.#length))
    this.#buffer = grown
  }
}

/** Walks the entries of a block's payload forward. The key is put together in `key[0, keyLength)`. */
export class BlockCursor {
  block: Uint8Array = emptyBytes
  valid = false
  kind = 0
  sequence = 0
  key = new Uint8Array(64)
  keyLength = 0
  /** In `block`. */
  valueStart = 0
  valueEnd = 0
  #file = ''
  #fileOffset = 0
  #kind: BlockKind = 'data'
  #start = 0
  #restarts = 0
  #restartCount = 0
  #next = 0

  /** The payload is block[start, end); `file`, `fileOffset` and `kind` are for errors. The cursor then stands before the first entry. */
  open(block: Uint8Array, start: number, end: number, file: string, fileOffset: number, kind: BlockKind = 'data'): void {
    this.block = block
    this.#file = file
    this.#fileOffset = fileOffset
    this.#kind = kind
    this.#start = start
    this.#restartCount = end - start < 4 ? 0 : readU32(block, end - 4)
    this.#restarts = end - 4 - 4 * this.#restartCount
    if (this.#restartCount === 0 || this.#restarts < start) throw this.#malformed()
    this.#next = start
    this.keyLength = 0
    this.valid = false
  }

  /** To the next entry; false at the end. */
  advance(): boolean {
    if (this.#next >= this.#restarts) {
      this.valid = false
      return false
    }
    this.#decode(this.#next)
    this.valid = true
    return true
  }

  /** To the first entry with a key >= bytes[start, end); false where there is none. */
  seek(bytes: Uint8Array, start: number, end: number): boolean {
    let from = 0
    let to = this.#restartCount - 1
    while (from < to) {
      const middle = (from + to + 1) >>> 1
      this.keyLength = 0
      this.#decode(this.#restartAt(middle))
      if (compareRanges(this.key, 0, this.keyLength, bytes, start, end) < 0) from = middle
      else to = middle - 1
    }
    this.#next = this.#restartAt(from)
    this.keyLength = 0
    while (this.advance()) {
      if (compareRanges(this.key, 0, this.keyLength, bytes, start, end) >= 0) return true
    }
    return false
  }

  #restartAt(index: number): number {
    const offset = this.#start + readU32(this.block, this.#restarts + 4 * index)
    if (offset >= this.#restarts) throw this.#malformed()
    return offset
  }

  #decode(offset: number): void {
    const block = this.block
    let at = offset
    let shared = block[at++] as number
    let rest = block[at++] as number
    let valueLength = block[at++] as number
    if ((shared | rest | valueLength) >= 128) {
      at = offset
      shared = this.#varint(at)
      at = this.#end
      rest = this.#varint(at)
      at = this.#end
      valueLength = this.#varint(at)
      at = this.#end
    }
    const keyAt = at + entryTrailerBytes
    const keyLength = shared + rest
    // Not the other way round: what lies outside of the block is undefined, and no number.
    if (!(shared <= this.keyLength && keyAt + rest + valueLength <= this.#restarts)) throw this.#malformed()
    this.kind = block[at] as number
    this.sequence =
      readU32(block, at + 1) + ((block[at + 5] as number) | ((block[at + 6] as number) << 8) | ((block[at + 7] as number) << 16)) * 2 ** 32
    if (keyLength > this.key.length) {
      const grown = new Uint8Array(2 * keyLength)
      grown.set(this.key.subarray(0, shared))
      this.key = grown
    }
    const key = this.key
    for (let i = 0; i < rest; i++) key[shared + i] = block[keyAt + i] as number
    this.keyLength = keyLength
    this.valueStart = keyAt + rest
    this.valueEnd = this.valueStart + valueLength
    this.#next = this.valueEnd
  }

  /** Offset behind the last varint read. */
  #end = 0

  #varint(offset: number): number {
    const block = this.block
    let at = offset
    let byte = block[at++] as number
    if (byte < 128) {
      this.#end = at
      return byte
    }
    let value = byte & 127
    for (let shift = 7; shift < 35; shift += 7) {
      byte = block[at++] as number
      value |= (byte & 127) << shift
      if (byte < 128) {
        this.#end = at
        return value >>> 0
      }
    }
    throw this.#malformed()
  }

  #malformed(): CorruptionError {
    return new CorruptionError(this.#file, this.#fileOffset, 'malformed block', this.#kind)
  }
}
