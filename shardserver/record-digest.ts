import { createHash } from 'node:crypto'
import { readU32, writeU32 } from '../base/bytes.ts'
import { digestBytes } from './migration-entry.ts'

/**
 * A digest of a set of records that does not depend on their order, nor on how they are cut into files: the sum, modulo 2^128, of the first
 * 16 bytes of SHA-256 over [key length u32][value length u32][key][value] of each, little-endian.
 */
export class RecordDigest {
  readonly #sum = new Float64Array(4)
  readonly #lengths = new Uint8Array(8)
  #records = 0

  get records(): number {
    return this.#records
  }

  add(key: Uint8Array, value: Uint8Array): void {
    writeU32(this.#lengths, 0, key.length)
    writeU32(this.#lengths, 4, value.length)
    const hash = createHash('sha256').update(this.#lengths).update(key).update(value).digest()
    let carry = 0
    for (let i = 0; i < 4; i++) {
      const sum = (this.#sum[i] as number) + readU32(hash, 4 * i) + carry
      this.#sum[i] = sum % 2 ** 32
      carry = Math.floor(sum / 2 ** 32)
    }
    this.#records++
  }

  /** 16 bytes. */
  value(): Uint8Array {
    const bytes = new Uint8Array(digestBytes)
    for (let i = 0; i < 4; i++) writeU32(bytes, 4 * i, this.#sum[i] as number)
    return bytes
  }
}
