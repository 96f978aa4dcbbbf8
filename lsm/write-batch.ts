import { varintLength, writeVarint } from '../base/bytes.ts'
import { mustBeBytes } from './arguments.ts'
import { kindTombstone, kindValue, maxBatchBytes, maxKeyBytes, maxValueBytes } from './kind.ts'

/**
 * Operations that take effect together. Encoded at once, in the form that the log writes and the memtable holds, one after the other:
 *
 *     kind u8 │ key length varint │ value length varint │ key │ value
 *
 * Later operations on a key win over earlier ones. A batch may be cleared and used again as soon as `Database.write` has returned.
 */
export class WriteBatch {
  #buffer = new Uint8Array(256)
  #bytes = 0
  #count = 0

  /** Operations. */
  get count(): number {
    return this.#count
  }

  /** Encoded size. */
  get bytes(): number {
    return this.#bytes
  }

  /** Throws TypeError on what is no Uint8Array, RangeError on a key of more than 64 KiB, a value of more than 256 MiB, or where the batch would become larger than 1 GiB. Both are copied. */
  put(key: Uint8Array, value: Uint8Array): this {
    mustBeBytes('value', value)
    if (value.length > maxValueBytes) throw new RangeError(`value of ${value.length} bytes; at most ${maxValueBytes} are allowed`)
    this.#begin(kindValue, key, value.length)
    this.#buffer.set(value, this.#bytes)
    this.#bytes += value.length
    return this
  }

  /** Throws TypeError and RangeError as `put` does. */
  delete(key: Uint8Array): this {
    this.#begin(kindTombstone, key, 0)
    return this
  }

  clear(): void {
    this.#bytes = 0
    this.#count = 0
  }

  /** A view of the operations, valid until the next change. */
  encoded(): Uint8Array {
    return this.#buffer.subarray(0, this.#bytes)
  }

  #begin(kind: number, key: Uint8Array, valueLength: number): void {
    mustBeBytes('key', key)
    const length = key.length
    if (length > maxKeyBytes) throw new RangeError(`key of ${length} bytes; at most ${maxKeyBytes} are allowed`)
    this.#reserve(1 + varintLength(length) + varintLength(valueLength) + length + valueLength)
    this.#buffer[this.#bytes] = kind
    let end = writeVarint(this.#buffer, this.#bytes + 1, length)
    end = writeVarint(this.#buffer, end, valueLength)
    this.#buffer.set(key, end)
    this.#bytes = end + length
    this.#count++
  }

  #reserve(count: number): void {
    const wanted = this.#bytes + count
    if (wanted > maxBatchBytes) throw new RangeError(`a batch of ${wanted} bytes; at most ${maxBatchBytes} are allowed`)
    if (wanted <= this.#buffer.length) return
    const grown = new Uint8Array(Math.min(maxBatchBytes, Math.max(wanted, 2 * this.#buffer.length)))
    grown.set(this.#buffer.subarray(0, this.#bytes))
    this.#buffer = grown
  }
}
