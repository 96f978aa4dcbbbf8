/** Randomness as a seam. Production seeds it from the operating system (`base/node-random.ts`), the simulator from its seed. */

export interface Random {
  /** Uniform in [0, 1), 32 bits of resolution. */
  next(): number
  /** A uniform integer in [0, bound), 1 <= bound <= 2^32. */
  below(bound: number): number
  /** `length` uniform bytes, freshly allocated. */
  bytes(length: number): Uint8Array
}

/** sfc32 (Chris Doty-Humphrey's Small Fast Counter, 128 bits of state): the same seed gives the same sequence on every machine. */
export class SeededRandom implements Random {
  #a: number
  #b: number
  #c: number
  #counter: number

  /** `seed` is any safe non-negative integer. */
  constructor(seed: number) {
    this.#a = seed >>> 0
    this.#b = Math.floor(seed / 2 ** 32) >>> 0
    this.#c = 0x9e3779b9
    this.#counter = 1
    for (let i = 0; i < 16; i++) this.#next32()
  }

  next(): number {
    return this.#next32() / 2 ** 32
  }

  below(bound: number): number {
    return Math.floor(this.next() * bound)
  }

  bytes(length: number): Uint8Array {
    const result = new Uint8Array(length)
    for (let i = 0; i < length; i++) result[i] = this.#next32() & 0xff
    return result
  }

  /** A generator of its own, so that what one part draws does not shift what another part draws. */
  fork(): SeededRandom {
    return new SeededRandom(this.#next32() * 2 ** 21 + (this.#next32() >>> 11))
  }

  #next32(): number {
    const t = (((this.#a + this.#b) | 0) + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (this.#c << 21) | (this.#c >>> 11)
    this.#c = (this.#c + t) | 0
    return t >>> 0
  }
}
