/**
 * A string with a hash that is known for a concatenation without looking at its characters: values that grow by appends are compared and cached in
 * millions, and joining them for each comparison would fill the memory.
 */
const FACTOR = 0x01000193

export class Text {
  readonly value: string
  readonly hash: number
  /** Of its UTF-8. */
  readonly bytes: number
  /** FACTOR to the power of the length. */
  readonly #power: number

  private constructor(value: string, bytes: number, hash: number, power: number) {
    this.value = value
    this.bytes = bytes
    this.hash = hash
    this.#power = power
  }

  static of(value: string): Text {
    let hash = 0
    let power = 1
    for (let i = 0; i < value.length; i++) {
      hash = (Math.imul(hash, FACTOR) + value.charCodeAt(i) + 1) | 0
      power = Math.imul(power, FACTOR)
    }
    return new Text(value, Buffer.byteLength(value), hash, power)
  }

  append(other: Text): Text {
    return new Text(
      this.value + other.value,
      this.bytes + other.bytes,
      (Math.imul(this.hash, other.#power) + other.hash) | 0,
      Math.imul(this.#power, other.#power),
    )
  }

  equals(other: Text): boolean {
    return this.hash === other.hash && this.value.length === other.value.length && this.value === other.value
  }
}
