import { assert } from '../../base/assert.ts'
import type { Random } from '../../base/random.ts'

const numberBytes = 8
const poolBytes = 1024 * 1024

/** Records of one length: the value of number n is n and bytes that n chooses from a pool, so that whatever is read can be told whole. */
export class Records {
  readonly count: number
  readonly valueBytes: number
  readonly #keyOf: (i: number) => string
  readonly #pool: Buffer

  constructor(random: Random, options: { readonly count: number; readonly valueBytes: number; keyOf(i: number): string }) {
    this.count = options.count
    this.valueBytes = options.valueBytes
    this.#keyOf = options.keyOf
    this.#pool = Buffer.from(random.bytes(poolBytes + options.valueBytes))
  }

  key(i: number): string {
    return this.#keyOf(i)
  }

  value(number: number): Buffer {
    const value = Buffer.allocUnsafe(this.valueBytes)
    value.writeDoubleBE(number)
    this.#body(number).copy(value, numberBytes)
    return value
  }

  /** AssertionError: it is no value that was ever written. */
  numberOf(value: Buffer): number {
    assert(value.length === this.valueBytes, `a value of ${value.length} bytes, where each has ${this.valueBytes}`)
    const number = value.readDoubleBE()
    const isWhole = Number.isSafeInteger(number) && value.subarray(numberBytes).equals(this.#body(number))
    assert(isWhole, `a value that begins as ${number} and does not go on so`)
    return number
  }

  #body(number: number): Buffer {
    const at = (number * 97) % poolBytes
    return this.#pool.subarray(at, at + this.valueBytes - numberBytes)
  }
}
