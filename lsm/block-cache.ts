import { assert } from '../base/assert.ts'

/** Whose blocks are cached: it forgets a block when told so. */
export interface BlockOwner {
  /** Its block `index` is in the cache no more. */
  evict(index: number): void
}

/** No block. */
export const notCached = -1

/** A block that is larger is never kept, nor one of more than a sixteenth of the capacity. */
const maxSlabBytes = 4 * 1024 * 1024
const minSlabs = 16
const none = -1

/**
 * Blocks of any number of databases, bounded by bytes, in slabs: a block costs no allocation, and nothing for a collector to look at. Each table
 * finds its own blocks by their number and keeps their ids; the cache says where they lie.
 *
 * Slabs are filled one after the other. When all are full, the one filled longest ago is emptied: blocks that were read again since they came
 * move to its front, up to half of it, and the others go (FIFO with a second chance). So blocks that are read once pass through and leave those
 * that are read often alone.
 *
 * What lies in a slab holds until the next `reserve`: who needs it longer copies it.
 */
export class BlockCache {
  readonly capacityBytes: number
  readonly #slabBytes: number
  readonly #slabsMax: number
  readonly #slabs: Uint8Array[] = []
  /** By slab: its first and last block, in the order in which they lie. */
  readonly #first: number[] = []
  readonly #last: number[] = []
  /** The slab that is being filled, and how far it is. */
  #current = none
  #end = 0
  #bytes = 0

  // By id.
  readonly #owners: (BlockOwner | undefined)[] = []
  #indexes = new Int32Array(64)
  #slabOf = new Int32Array(64)
  #starts = new Int32Array(64)
  #lengths = new Int32Array(64)
  #next = new Int32Array(64)
  #referenced = new Uint8Array(64)
  /** Ids that may be given again: a list through `#next`. */
  #free = none

  /** 0 keeps nothing. */
  constructor(capacityBytes: number) {
    if (!(capacityBytes >= 0)) throw new RangeError(`block cache of ${capacityBytes} bytes; at least 0 are needed`)
    this.capacityBytes = capacityBytes
    const whole = Math.floor(capacityBytes)
    this.#slabBytes = Math.min(maxSlabBytes, whole, Math.max(64 * 1024, Math.floor(whole / minSlabs)))
    this.#slabsMax = this.#slabBytes === 0 ? 0 : Math.floor(whole / this.#slabBytes)
  }

  /** Of the blocks that are cached. */
  get bytes(): number {
    return this.#bytes
  }

  // Where a block lies: `buffer(id)[start(id), end(id))`.

  buffer(id: number): Uint8Array {
    return this.#slabs[this.#slabOf[id] as number] as Uint8Array
  }

  start(id: number): number {
    return this.#starts[id] as number
  }

  end(id: number): number {
    return (this.#starts[id] as number) + (this.#lengths[id] as number)
  }

  /** Block `id` was read again. */
  touch(id: number): void {
    this.#referenced[id] = 1
  }

  /** Room for `length` bytes, emptying a slab where that takes it; undefined where so many are never kept. `keep` takes it. */
  reserve(length: number): Uint8Array | undefined {
    if (length > this.#slabBytes) return undefined
    if (this.#current === none || this.#end + length > this.#slabBytes) this.#beginSlab(length)
    return (this.#slabs[this.#current] as Uint8Array).subarray(this.#end, this.#end + length)
  }

  /** Keeps the first `length` bytes of what `reserve` gave last as block `index` of `owner`. Returns its id. */
  keep(owner: BlockOwner, index: number, length: number): number {
    assert(this.#current !== none && this.#end + length <= this.#slabBytes, 'what is kept was reserved')
    const id = this.#newId()
    const slab = this.#current
    this.#owners[id] = owner
    this.#indexes[id] = index
    this.#slabOf[id] = slab
    this.#starts[id] = this.#end
    this.#lengths[id] = length
    this.#referenced[id] = 0
    this.#append(slab, id)
    this.#end += length
    this.#bytes += length
    return id
  }

  /** Drops a block without telling its owner. Its room is free when its slab is emptied. */
  remove(id: number): void {
    assert(this.#owners[id] !== undefined, 'a block is removed once')
    this.#owners[id] = undefined
    this.#bytes -= this.#lengths[id] as number
  }

  /** Makes the next slab the current one, with room for `length`. */
  #beginSlab(length: number): void {
    if (this.#slabs.length < this.#slabsMax) {
      this.#slabs.push(new Uint8Array(this.#slabBytes))
      this.#current = this.#slabs.length - 1
      this.#first.push(none)
      this.#last.push(none)
      this.#end = 0
      return
    }
    this.#current = (this.#current + 1) % this.#slabsMax
    this.#empty(this.#current, Math.min(this.#slabBytes / 2, this.#slabBytes - length))
  }

  /** Evicts the blocks of `slab` but those that were read again, as far as `spareBytes` hold them; these move to its front. */
  #empty(slab: number, spareBytes: number): void {
    const bytes = this.#slabs[slab] as Uint8Array
    let id = this.#first[slab] as number
    this.#first[slab] = none
    this.#last[slab] = none
    let end = 0
    while (id !== none) {
      const next = this.#next[id] as number
      const owner = this.#owners[id]
      const length = this.#lengths[id] as number
      if (owner !== undefined && this.#referenced[id] === 1 && end + length <= spareBytes) {
        const start = this.#starts[id] as number
        bytes.copyWithin(end, start, start + length)
        this.#starts[id] = end
        this.#referenced[id] = 0
        this.#append(slab, id)
        end += length
      } else {
        if (owner !== undefined) {
          this.#owners[id] = undefined
          this.#bytes -= length
          owner.evict(this.#indexes[id] as number)
        }
        this.#next[id] = this.#free
        this.#free = id
      }
      id = next
    }
    this.#end = end
  }

  #append(slab: number, id: number): void {
    const last = this.#last[slab] as number
    if (last === none) this.#first[slab] = id
    else this.#next[last] = id
    this.#last[slab] = id
    this.#next[id] = none
  }

  #newId(): number {
    const id = this.#free
    if (id !== none) {
      this.#free = this.#next[id] as number
      return id
    }
    if (this.#owners.length === this.#next.length) this.#grow()
    this.#owners.push(undefined)
    return this.#owners.length - 1
  }

  #grow(): void {
    const length = 2 * this.#next.length
    this.#indexes = grown(this.#indexes, new Int32Array(length))
    this.#slabOf = grown(this.#slabOf, new Int32Array(length))
    this.#starts = grown(this.#starts, new Int32Array(length))
    this.#lengths = grown(this.#lengths, new Int32Array(length))
    this.#next = grown(this.#next, new Int32Array(length))
    this.#referenced = grown(this.#referenced, new Uint8Array(length))
  }
}

function grown<T extends Int32Array | Uint8Array>(old: T, fresh: T): T {
  fresh.set(old)
  return fresh
}
