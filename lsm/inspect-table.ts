import { ByteReader, compareBytes, readU64 } from '../base/bytes.ts'
import { type BlockKind, CorruptionError } from '../base/errors.ts'
import type { File, FileSystem } from '../base/file-system.ts'
import { BlockCursor } from './block.ts'
import { isBloom } from './bloom.ts'
import { compressionName } from './compression.ts'
import { type Damage, damageOf } from './damage.ts'
import {
  type BlockHandle,
  blockTrailerBytes,
  decodeFooter,
  type Footer,
  type FooterHandle,
  footerBytes,
  verifyBlock,
  verifyDataBlock,
} from './table-format.ts'
import { checkKind, decodeProperties } from './table-reader.ts'

/** A data block as the index has it. */
export interface IndexEntry extends BlockHandle {
  /** At or above the last key of the block and below the first of the next. */
  readonly separator: Uint8Array
}

export interface TableEntryView {
  /** Views that hold until the next entry. */
  readonly key: Uint8Array
  readonly value: Uint8Array
  /** `kind.ts`. */
  readonly kind: number
  readonly sequence: number
}

/** The parts of a table that can be read; the others are undefined and reported. `close` it. Nothing is changed. */
export class TableInspection {
  readonly path: string
  readonly size: number
  readonly footer: Footer | undefined
  readonly filter: Uint8Array | undefined
  readonly index: readonly IndexEntry[] | undefined
  readonly properties: ReadonlyMap<string, Uint8Array> | undefined
  readonly #file: File
  readonly #report: (damage: Damage) => void

  private constructor(file: File, size: number, parts: Parts, report: (damage: Damage) => void) {
    this.path = file.path
    this.size = size
    this.footer = parts.footer
    this.filter = parts.filter
    this.index = parts.index
    this.properties = parts.properties
    this.#file = file
    this.#report = report
  }

  /** Rejects only where the file cannot be read; damage is reported, here and later. */
  static async open(fileSystem: FileSystem, path: string, report: (damage: Damage) => void): Promise<TableInspection> {
    const file = await fileSystem.open(path, 'read')
    try {
      const size = await file.size()
      return new TableInspection(file, size, await readParts(file, size, report), report)
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** A property that is a number; undefined where it is missing or none. */
  numberProperty(name: string): number | undefined {
    const value = this.properties?.get(name)
    const number = value?.length === 8 ? readU64(value, 0) : Number.NaN
    return Number.isNaN(number) ? undefined : number
  }

  /** Data block `number` as it lies on disk, trailer included; undefined, and reported, where the file ends before. */
  async rawBlock(number: number): Promise<Uint8Array | undefined> {
    const entry = this.index?.[number]
    if (entry === undefined) return undefined
    try {
      return await readRange(this.#file, entry.offset, entry.length + blockTrailerBytes, 'data')
    } catch (error) {
      this.#report(damageOf(error, number))
      return undefined
    }
  }

  /** The entries of data block `number`, whose bytes are `raw`, `most` of them, or up to the first that cannot be read, which is reported. */
  *entries(number: number, raw: Uint8Array, most = Number.POSITIVE_INFINITY): Generator<TableEntryView> {
    if (most === 0) return
    const offset = this.index?.[number]?.offset ?? 0
    try {
      const block = verifyDataBlock(raw, this.path, offset)
      const cursor = new BlockCursor()
      cursor.open(block, 0, block.length, this.path, offset)
      for (let count = 0; count < most && cursor.advance(); count++) {
        checkKind(cursor.kind, this.path, offset)
        yield {
          key: cursor.key.subarray(0, cursor.keyLength),
          value: block.subarray(cursor.valueStart, cursor.valueEnd),
          kind: cursor.kind,
          sequence: cursor.sequence,
        }
      }
    } catch (error) {
      this.#report(damageOf(error, number))
    }
  }

  /** Any bytes of the file, for who reads all of it: as `File.read`. */
  read(target: Uint8Array, offset: number): Promise<number> {
    return this.#file.read(target, offset)
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}

interface Parts {
  footer?: Footer
  filter?: Uint8Array
  index?: IndexEntry[]
  properties?: ReadonlyMap<string, Uint8Array>
}

async function readParts(file: File, size: number, report: (damage: Damage) => void): Promise<Parts> {
  const parts: Parts = {}
  const part = async (read: () => Promise<void>) => {
    try {
      await read()
    } catch (error) {
      report(damageOf(error))
    }
  }
  const { path } = file
  await part(async () => {
    if (size < footerBytes) throw new CorruptionError(path, 0, `a table of ${size} bytes`)
    parts.footer = decodeFooter(await readRange(file, size - footerBytes, footerBytes, 'footer'), path, size - footerBytes)
  })
  const { footer } = parts
  if (footer === undefined) return parts
  await part(async () => {
    const filter = await readBlock(file, footer.filter)
    if (!isBloom(filter)) throw new CorruptionError(path, footer.filter.offset, 'malformed filter', 'filter')
    parts.filter = filter
  })
  await part(async () => {
    parts.index = decodeIndex(await readBlock(file, footer.index), path, footer)
  })
  await part(async () => {
    parts.properties = decodeProperties(await readBlock(file, footer.properties), path, footer.properties.offset)
  })
  return parts
}

async function readBlock(file: File, handle: FooterHandle): Promise<Uint8Array> {
  try {
    return verifyBlock(await readRange(file, handle.offset, handle.length + blockTrailerBytes, handle.block), file.path, handle)
  } catch (error) {
    if (error instanceof CorruptionError) throw new CorruptionError(error.file, error.offset, `${error.block}: ${error.what}`, error.block)
    throw error
  }
}

async function readRange(file: File, offset: number, length: number, block: BlockKind): Promise<Uint8Array> {
  const bytes = new Uint8Array(length)
  const count = await file.read(bytes, offset)
  if (count < length) throw new CorruptionError(file.path, offset, `ends ${length - count} bytes too early`, block)
  return bytes
}

function decodeIndex(block: Uint8Array, path: string, footer: Footer): IndexEntry[] {
  const { offset: at } = footer.index
  const entries: IndexEntry[] = []
  const cursor = new BlockCursor()
  cursor.open(block, 0, block.length, path, at, 'index')
  while (cursor.advance()) {
    let handle: BlockHandle
    try {
      const value = new ByteReader(block.subarray(cursor.valueStart, cursor.valueEnd))
      handle = { offset: value.varint(), length: value.varint() }
    } catch {
      throw new CorruptionError(path, at, 'malformed index', 'index')
    }
    if (handle.offset + handle.length + blockTrailerBytes > footer.filter.offset)
      throw new CorruptionError(path, at, 'malformed index', 'index')
    const separator = cursor.key.slice(0, cursor.keyLength)
    const before = entries.at(-1)
    if (before !== undefined && compareBytes(before.separator, separator) >= 0) {
      throw new CorruptionError(path, at, 'the keys of the index do not rise', 'index')
    }
    entries.push({ ...handle, separator })
  }
  return entries
}

/** The compression of a block as it lies on disk. */
export function compressionOf(raw: Uint8Array): string {
  return compressionName(raw[raw.length - blockTrailerBytes] as number)
}
