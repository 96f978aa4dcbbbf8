import { randomBytes, randomFillSync } from 'node:crypto'
import { type Random, SeededRandom } from './random.ts'

/** Seeded once from the operating system; `bytes` (nonces, ids) come from the operating system each time. */
export class NodeRandom implements Random {
  readonly #seeded = new SeededRandom(randomBytes(6).readUIntBE(0, 6))

  next(): number {
    return this.#seeded.next()
  }

  below(bound: number): number {
    return this.#seeded.below(bound)
  }

  bytes(length: number): Uint8Array {
    return randomFillSync(new Uint8Array(length))
  }
}
