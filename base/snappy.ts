import { createRequire } from 'node:module'
import { ByteReader } from './bytes.ts'

/** Snappy's raw format by the package of that name, native code that is loaded when it is first needed: who does not use it need not have it. */

/** The package `snappy` is not installed, or has nothing for this machine. */
export class SnappyMissingError extends Error {
  override readonly name = 'SnappyMissingError'
}

let loaded: typeof import('snappy') | undefined

/** Throws SnappyMissingError. */
export function loadSnappy(): void {
  snappy()
}

/** Throws SnappyMissingError. */
export function snap(bytes: Uint8Array): Uint8Array {
  return snappy().compressSync(bytes, noExternalMemory)
}

/** What `snap` was given. Throws where that is no such thing, or not of `length` bytes; SnappyMissingError. */
export function unsnap(bytes: Uint8Array, length: number): Uint8Array {
  const codec = snappy()
  // Looked at first: so much is allocated.
  const claimed = new ByteReader(bytes).varint()
  if (claimed !== length) throw new RangeError(`${claimed} bytes, not ${length}`)
  return codec.uncompressSync(bytes, noExternalMemory) as Uint8Array
}

// Memory of its own costs five times as long for a block, with a finalizer for each.
const noExternalMemory = { copyOutputData: true } as const

function snappy(): typeof import('snappy') {
  if (loaded !== undefined) return loaded
  try {
    // At once, for a read that may not wait, which `import()` would have to.
    loaded = createRequire(import.meta.url)('snappy') as typeof import('snappy')
    return loaded
  } catch (cause) {
    throw new SnappyMissingError("the package 'snappy' cannot be loaded: npm install snappy", { cause })
  }
}
