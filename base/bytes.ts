/** Byte strings: order, copies, little-endian numbers and a growing writer. Keys everywhere are compared as unsigned bytes. */

export const emptyBytes: Uint8Array = new Uint8Array(0)

const textEncoder = new TextEncoder()
const textDecoder = new TextDecoder()

export function utf8(text: string): Uint8Array {
  return textEncoder.encode(text)
}

/** `bytes` must not lie in shared memory. */
export function utf8Text(bytes: Uint8Array): string {
  return textDecoder.decode(bytes)
}

/** Negative, 0 or positive as `a` sorts before, with or after `b`: unsigned bytes, the shorter first where one begins the other. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  return compareRanges(a, 0, a.length, b, 0, b.length)
}

/** `compareBytes` of a[aStart, aEnd) and b[bStart, bEnd), without views. */
export function compareRanges(a: Uint8Array, aStart: number, aEnd: number, b: Uint8Array, bStart: number, bEnd: number): number {
  const aLength = aEnd - aStart
  const bLength = bEnd - bStart
  const common = Math.min(aLength, bLength)
  for (let i = 0; i < common; i++) {
    const difference = (a[aStart + i] as number) - (b[bStart + i] as number)
    if (difference !== 0) return difference
  }
  return aLength - bLength
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && compareRanges(a, 0, a.length, b, 0, b.length) === 0
}

/** A copy in ordinary (not shared) memory of its own. */
export function copyBytes(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(bytes.length)
  copy.set(bytes)
  return copy
}

const smallCopyBytes = 4096
const copySlabBytes = 16 * 1024
let copySlab = new ArrayBuffer(0)
let copySlabEnd = 0

/**
 * A copy of bytes[start, end) in ordinary (not shared) memory. Small ones lie side by side in slabs of 16 KiB, as those of `Buffer.from` do: an
 * ArrayBuffer for each takes five times as long. So its `buffer` is not to be transferred, and one that is kept keeps its slab.
 */
export function copyRange(bytes: Uint8Array, start: number, end: number): Uint8Array {
  const length = end - start
  let copy: Uint8Array
  if (length > smallCopyBytes) copy = new Uint8Array(length)
  else {
    if (copySlabEnd + length > copySlab.byteLength) {
      copySlab = new ArrayBuffer(copySlabBytes)
      copySlabEnd = 0
    }
    copy = new Uint8Array(copySlab, copySlabEnd, length)
    // Each begins at a multiple of 8.
    copySlabEnd += (length + 7) & ~7
  }
  copy.set(bytes.subarray(start, end))
  return copy
}

export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0
  for (const part of parts) length += part.length
  const result = new Uint8Array(length)
  let offset = 0
  for (const part of parts) {
    result.set(part, offset)
    offset += part.length
  }
  return result
}

/** The least key above `key`: `key` with a zero byte behind it. */
export function keyAfter(key: Uint8Array): Uint8Array {
  const result = new Uint8Array(key.length + 1)
  result.set(key)
  return result
}

/** The least key above all keys that begin with `prefix`, undefined where there is none (all 0xff, or empty). */
export function prefixEnd(prefix: Uint8Array): Uint8Array | undefined {
  let length = prefix.length
  while (length > 0 && prefix[length - 1] === 0xff) length--
  if (length === 0) return undefined
  // Not `prefix.slice`: that of a Buffer is a view, and the caller's bytes would change.
  const result = new Uint8Array(prefix.subarray(0, length))
  result[length - 1] = (result[length - 1] as number) + 1
  return result
}

export function toHex(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0')
  return text
}

/** Throws RangeError where `text` is not hexadecimal. */
export function fromHex(text: string): Uint8Array {
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text)) throw new RangeError(`not hexadecimal: '${text}'`)
  const bytes = new Uint8Array(text.length / 2)
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16)
  return bytes
}

export function readU32(bytes: Uint8Array, offset: number): number {
  return (
    ((bytes[offset] as number) |
      ((bytes[offset + 1] as number) << 8) |
      ((bytes[offset + 2] as number) << 16) |
      ((bytes[offset + 3] as number) << 24)) >>>
    0
  )
}

export function writeU32(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value
  bytes[offset + 1] = value >>> 8
  bytes[offset + 2] = value >>> 16
  bytes[offset + 3] = value >>> 24
}

/** Four bytes from `start` on, big-endian and sign-flipped, so that int32 order is byte order; bytes at or behind `end` count as zero. */
export function int32Prefix(bytes: Uint8Array, start: number, end: number): number {
  if (start + 4 <= end) {
    return (
      (((bytes[start] as number) << 24) |
        ((bytes[start + 1] as number) << 16) |
        ((bytes[start + 2] as number) << 8) |
        (bytes[start + 3] as number)) ^
      0x80000000
    )
  }
  let value = 0
  for (let i = 0; i < 4; i++) value = (value << 8) | (start + i < end ? (bytes[start + i] as number) : 0)
  return value ^ 0x80000000
}

/** A little-endian 64-bit number; one above 2^53 - 1 comes back as NaN, which no check of a length or offset lets pass. */
export function readU64(bytes: Uint8Array, offset: number): number {
  const value = readU32(bytes, offset) + readU32(bytes, offset + 4) * 2 ** 32
  return Number.isSafeInteger(value) ? value : Number.NaN
}

/** `value` is a safe non-negative integer. */
export function writeU64(bytes: Uint8Array, offset: number, value: number): void {
  writeU32(bytes, offset, value % 2 ** 32)
  writeU32(bytes, offset + 4, Math.floor(value / 2 ** 32))
}

/** Bytes that `writeVarint` takes for `value`. */
export function varintLength(value: number): number {
  let length = 1
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) length++
  return length
}

/** LEB128 of a safe non-negative integer; returns the offset behind it. */
export function writeVarint(bytes: Uint8Array, offset: number, value: number): number {
  let rest = value
  let end = offset
  while (rest >= 0x80000000) {
    bytes[end++] = (rest % 128) | 128
    rest = Math.floor(rest / 128)
  }
  while (rest >= 128) {
    bytes[end++] = (rest & 127) | 128
    rest >>>= 7
  }
  bytes[end++] = rest
  return end
}

/** Appends to a buffer that grows. */
export class ByteWriter {
  #buffer: Uint8Array
  #length = 0

  constructor(capacity = 256) {
    this.#buffer = new Uint8Array(capacity)
  }

  get length(): number {
    return this.#length
  }

  /** Bytes that it holds memory for. */
  get capacity(): number {
    return this.#buffer.length
  }

  u8(value: number): void {
    this.#reserve(1)
    this.#buffer[this.#length++] = value
  }

  u32(value: number): void {
    this.#reserve(4)
    writeU32(this.#buffer, this.#length, value)
    this.#length += 4
  }

  u64(value: number): void {
    this.#reserve(8)
    writeU64(this.#buffer, this.#length, value)
    this.#length += 8
  }

  varint(value: number): void {
    this.#reserve(10)
    this.#length = writeVarint(this.#buffer, this.#length, value)
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length)
    this.#buffer.set(bytes, this.#length)
    this.#length += bytes.length
  }

  /** A varint length, then the bytes. */
  bytes(bytes: Uint8Array): void {
    this.varint(bytes.length)
    this.raw(bytes)
  }

  /** What was written: a view that holds until the next write. */
  view(): Uint8Array {
    return this.#buffer.subarray(0, this.#length)
  }

  /** What was written, as a copy. */
  finish(): Uint8Array {
    return this.#buffer.slice(0, this.#length)
  }

  clear(): void {
    this.#length = 0
  }

  #reserve(count: number): void {
    const wanted = this.#length + count
    if (wanted <= this.#buffer.length) return
    const grown = new Uint8Array(Math.max(wanted, 2 * this.#buffer.length))
    grown.set(this.#buffer.subarray(0, this.#length))
    this.#buffer = grown
  }
}

/** Reads what `ByteWriter` wrote. Every method throws RangeError where the bytes end too early or are no such thing. */
export class ByteReader {
  readonly #bytes: Uint8Array
  #offset: number

  constructor(bytes: Uint8Array, offset = 0) {
    this.#bytes = bytes
    this.#offset = offset
  }

  get offset(): number {
    return this.#offset
  }

  get done(): boolean {
    return this.#offset >= this.#bytes.length
  }

  u8(): number {
    return this.#bytes[this.#take(1)] as number
  }

  u32(): number {
    return readU32(this.#bytes, this.#take(4))
  }

  u64(): number {
    const value = readU64(this.#bytes, this.#take(8))
    if (Number.isNaN(value)) throw new RangeError('64-bit number out of range')
    return value
  }

  varint(): number {
    let value = 0
    for (let scale = 1; scale <= 2 ** 49; scale *= 128) {
      const byte = this.u8()
      value += (byte & 127) * scale
      if (byte < 128) {
        if (!Number.isSafeInteger(value)) break
        return value
      }
    }
    throw new RangeError('varint out of range')
  }

  /** A view of the next `length` bytes. */
  raw(length: number): Uint8Array {
    const start = this.#take(length)
    return this.#bytes.subarray(start, start + length)
  }

  /** A view of what `ByteWriter.bytes` wrote. */
  bytes(): Uint8Array {
    return this.raw(this.varint())
  }

  #take(count: number): number {
    const start = this.#offset
    if (start + count > this.#bytes.length) throw new RangeError(`bytes end at ${this.#bytes.length}, ${count} wanted at ${start}`)
    this.#offset = start + count
    return start
  }
}
