/** A block in the cache. `owner` forgets it when it is evicted. */
export interface CachedBlock {
  readonly bytes: Uint8Array
  readonly owner: { evict(index: number): void }
  readonly index: number
  /** Read again since the clock's hand last passed. A block that a scan brought in starts without: it goes first. */
  referenced: boolean
  /** Place in the ring, -1 once out. */
  place: number
}

/**
 * Blocks of any number of databases, bounded by bytes. Each table finds its own blocks by their number; the cache only counts bytes and
 * evicts, by CLOCK.
 */
export class BlockCache {
  readonly capacityBytes: number
  readonly #ring: CachedBlock[] = []
  #hand = 0
  #bytes = 0

  /** 0 keeps nothing. */
  constructor(capacityBytes: number) {
    if (!(capacityBytes >= 0)) throw new RangeError(`block cache of ${capacityBytes} bytes; at least 0 are needed`)
    this.capacityBytes = capacityBytes
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Takes a block in, evicting others; undefined where it alone is too large. */
  insert(owner: { evict(index: number): void }, index: number, bytes: Uint8Array, referenced: boolean): CachedBlock | undefined {
    if (bytes.length > this.capacityBytes) return undefined
    while (this.#bytes + bytes.length > this.capacityBytes) this.#evictOne()
    const block: CachedBlock = { bytes, owner, index, referenced, place: this.#ring.length }
    this.#ring.push(block)
    this.#bytes += bytes.length
    return block
  }

  /** Drops a block without telling its owner. */
  remove(block: CachedBlock): void {
    if (block.place < 0) return
    const last = this.#ring.pop() as CachedBlock
    if (last !== block) {
      this.#ring[block.place] = last
      last.place = block.place
    }
    block.place = -1
    this.#bytes -= block.bytes.length
  }

  #evictOne(): void {
    for (;;) {
      if (this.#hand >= this.#ring.length) this.#hand = 0
      const block = this.#ring[this.#hand] as CachedBlock
      if (!block.referenced) {
        this.remove(block)
        block.owner.evict(block.index)
        return
      }
      block.referenced = false
      this.#hand++
    }
  }
}
