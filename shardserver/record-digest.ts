import { createHash, hash } from 'node:crypto'
import { equalBytes, writeU32 } from '../base/bytes.ts'

export const digestBytes = 16

/** Up to here a copy and one call cost less than a hash object. */
const atOnceBytes = 64 * 1024
const lengthsBytes = 8

/**
 * A digest of a set of records that does not depend on their order, nor on how they are cut into files: the sum, modulo 2^128, of the first
 * 16 bytes of SHA-256 over [key length u32][value length u32][key][value] of each, little-endian.
 */
export class RecordDigest {
  readonly #sum = new Float64Array(4)
  readonly #scratch = new Uint8Array(atOnceBytes)
  #records = 0

  get records(): number {
    return this.#records
  }

  add(key: Uint8Array, value: Uint8Array): void {
    const scratch = this.#scratch
    writeU32(scratch, 0, key.length)
    writeU32(scratch, 4, value.length)
    const bytes = lengthsBytes + key.length + value.length
    if (bytes > scratch.length) {
      const lengths = scratch.subarray(0, lengthsBytes)
      this.#add(createHash('sha256').update(lengths).update(key).update(value).digest('binary'))
    } else {
      scratch.set(key, lengthsBytes)
      scratch.set(value, lengthsBytes + key.length)
      // A string comes at a third of the cost of a buffer.
      this.#add(hash('sha256', scratch.subarray(0, bytes), 'binary'))
    }
    this.#records++
  }

  /** `digest`: a character a byte. */
  #add(digest: string): void {
    let carry = 0
    for (let i = 0; i < 4; i++) {
      const word = wordAt(digest, 4 * i)
      const sum = (this.#sum[i] as number) + word + carry
      this.#sum[i] = sum % 2 ** 32
      carry = Math.floor(sum / 2 ** 32)
    }
  }

  /** 16 bytes. */
  value(): Uint8Array {
    const bytes = new Uint8Array(digestBytes)
    for (let i = 0; i < 4; i++) writeU32(bytes, 4 * i, this.#sum[i] as number)
    return bytes
  }
}

function wordAt(text: string, at: number): number {
  return (text.charCodeAt(at) | (text.charCodeAt(at + 1) << 8) | (text.charCodeAt(at + 2) << 16) | (text.charCodeAt(at + 3) << 24)) >>> 0
}

/** Of a cut of shards that were never written to. No cut with files has it: the small states are among its records. */
export const digestOfNothing: Uint8Array = new RecordDigest().value()

export function isDigestOfNothing(digest: Uint8Array): boolean {
  return equalBytes(digest, digestOfNothing)
}
