import { compareBytes, compareRanges } from '../base/bytes.ts'
import type { MaybePromise } from '../base/maybe-promise.ts'
import { firstFrom } from './binary-search.ts'
import { BlockCursor } from './block.ts'
import { BlockLoader } from './block-loader.ts'
import { compareToKey, Source } from './source.ts'
import type { TableMetadata } from './table-metadata.ts'
import { checkKind, type TableReader } from './table-reader.ts'

/** What of a table counts. Where it is not clipped and no target is sought, the bounds are not looked at beyond finding its first block. */
export type TablePart = Pick<TableMetadata, 'lower' | 'upper' | 'clipped'>

/** The entries of one table within the bounds of its metadata. */
export class TableSource extends Source {
  #reader: TableReader
  #part: TablePart
  readonly #reverse: boolean
  readonly #cursor = new BlockCursor()
  readonly #loader: BlockLoader
  #block = 0
  /** Reverse only: a scan of many ranges has thousands of sources, and most walk forward. */
  readonly #decoded: DecodedBlock | undefined
  /** Reverse: the entry of the decoded block at which the source stands. */
  #entry = 0

  constructor(reader: TableReader, part: TablePart, reverse: boolean) {
    super()
    this.#reader = reader
    this.#loader = new BlockLoader(reader)
    this.#part = part
    this.#reverse = reverse
    this.#decoded = reverse ? new DecodedBlock() : undefined
  }

  /** From now on the entries are those of another table, in the same memory; `seek` comes next. Not while a move is under way. */
  enter(reader: TableReader, part: TablePart): void {
    this.#reader = reader
    this.#loader.enter(reader)
    this.#part = part
  }

  seek(target: Uint8Array | undefined): MaybePromise<void> {
    const part = this.#part
    if (this.#reverse) {
      const below = target === undefined || (part.clipped && compareBytes(part.upper, target) < 0) ? part.upper : target
      const block = Math.min(this.#reader.findBlock(below, 0, below.length), this.#reader.blocks - 1)
      return this.#enterBack(block, below)
    }
    const from = target === undefined || (part.clipped && compareBytes(part.lower, target) > 0) ? part.lower : target
    return this.#enter(this.#reader.findBlock(from, 0, from.length), from)
  }

  advance(): MaybePromise<void> {
    if (this.#reverse) {
      if (--this.#entry >= 0) return this.#standBack()
      return this.#enterBack(this.#block - 1, undefined)
    }
    if (this.#cursor.advance()) return this.#stand()
    return this.#enter(this.#block + 1, undefined)
  }

  #enter(block: number, from: Uint8Array | undefined): MaybePromise<void> {
    this.#block = block
    if (block >= this.#reader.blocks) {
      this.valid = false
      return
    }
    const loading = this.#loader.load(block)
    return loading instanceof Promise ? loading.then(() => this.#begin(from)) : this.#begin(from)
  }

  #begin(from: Uint8Array | undefined): MaybePromise<void> {
    const cursor = this.#openBlock()
    const found = from === undefined ? cursor.advance() : cursor.seek(from, 0, from.length)
    if (!found) return this.#enter(this.#block + 1, undefined)
    this.#stand()
  }

  /** The cursor, before the first entry of the block that was loaded. */
  #openBlock(): BlockCursor {
    const { bytes, start, end } = this.#loader
    this.#cursor.open(bytes, start, end, this.#reader.path, this.#reader.blockOffset(this.#block))
    return this.#cursor
  }

  #stand(): void {
    const cursor = this.#cursor
    checkKind(cursor.kind, this.#reader.path, this.#reader.blockOffset(this.#block))
    this.valid = true
    this.kind = cursor.kind
    this.sequence = cursor.sequence
    this.keyBuffer = cursor.key
    this.keyStart = 0
    this.keyEnd = cursor.keyLength
    this.valueBuffer = cursor.block
    this.valueStart = cursor.valueStart
    this.valueEnd = cursor.valueEnd
    if (this.#part.clipped && compareToKey(this, this.#part.upper) >= 0) this.valid = false
  }

  #enterBack(block: number, below: Uint8Array | undefined): MaybePromise<void> {
    this.#block = block
    if (block < 0) {
      this.valid = false
      return
    }
    const loading = this.#loader.load(block)
    return loading instanceof Promise ? loading.then(() => this.#beginBack(below)) : this.#beginBack(below)
  }

  #beginBack(below: Uint8Array | undefined): MaybePromise<void> {
    this.#entry = (this.#decoded as DecodedBlock).fill(this.#openBlock(), below) - 1
    if (this.#entry < 0) return this.#enterBack(this.#block - 1, below)
    this.#standBack()
  }

  #standBack(): void {
    const decoded = this.#decoded as DecodedBlock
    const entry = this.#entry
    this.valid = true
    this.kind = decoded.kinds[entry] as number
    checkKind(this.kind, this.#reader.path, this.#reader.blockOffset(this.#block))
    this.sequence = decoded.sequences[entry] as number
    this.keyBuffer = decoded.keys
    this.keyStart = decoded.keyEnds[entry - 1] ?? 0
    this.keyEnd = decoded.keyEnds[entry] as number
    this.valueBuffer = this.#cursor.block
    this.valueStart = decoded.valueStarts[entry] as number
    this.valueEnd = decoded.valueEnds[entry] as number
    if (this.#part.clipped && compareToKey(this, this.#part.lower) < 0) this.valid = false
  }
}

/** A block's entries side by side, for walking backwards: prefix compression only reads forward. */
class DecodedBlock {
  keys = new Uint8Array(1024)
  readonly keyEnds: number[] = []
  readonly kinds: number[] = []
  readonly sequences: number[] = []
  readonly valueStarts: number[] = []
  readonly valueEnds: number[] = []

  /** Takes the entries below `below` (all, if undefined); of versions of a key only the newest. Returns how many. */
  fill(cursor: BlockCursor, below: Uint8Array | undefined): number {
    let count = 0
    let start = 0
    let end = 0
    while (cursor.advance()) {
      if (below !== undefined && compareRanges(cursor.key, 0, cursor.keyLength, below, 0, below.length) >= 0) break
      if (count > 0 && compareRanges(cursor.key, 0, cursor.keyLength, this.keys, start, end) === 0) continue
      start = end
      end += cursor.keyLength
      if (end > this.keys.length) {
        const grown = new Uint8Array(2 * end)
        grown.set(this.keys.subarray(0, start))
        this.keys = grown
      }
      this.keys.set(cursor.key.subarray(0, cursor.keyLength), start)
      this.keyEnds[count] = end
      this.kinds[count] = cursor.kind
      this.sequences[count] = cursor.sequence
      this.valueStarts[count] = cursor.valueStart
      this.valueEnds[count] = cursor.valueEnd
      count++
    }
    return count
  }
}

/** Opens tables for a source. */
export type OpenTable<Table = TableMetadata> = (table: Table) => MaybePromise<TableReader>

/** The tables of one level, or of any run that does not overlap and is ordered, as one source; opened when they are reached. */
export class RunSource<Table extends TablePart = TableMetadata> extends Source {
  readonly #tables: readonly Table[]
  readonly #open: OpenTable<Table>
  readonly #reverse: boolean
  #at = 0
  #current: TableSource | undefined

  constructor(tables: readonly Table[], open: OpenTable<Table>, reverse: boolean) {
    super()
    this.#tables = tables
    this.#open = open
    this.#reverse = reverse
  }

  seek(target: Uint8Array | undefined): MaybePromise<void> {
    const tables = this.#tables
    if (this.#reverse) {
      // The last table that begins below the target.
      const at = target === undefined ? tables.length - 1 : firstFrom(tables, (table) => compareBytes(table.lower, target) >= 0) - 1
      return this.#enter(at, target)
    }
    const at = target === undefined ? 0 : firstFrom(tables, (table) => compareBytes(table.upper, target) > 0)
    return this.#enter(at, target)
  }

  advance(): MaybePromise<void> {
    const current = this.#current as TableSource
    const moved = current.advance()
    return moved instanceof Promise ? moved.then(() => this.#settle()) : this.#settle()
  }

  #enter(at: number, target: Uint8Array | undefined): MaybePromise<void> {
    this.#at = at
    const table = this.#tables[at]
    if (table === undefined) {
      this.valid = false
      return
    }
    const reader = this.#open(table)
    return reader instanceof Promise ? reader.then((opened) => this.#begin(opened, table, target)) : this.#begin(reader, table, target)
  }

  #begin(reader: TableReader, table: Table, target: Uint8Array | undefined): MaybePromise<void> {
    // One for all tables of the run: what each needs to read ahead would be garbage of 256 KiB a table.
    if (this.#current === undefined) this.#current = new TableSource(reader, table, this.#reverse)
    else this.#current.enter(reader, table)
    const moved = this.#current.seek(target)
    return moved instanceof Promise ? moved.then(() => this.#settle()) : this.#settle()
  }

  #settle(): MaybePromise<void> {
    const current = this.#current as TableSource
    if (!current.valid) return this.#enter(this.#at + (this.#reverse ? -1 : 1), undefined)
    this.take(current)
  }
}
