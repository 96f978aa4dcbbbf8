import { compareBytes, emptyBytes, keyAfter } from '../base/bytes.ts'
import { crc32 } from '../base/checksum.ts'
import { CorruptionError } from '../base/errors.ts'
import type { FileSystem } from '../base/file-system.ts'
import { BlockCursor } from './block.ts'
import { BlockLookup } from './block-lookup.ts'
import { bloomHash, bloomMayHold } from './bloom.ts'
import { type Damage, damageOf } from './damage.ts'
import { TableInspection } from './inspect-table.ts'
import { kindTombstone, maxKeyBytes } from './kind.ts'
import { blockTrailerBytes, footerBytes, verifyDataBlock } from './table-format.ts'
import type { TableMetadata } from './table-metadata.ts'
import { checkKind } from './table-reader.ts'

/** What is known of a table from elsewhere. */
export type ExpectedFile = Pick<TableMetadata, 'size' | 'checksum'> &
  Partial<Pick<TableMetadata, 'entries' | 'tombstones' | 'maxSequence' | 'lower' | 'upper' | 'clipped'>>

export interface VerifyTableOptions {
  /** A table that was excised may be in a version in several parts. */
  readonly expected?: readonly ExpectedFile[]
  readonly onDamage: (damage: Damage) => void
  /** Called now and then with the bytes read since the last call; what it returns is waited for. */
  readonly onBytes?: (bytes: number) => Promise<void> | undefined
}

export interface VerifiedTable {
  /** That were read. */
  readonly entries: number
  /** crc32 of the file. */
  readonly checksum: number
}

/**
 * Reads every byte of a table and checks: the checksum of each block and of the file; that blocks follow one another without gaps; that keys
 * rise, lie in their block as the index says, and are found by filter, index and block as a lookup finds them; that the properties are true.
 * Rejects only where the file cannot be read.
 */
export async function verifyTable(fileSystem: FileSystem, path: string, options: VerifyTableOptions): Promise<VerifiedTable> {
  let damages = 0
  const report = (damage: Damage) => {
    damages++
    options.onDamage(damage)
  }
  const table = await TableInspection.open(fileSystem, path, report)
  try {
    const reader = new WholeReader(table, options.onBytes)
    const check = new TableCheck(table, report)
    for (const [number, { offset, length }] of (table.index ?? []).entries()) {
      if (offset !== reader.position) {
        report({ file: path, offset: reader.position, block: number, what: `the block before ends here, this one begins at ${offset}` })
        break
      }
      const raw = await reader.take(length + blockTrailerBytes)
      if (raw === undefined) break
      check.block(number, raw)
    }
    const { footer } = table
    if (footer !== undefined && damages === 0) checkTail(table, reader.position, report)
    await reader.rest()
    check.finish(damages === 0)
    for (const expected of options.expected ?? []) checkExpected(table, expected, report)
    // Damage that has been found explains a wrong checksum.
    const wrong = (options.expected ?? []).find(({ checksum }) => checksum !== reader.checksum)
    if (wrong !== undefined && damages === 0) {
      report({ file: path, what: `checksum ${hex(reader.checksum)} of the file; ${hex(wrong.checksum)} is known of it` })
    }
    return { entries: check.entries, checksum: reader.checksum }
  } finally {
    await table.close()
  }
}

/** Reads a file from its begin to its end, once, and sums it up. */
class WholeReader {
  position = 0
  checksum = 0
  readonly #table: TableInspection
  readonly #onBytes: ((bytes: number) => Promise<void> | undefined) | undefined
  readonly #window = new Uint8Array(256 * 1024)
  #start = 0
  #filled = 0

  constructor(table: TableInspection, onBytes: ((bytes: number) => Promise<void> | undefined) | undefined) {
    this.#table = table
    this.#onBytes = onBytes
  }

  /** The next `length` bytes, a view that holds until the next call; undefined where the file ends before. */
  async take(length: number): Promise<Uint8Array | undefined> {
    if (this.position + length > this.#table.size) return undefined
    const from = this.position - this.#start
    if (from + length <= this.#filled) {
      this.position += length
      return this.#window.subarray(from, from + length)
    }
    const bytes = new Uint8Array(length)
    let done = 0
    while (done < length) {
      if (this.position === this.#start + this.#filled && !(await this.#fill())) return undefined
      const at = this.position - this.#start
      const part = this.#window.subarray(at, Math.min(at + length - done, this.#filled))
      bytes.set(part, done)
      done += part.length
      this.position += part.length
    }
    return bytes
  }

  async rest(): Promise<void> {
    this.position = this.#start + this.#filled
    while (await this.#fill()) this.position = this.#start + this.#filled
  }

  /** False at the end of the file. */
  async #fill(): Promise<boolean> {
    this.#start += this.#filled
    this.#filled = await this.#table.read(this.#window, this.#start)
    if (this.#filled === 0) return false
    this.checksum = crc32(this.#window.subarray(0, this.#filled), this.checksum)
    await this.#onBytes?.(this.#filled)
    return true
  }
}

/** What the entries of a table are like, block by block. */
class TableCheck {
  entries = 0
  readonly #table: TableInspection
  readonly #report: (damage: Damage) => void
  readonly #walk = new BlockCursor()
  readonly #lookup = new BlockLookup()
  #payload: Uint8Array = emptyBytes
  #tombstones = 0
  #maxSequence = 0
  #first: Uint8Array | undefined
  #last: Uint8Array | undefined

  constructor(table: TableInspection, report: (damage: Damage) => void) {
    this.#table = table
    this.#report = report
  }

  block(number: number, raw: Uint8Array): void {
    const { path, index } = this.#table
    const offset = index?.[number]?.offset ?? 0
    try {
      const payload = verifyDataBlock(raw, path, offset)
      this.#payload = payload
      this.#walk.open(payload, 0, payload.length, path, offset)
      let count = 0
      while (this.#walk.advance()) {
        count++
        const what = this.#entry(number)
        if (what !== undefined) throw new CorruptionError(path, offset, `entry ${count - 1}: ${what}`, 'data')
      }
      if (count === 0) throw new CorruptionError(path, offset, 'no entries', 'data')
      this.#last = this.#walk.key.slice(0, this.#walk.keyLength)
    } catch (error) {
      this.#report(damageOf(error, number))
    }
  }

  /** `isWhole`: all blocks could be read. */
  finish(isWhole: boolean): void {
    const { path, properties, footer } = this.#table
    if (!isWhole || properties === undefined || footer === undefined) return
    const { offset } = footer.properties
    const wrong = (what: string) => this.#report({ file: path, offset, what: `properties: ${what}` })
    const counts = { entries: this.entries, tombstones: this.#tombstones, maxSequence: this.#maxSequence }
    for (const [name, count] of Object.entries(counts)) {
      const said = this.#table.numberProperty(name)
      if (said !== count) wrong(`${name} is ${count}, not ${said ?? 'there'}`)
    }
    const lower = properties.get('lower')
    const upper = properties.get('upper')
    if (lower === undefined || this.#first === undefined || compareBytes(lower, this.#first) !== 0) wrong('lower is not the first key')
    if (upper === undefined || this.#last === undefined || compareBytes(upper, keyAfter(this.#last)) !== 0) {
      wrong('upper is not the end of the last key')
    }
  }

  /** What is wrong with the entry that `#walk` stands at. */
  #entry(number: number): string | undefined {
    const { key: bytes, keyLength, kind, sequence, valueStart, valueEnd } = this.#walk
    const key = bytes.subarray(0, keyLength)
    const { index, filter, path } = this.#table
    checkKind(kind, path, index?.[number]?.offset ?? 0)
    this.entries++
    if (kind === kindTombstone) this.#tombstones++
    if (sequence > this.#maxSequence) this.#maxSequence = sequence
    this.#first ??= key.slice()
    if (keyLength > maxKeyBytes) return `a key of ${keyLength} bytes`
    if (this.#last !== undefined && compareBytes(this.#last, key) >= 0) return 'the keys do not rise'
    this.#last = key.slice()
    const separator = index?.[number]?.separator
    if (separator !== undefined && compareBytes(key, separator) > 0) return "above the index's key of its block"
    const before = index?.[number - 1]?.separator
    if (before !== undefined && compareBytes(key, before) <= 0) return "not above the index's key of the block before"
    if (filter !== undefined && !bloomMayHold(filter, bloomHash(bytes, 0, keyLength))) return 'the filter does not hold the key'
    const lookup = this.#lookup
    const found = lookup.find(this.#payload, 0, this.#payload.length, key, path, index?.[number]?.offset ?? 0)
    if (!found || lookup.valueStart !== valueStart || lookup.valueEnd !== valueEnd) return 'a lookup does not find the key'
    return kind === kindTombstone && valueStart !== valueEnd ? 'a tombstone with a value' : undefined
  }
}

/** Filter, index, properties and footer follow the data blocks and one another. `end`: where the data blocks end. */
function checkTail(table: TableInspection, end: number, report: (damage: Damage) => void): void {
  const { footer, path, size } = table
  if (footer === undefined) return
  let position = end
  for (const name of ['filter', 'index', 'properties'] as const) {
    const { offset, length } = footer[name]
    if (offset !== position) report({ file: path, offset: position, what: `bytes that belong to no block: ${name} begins at ${offset}` })
    position = offset + length + blockTrailerBytes
  }
  if (position !== size - footerBytes) report({ file: path, offset: position, what: 'bytes that belong to no block' })
}

/** The table is the one that is meant. */
function checkExpected(table: TableInspection, expected: ExpectedFile, report: (damage: Damage) => void): void {
  const wrong = (what: string) => report({ file: table.path, what })
  if (table.size !== expected.size) wrong(`${table.size} bytes; ${expected.size} are known of it`)
  for (const name of ['entries', 'tombstones', 'maxSequence'] as const) {
    const said = table.numberProperty(name)
    const known = expected[name]
    if (known !== undefined && said !== undefined && said !== known) wrong(`${name} ${said}; ${known} is known of it`)
  }
  const lower = table.properties?.get('lower')
  const upper = table.properties?.get('upper')
  if (lower === undefined || upper === undefined || expected.lower === undefined || expected.upper === undefined) return
  const low = compareBytes(expected.lower, lower)
  const high = compareBytes(expected.upper, upper)
  if (expected.clipped === true ? low < 0 || high > 0 : low !== 0 || high !== 0)
    wrong('its range of keys is not the one that is known of it')
}

function hex(checksum: number): string {
  return checksum.toString(16).padStart(8, '0')
}
