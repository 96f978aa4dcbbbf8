/**
 * A Bloom filter: bits, then a byte that tells how they are set: the number of probes, and in its highest bit whether all probes of a key lie in
 * one part of 64 bytes, which costs a miss or two of the processor's cache instead of one a probe. Filters are written so; those without that
 * bit, of earlier versions, can be read. 10 bits a key and 6 probes: about 1 % false positives.
 */
const partBytes = 64
const partBits = 8 * partBytes
const inPartsFlag = 0x80

/** In the place of a filter that nobody has read: it may hold every key. */
export const bloomOfAll: Uint8Array = new Uint8Array(partBytes + 1).fill(0xff).fill(1 | inPartsFlag, partBytes)

export function bloomHash(bytes: Uint8Array, start: number, end: number): number {
  let hash = 0x9747b28c ^ (end - start)
  let i = start
  for (; i + 4 <= end; i += 4) {
    const word =
      (bytes[i] as number) | ((bytes[i + 1] as number) << 8) | ((bytes[i + 2] as number) << 16) | ((bytes[i + 3] as number) << 24)
    hash = mix(hash, word)
  }
  let rest = 0
  for (; i < end; i++) rest = (rest << 8) | (bytes[i] as number)
  hash = mix(hash, rest)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

export function bloomBytes(count: number, bitsPerKey: number): number {
  return partsOf(count, bitsPerKey) * partBytes + 1
}

/** In `filter`, which holds `bloomBytes` zeroes. */
export function buildBloom(
  hashes: Uint32Array,
  count: number,
  bitsPerKey: number,
  filter: Uint8Array = new Uint8Array(bloomBytes(count, bitsPerKey)),
): Uint8Array {
  const probes = Math.max(1, Math.min(30, Math.floor(bitsPerKey * 0.69)))
  const parts = partsOf(count, bitsPerKey)
  for (let i = 0; i < count; i++) {
    const hash = hashes[i] as number
    const part = partOf(hash, parts)
    const mixed = Math.imul(hash, 0x9e3779b1)
    const step = (mixed >>> 14) | 1
    let bit = mixed >>> 23
    for (let probe = 0; probe < probes; probe++) {
      const at = part + ((bit & (partBits - 1)) >>> 3)
      filter[at] = (filter[at] as number) | (1 << (bit & 7))
      bit += step
    }
  }
  filter[parts * partBytes] = probes | inPartsFlag
  return filter
}

function partsOf(count: number, bitsPerKey: number): number {
  return Math.max(1, Math.ceil((count * bitsPerKey) / partBits))
}

/** Whether these bytes can be a filter at all. */
export function isBloom(filter: Uint8Array): boolean {
  const flags = filter.at(-1) ?? 0
  if (filter.length < 2 || (flags & ~inPartsFlag) === 0) return false
  return (flags & inPartsFlag) === 0 || (filter.length - 1) % partBytes === 0
}

/** How many bits a key has in the filter. */
export function bloomProbes(filter: Uint8Array): number {
  return (filter.at(-1) ?? 0) & ~inPartsFlag
}

export function bloomMayHold(filter: Uint8Array, keyHash: number): boolean {
  const bytes = filter.length - 1
  const flags = filter[bytes] as number
  if ((flags & inPartsFlag) === 0) return mayHoldAnywhere(filter, keyHash)
  const part = partOf(keyHash, bytes / partBytes)
  const mixed = Math.imul(keyHash, 0x9e3779b1)
  const step = (mixed >>> 14) | 1
  let bit = mixed >>> 23
  for (let probe = flags & ~inPartsFlag; probe > 0; probe--) {
    if (((filter[part + ((bit & (partBits - 1)) >>> 3)] as number) & (1 << (bit & 7))) === 0) return false
    bit += step
  }
  return true
}

/** Where the part of a key begins. */
function partOf(hash: number, parts: number): number {
  return Math.floor((hash * parts) / 2 ** 32) * partBytes
}

/** Of filters whose probes are spread over all of it. */
function mayHoldAnywhere(filter: Uint8Array, keyHash: number): boolean {
  const bytes = filter.length - 1
  const bits = bytes * 8
  const probes = filter[bytes] as number
  let hash = keyHash
  const step = (hash >>> 17) | (hash << 15)
  for (let probe = 0; probe < probes; probe++) {
    const bit = (hash >>> 0) % bits
    if (((filter[bit >>> 3] as number) & (1 << (bit & 7))) === 0) return false
    hash = (hash + step) | 0
  }
  return true
}

function mix(hash: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51)
  k = (k << 15) | (k >>> 17)
  const h = hash ^ Math.imul(k, 0x1b873593)
  return (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0
}
