/** Whose entries are cached. */
export interface CacheOwner {
  /** Drops entry `index` if it still is the one that was cached under `stamp` and lies on disk. Returns what became of it. */
  evict(index: number, stamp: number): 'evicted' | 'gone' | 'busy'
  /** Whether entry `index` still is the one that was cached under `stamp`. */
  holds(index: number, stamp: number): boolean
}

const minimumStale = 1024

/**
 * The budget of entries kept in memory, one for all groups of a node: first in, first out. The entries themselves lie with their groups;
 * here is only the order in which they came. An entry that is not yet on disk is never evicted.
 */
export class EntryCache {
  readonly #budget: number
  #owners: (CacheOwner | undefined)[] = []
  #indexes: number[] = []
  #stamps: number[] = []
  #sizes: number[] = []
  #head = 0
  #live = 0
  #bytes = 0
  #stamp = 0

  constructor(budgetBytes: number) {
    this.#budget = budgetBytes
  }

  /** Bytes of entries now in memory. */
  get bytes(): number {
    return this.#bytes
  }

  get budget(): number {
    return this.#budget
  }

  /** Evicts the oldest until `bytes` more fit or the oldest must stay. */
  makeRoom(bytes: number): void {
    while (this.#head < this.#owners.length && this.#bytes + bytes > this.#budget) {
      const owner = this.#owners[this.#head] as CacheOwner
      const outcome = owner.evict(this.#indexes[this.#head] as number, this.#stamps[this.#head] as number)
      if (outcome === 'busy') break
      if (outcome === 'evicted') this.release(this.#sizes[this.#head] as number)
      this.#owners[this.#head++] = undefined
    }
    this.#maybeCompact()
  }

  /** Notes an entry of `size` bytes; the owner keeps it under the returned stamp. */
  add(owner: CacheOwner, index: number, size: number): number {
    this.#stamp = this.#stamp === 0xffffffff ? 1 : this.#stamp + 1
    this.#owners.push(owner)
    this.#indexes.push(index)
    this.#stamps.push(this.#stamp)
    this.#sizes.push(size)
    this.#live++
    this.#bytes += size
    return this.#stamp
  }

  /** The owner let go of an entry of `size` bytes. */
  release(size: number): void {
    this.#bytes -= size
    this.#live--
  }

  /** Forgets the places of what its owner let go of, once they are the greater part. */
  #maybeCompact(): void {
    const waiting = this.#owners.length - this.#head
    if (this.#head < this.#owners.length / 2 && waiting < 2 * this.#live + minimumStale) return
    if (this.#owners.length < minimumStale) return
    const keep: number[] = []
    for (let i = this.#head; i < this.#owners.length; i++) {
      const owner = this.#owners[i] as CacheOwner
      if (owner.holds(this.#indexes[i] as number, this.#stamps[i] as number)) keep.push(i)
    }
    this.#owners = keep.map((i) => this.#owners[i])
    this.#indexes = keep.map((i) => this.#indexes[i] as number)
    this.#stamps = keep.map((i) => this.#stamps[i] as number)
    this.#sizes = keep.map((i) => this.#sizes[i] as number)
    this.#head = 0
  }
}
