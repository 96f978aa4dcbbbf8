import { compareRanges, readU32 } from '../base/bytes.ts'
import { CorruptionError } from '../base/errors.ts'
import { entryTrailerBytes } from './table-format.ts'

/**
 * Looks one key up in a data block (`table-format.ts`), without putting keys together: of each entry only what it does not share with the entry
 * before it is compared, and where it shares more than the key in question does, nothing.
 *
 * The result is in fields, so that no object is made; one instance serves all lookups that run to their end without a pause.
 */
export class BlockLookup {
  kind = 0
  valueStart = 0
  valueEnd = 0
  // Of the entry decoded last.
  #shared = 0
  #keyStart = 0
  #keyEnd = 0

  /**
   * Whether block[start, end) holds `key`; then `kind` and the place of its value, of the newest version, are there. Throws CorruptionError with
   * `file` and `fileOffset`.
   */
  find(block: Uint8Array, start: number, end: number, key: Uint8Array, file: string, fileOffset: number): boolean {
    const count = end - start < 4 ? 0 : readU32(block, end - 4)
    const restarts = end - 4 - 4 * count
    if (count === 0 || restarts < start) throw malformed(file, fileOffset)
    let from = 0
    let to = count - 1
    while (from < to) {
      const middle = (from + to + 1) >>> 1
      this.#decode(block, start + readU32(block, restarts + 4 * middle), restarts, file, fileOffset)
      if (this.#shared !== 0) throw malformed(file, fileOffset)
      if (compareRanges(block, this.#keyStart, this.#keyEnd, key, 0, key.length) < 0) from = middle
      else to = middle - 1
    }
    const first = start + readU32(block, restarts + 4 * from)
    if (first >= restarts || block[first] !== 0) throw malformed(file, fileOffset)
    return this.#scan(block, first, restarts, key, file, fileOffset)
  }

  #scan(block: Uint8Array, from: number, restarts: number, key: Uint8Array, file: string, fileOffset: number): boolean {
    const length = key.length
    // How many bytes of `key` the entry before begins with, which is below it.
    let matched = 0
    for (let at = from; at < restarts; at = this.valueEnd) {
      this.#decode(block, at, restarts, file, fileOffset)
      const shared = this.#shared
      // It differs from `key` where the entry before does.
      if (shared > matched) continue
      let i = shared
      let j = this.#keyStart
      const end = this.#keyEnd
      while (i < length && j < end && key[i] === block[j]) {
        i++
        j++
      }
      if (j < end) {
        if (i === length || (block[j] as number) > (key[i] as number)) return false
      } else if (i === length) return true
      matched = i
    }
    return false
  }

  #decode(block: Uint8Array, offset: number, restarts: number, file: string, fileOffset: number): void {
    let at = offset
    let shared = block[at++] as number
    let rest = block[at++] as number
    let valueLength = block[at++] as number
    if ((shared | rest | valueLength) >= 128) {
      at = offset
      for (let i = 0; i < 3; i++) {
        let value = 0
        let shift = 0
        let byte: number
        do {
          byte = block[at++] as number
          value |= (byte & 127) << shift
          shift += 7
        } while (byte >= 128 && shift < 35)
        if (byte >= 128) throw malformed(file, fileOffset)
        if (i === 0) shared = value >>> 0
        else if (i === 1) rest = value >>> 0
        else valueLength = value >>> 0
      }
    }
    const keyStart = at + entryTrailerBytes
    const keyEnd = keyStart + rest
    // Not the other way round: what lies outside of the block is undefined, and no number.
    if (!(keyEnd + valueLength <= restarts)) throw malformed(file, fileOffset)
    this.kind = block[at] as number
    this.#shared = shared
    this.#keyStart = keyStart
    this.#keyEnd = keyEnd
    this.valueStart = keyEnd
    this.valueEnd = keyEnd + valueLength
  }
}

function malformed(file: string, fileOffset: number): CorruptionError {
  return new CorruptionError(file, fileOffset, 'malformed block', 'data')
}
