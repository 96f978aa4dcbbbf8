import { randomFillSync } from 'node:crypto'

/** What is written: keys in random order, and values that do not compress. */

export interface Shape {
  readonly records: number
  readonly valueBytes: number
}

const keyBytes = 16
const poolBytes = 1 << 20
const pool = randomFillSync(Buffer.alloc(poolBytes))

/** Key `n`: a bijection of 32 bits, so that no two are equal and neighbours are far apart, as 16 hexadecimal digits. */
export function keyOf(n: number): Buffer {
  let mixed = Math.imul(n ^ (n >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  mixed = (mixed ^ (mixed >>> 16)) >>> 0
  const key = Buffer.allocUnsafe(keyBytes)
  key.write(mixed.toString(16).padStart(8, '0'), 0, 'latin1')
  key.write(n.toString(16).padStart(8, '0'), 8, 'latin1')
  return key
}

/** A view. The pool is another in each process: nobody reads a value to compare it with what another process wrote. */
export function valueAt(n: number, bytes: number): Buffer {
  const start = Math.imul(n, 2654435761) >>> 0
  const offset = start % (poolBytes - bytes)
  return pool.subarray(offset, offset + bytes)
}

/** What the caller's keys and values take, without any overhead. */
export function userBytes({ records, valueBytes }: Shape): number {
  return records * (keyBytes + valueBytes)
}
