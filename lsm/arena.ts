import { assert } from '../base/assert.ts'
import type { SharedMemoryPool } from './shared-memory-pool.ts'

/** What another thread needs to read an arena: no copy. */
export interface ArenaImage {
  readonly unitBytes: number
  /** By unit: the buffer that holds it, and the pointer of that buffer's first byte. */
  readonly buffers: readonly SharedArrayBuffer[]
  readonly bases: readonly number[]
}

/**
 * Encoded operations (see `WriteBatch`) in shared memory, which is never moved: what is in it is told by a pointer. That is the index of a unit times the units'
 * size plus the offset in it; a batch lies in one piece, so a large one takes several units.
 */
export class Arena {
  readonly #unitShift: number
  readonly #units: Uint8Array[] = []
  readonly #bases: number[] = []
  readonly #pool: SharedMemoryPool | undefined
  #unitEnd = 0
  #end = 0

  // The operation decoded last: buffer[keyStart, keyEnd) and [keyEnd, valueEnd), and the pointer of the buffer's first byte. Fields, so that no object is made.
  buffer = new Uint8Array(0)
  base = 0
  kind = 0
  keyStart = 0
  keyEnd = 0
  valueEnd = 0

  /** Units of 2^`unitShift` bytes. Without a pool it is only read. */
  constructor(unitShift: number, pool: SharedMemoryPool | undefined) {
    this.#unitShift = unitShift
    this.#pool = pool
  }

  static of({ unitBytes, buffers, bases }: ArenaImage): Arena {
    const arena = new Arena(Math.log2(unitBytes), undefined)
    buffers.forEach((buffer, i) => {
      const base = bases[i] as number
      const first = base / unitBytes
      arena.#units.push(first < i ? (arena.#units[first] as Uint8Array) : new Uint8Array(buffer))
      arena.#bases.push(base)
    })
    return arena
  }

  /** Taken. */
  get bytes(): number {
    return this.#end
  }

  /** Copies operations in. Returns the pointer of the first. */
  add(operations: Uint8Array): number {
    const start = this.#allocate(operations.length)
    const unit = start >>> this.#unitShift
    ;(this.#units[unit] as Uint8Array).set(operations, start - (this.#bases[unit] as number))
    return start
  }

  /** Decodes the operation at `pointer`; the next one of its batch is at `base + valueEnd`. */
  decode(pointer: number): void {
    const unit = pointer >>> this.#unitShift
    const buffer = this.#units[unit] as Uint8Array<ArrayBuffer>
    const base = this.#bases[unit] as number
    let at = pointer - base
    this.buffer = buffer
    this.base = base
    this.kind = buffer[at++] as number
    let keyLength = buffer[at++] as number
    if (keyLength >= 128) {
      keyLength &= 127
      for (let shift = 7; ; shift += 7) {
        const byte = buffer[at++] as number
        keyLength |= (byte & 127) << shift
        if (byte < 128) break
      }
    }
    let valueLength = buffer[at++] as number
    if (valueLength >= 128) {
      valueLength &= 127
      for (let shift = 7; ; shift += 7) {
        const byte = buffer[at++] as number
        valueLength |= (byte & 127) << shift
        if (byte < 128) break
      }
    }
    this.keyStart = at
    this.keyEnd = at + keyLength
    this.valueEnd = at + keyLength + valueLength
  }

  /** Its memory must outlive who reads the image. */
  image(): ArenaImage {
    return {
      unitBytes: 2 ** this.#unitShift,
      buffers: this.#units.map((unit) => unit.buffer as unknown as SharedArrayBuffer),
      bases: this.#bases,
    }
  }

  /** Gives its memory back: a late reader fails, instead of reading what others have written there. */
  free(): void {
    for (const unit of new Set(this.#units)) this.#pool?.give(unit.buffer as unknown as SharedArrayBuffer)
    this.#units.length = 0
    this.#unitEnd = this.#end
    this.buffer = new Uint8Array(0)
  }

  #allocate(length: number): number {
    if (this.#end + length > this.#unitEnd) {
      const unitBytes = 2 ** this.#unitShift
      const first = this.#units.length
      const units = Math.max(1, Math.ceil(length / unitBytes))
      assert((first + units) * unitBytes < 2 ** 32, 'memtable stays under 4 GiB')
      assert(this.#pool !== undefined, 'an arena of another thread is only read')
      // A SharedArrayBuffer behind arrays of one static type keeps every access of one kind.
      const unit = new Uint8Array(this.#pool.take(units * unitBytes) as unknown as ArrayBuffer)
      for (let i = 0; i < units; i++) {
        this.#units.push(unit)
        this.#bases.push(first * unitBytes)
      }
      this.#end = first * unitBytes
      this.#unitEnd = (first + units) * unitBytes
    }
    const start = this.#end
    this.#end += length
    return start
  }
}
