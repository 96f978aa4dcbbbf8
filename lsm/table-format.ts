import { readU32, readU64, writeU32, writeU64 } from '../base/bytes.ts'
import { crc32 } from '../base/checksum.ts'
import { type BlockKind, CorruptionError, NewerFormatError } from '../base/errors.ts'
import { compressionNone, decompress } from './compression.ts'

/**
 * A table (SSTable): sorted entries, written once.
 *
 *     data block … │ filter block │ index block │ properties block │ footer (64 bytes)
 *
 * On disk each block is its payload, or what `compression.ts` makes of it, a byte that names the compression (0: none; others for data
 * blocks only), and a crc32 of both begun with the block's offset, so that a block read from the wrong place is found out too.
 *
 * Data and index blocks:
 *
 *     entry … │ restart offset u32 … │ number of restarts u32
 *     entry = shared varint │ rest varint │ value length varint │ kind u8 │ sequence u56 │ key rest │ value
 *
 * `shared` bytes are those of the key before; it is 0 at a restart point (each 16th entry; in an index block each one). Entries are ordered
 * by key, versions of a key by falling sequence number. An index entry's key is at or above the last key of its block and below the
 * first of the next; its value is the block's offset and length as varints. The filter block is the Bloom filter of `bloom.ts`. The
 * properties block is a list of (name, value), each length-prefixed by a varint; unknown names are passed over.
 *
 *     footer: filter offset u64, length u32 │ index offset u64, length u32 │ properties offset u64, length u32 │ zeroes to 48 │
 *             version u32 (2) │ crc32 u32 of bytes 0 to 52 │ magic 'OSTRATBL'
 */
export const blockTrailerBytes = 5
export const footerBytes = 64
/** 2: the filter's probes lie in parts (`bloom.ts`). Tables of version 1 are read as well. */
export const tableVersion = 2
export const entryTrailerBytes = 8
const magicLow = 0x5254534f // 'OSTR'
const magicHigh = 0x4c425441 // 'ATBL'

export interface BlockHandle {
  readonly offset: number
  /** On disk, where it may be compressed; the trailer follows. */
  readonly length: number
}

/** A block other than one of data. */
export interface FooterHandle extends BlockHandle {
  readonly block: BlockKind
}

export interface Footer {
  readonly version: number
  readonly filter: FooterHandle
  readonly index: FooterHandle
  readonly properties: FooterHandle
}

export function encodeFooter(footer: Readonly<Record<'filter' | 'index' | 'properties', BlockHandle>>): Uint8Array {
  const bytes = new Uint8Array(footerBytes)
  ;[footer.filter, footer.index, footer.properties].forEach((handle, i) => {
    writeU64(bytes, 12 * i, handle.offset)
    writeU32(bytes, 12 * i + 8, handle.length)
  })
  writeU32(bytes, 48, tableVersion)
  writeU32(bytes, 52, crc32(bytes.subarray(0, 52)))
  writeU32(bytes, 56, magicLow)
  writeU32(bytes, 60, magicHigh)
  return bytes
}

/** `bytes`: the last 64 of the file, which begin at `offset`. */
export function decodeFooter(bytes: Uint8Array, file: string, offset: number): Footer {
  if (bytes.length < footerBytes || readU32(bytes, 56) !== magicLow || readU32(bytes, 60) !== magicHigh) {
    throw new CorruptionError(file, offset, 'no table footer', 'footer')
  }
  if (readU32(bytes, 52) !== crc32(bytes.subarray(0, 52))) throw new CorruptionError(file, offset, 'damaged table footer', 'footer')
  const version = readU32(bytes, 48)
  if (version < 1 || version > tableVersion)
    throw new NewerFormatError(file, offset, `table format ${version}, this version reads ${tableVersion}`, 'footer')
  const handle = (block: BlockKind, at: number): FooterHandle => {
    const found = { block, offset: readU64(bytes, at), length: readU32(bytes, at + 8) }
    if (!(found.offset + found.length + blockTrailerBytes <= offset))
      throw new CorruptionError(file, offset, 'footer points outside the table', 'footer')
    return found
  }
  return { version, filter: handle('filter', 0), index: handle('index', 12), properties: handle('properties', 24) }
}

/** The checksum that goes behind the payload and its compression byte, `bytes`, of a block at `offset`. */
export function blockChecksum(bytes: Uint8Array, offset: number): number {
  return crc32(bytes, offset % 2 ** 32)
}

/** Checks a block other than one of data as it lies on disk and returns its payload, a view. */
export function verifyBlock(raw: Uint8Array, file: string, { offset, block }: FooterHandle): Uint8Array {
  const stored = storedBlock(raw, file, offset, block)
  if (isCompressed(raw)) {
    throw new NewerFormatError(file, offset, `compression ${raw[stored.length]} of a block that is not of data`, block)
  }
  return stored
}

/** Checks a data block as it lies on disk and returns its payload: a view, but in memory of its own where it `isCompressed`. */
export function verifyDataBlock(raw: Uint8Array, file: string, offset: number): Uint8Array {
  const stored = storedBlock(raw, file, offset, 'data')
  return isCompressed(raw) ? decompress(raw[stored.length] as number, stored, file, offset) : stored
}

/** Of a block as it lies on disk. */
export function isCompressed(raw: Uint8Array): boolean {
  return raw[raw.length - blockTrailerBytes] !== compressionNone
}

function storedBlock(raw: Uint8Array, file: string, offset: number, block: BlockKind): Uint8Array {
  const end = raw.length - blockTrailerBytes
  if (blockChecksum(raw.subarray(0, end + 1), offset) !== readU32(raw, end + 1)) {
    throw new CorruptionError(file, offset, 'damaged block', block)
  }
  return raw.subarray(0, end)
}
