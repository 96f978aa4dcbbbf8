/** A Bloom filter: bits, then one byte with the number of probes. 10 bits a key and 6 probes: about 1 % false positives. */
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

export function buildBloom(hashes: Uint32Array, count: number, bitsPerKey: number): Uint8Array {
  const probes = Math.max(1, Math.min(30, Math.floor(bitsPerKey * 0.69)))
  const bytes = Math.max(8, Math.ceil((count * bitsPerKey) / 8))
  const filter = new Uint8Array(bytes + 1)
  const bits = bytes * 8
  for (let i = 0; i < count; i++) {
    let hash = hashes[i] as number
    const step = (hash >>> 17) | (hash << 15)
    for (let probe = 0; probe < probes; probe++) {
      const bit = (hash >>> 0) % bits
      filter[bit >>> 3] = (filter[bit >>> 3] as number) | (1 << (bit & 7))
      hash = (hash + step) | 0
    }
  }
  filter[bytes] = probes
  return filter
}

export function bloomMayHold(filter: Uint8Array, keyHash: number): boolean {
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
