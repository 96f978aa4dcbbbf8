import { Arena } from './arena.ts'
import type { Memtable, MemtableImage } from './memtable.ts'
import { Source } from './source.ts'

const none = -1
/** More versions of one key are jumped over, not stepped: a counter may have a million. */
const stepsMax = 8

/** The entries of a memtable up to a sequence number, while others may be added to it. */
export class MemtableSource extends Source {
  readonly #memtable: Memtable
  readonly #limit: number
  readonly #reverse: boolean
  /** Where the source stands: forward at the visible version, reverse at the newest version of the key. */
  #slot = none
  #changes = -1

  constructor(memtable: Memtable, limit: number, reverse: boolean) {
    super()
    this.#memtable = memtable
    this.#limit = limit
    this.#reverse = reverse
  }

  seek(target: Uint8Array | undefined): void {
    const memtable = this.#memtable
    if (this.#reverse) {
      this.#settleBack(target === undefined ? memtable.lastSlot() : memtable.slotBelow(target, 0, target.length))
    } else {
      this.#settle(target === undefined ? memtable.firstSlot() : memtable.lowerBoundSlot(target, 0, target.length))
    }
  }

  advance(): void {
    const memtable = this.#memtable
    if (this.#changes !== memtable.changes) {
      this.#slot = memtable.lowerBoundSlot(this.keyBuffer, this.keyStart, this.keyEnd)
    }
    if (this.#reverse) {
      this.#settleBack(memtable.slotBefore(this.#slot))
      return
    }
    this.#settle(this.#behind(this.#slot))
  }

  /** The first slot of the next key. */
  #behind(from: number): number {
    const memtable = this.#memtable
    let slot = from
    for (let steps = 0; steps < stepsMax; steps++) {
      const next = memtable.slotAfter(slot)
      if (next === none || !memtable.sameKey(slot, next)) return next
      slot = next
    }
    return memtable.slotBehindKey(slot)
  }

  /** The newest version of the key at `from`. */
  #newest(from: number): number {
    const memtable = this.#memtable
    let slot = from
    for (let steps = 0; steps < stepsMax; steps++) {
      const before = memtable.slotBefore(slot)
      if (before === none || !memtable.sameKey(before, slot)) return slot
      slot = before
    }
    return memtable.newestSlot(slot)
  }

  #settle(from: number): void {
    const memtable = this.#memtable
    let slot = from
    while (slot !== none && memtable.sequenceAt(slot) > this.#limit) slot = memtable.slotAfter(slot)
    this.#stand(slot, slot)
  }

  #settleBack(from: number): void {
    const memtable = this.#memtable
    for (let oldest = from; oldest !== none; ) {
      const newest = this.#newest(oldest)
      let visible = newest
      while (visible !== oldest && memtable.sequenceAt(visible) > this.#limit) visible = memtable.slotAfter(visible)
      if (memtable.sequenceAt(visible) <= this.#limit) {
        this.#stand(visible, newest)
        return
      }
      oldest = memtable.slotBefore(newest)
    }
    this.#stand(none, none)
  }

  #stand(visible: number, slot: number): void {
    const memtable = this.#memtable
    this.#slot = slot
    this.#changes = memtable.changes
    this.valid = visible !== none
    if (visible === none) return
    const { arena } = memtable
    arena.decode(memtable.pointerAt(visible))
    this.kind = arena.kind
    this.sequence = memtable.sequenceAt(visible)
    this.keyBuffer = arena.buffer
    this.keyStart = arena.keyStart
    this.keyEnd = arena.keyEnd
    this.valueBuffer = arena.buffer
    this.valueStart = arena.keyEnd
    this.valueEnd = arena.valueEnd
  }
}

/** Reads an image in order, all versions: `advance` until false. */
export class ImageReader {
  /** The entry is the one decoded last. */
  readonly arena: Arena
  readonly #image: MemtableImage
  readonly #counts: Uint8Array
  readonly #next: Int32Array
  readonly #pointers: Uint32Array
  readonly #sequences: Uint32Array
  #leaf: number
  #position = -1
  sequence = 0

  constructor(image: MemtableImage) {
    this.#image = image
    this.arena = Arena.of(image.arena)
    this.#counts = new Uint8Array(image.leafCount)
    this.#next = new Int32Array(image.leafNext)
    this.#pointers = new Uint32Array(image.pointers)
    this.#sequences = new Uint32Array(image.sequences)
    this.#leaf = image.firstLeaf
  }

  advance(): boolean {
    this.#position++
    while (this.#position >= (this.#counts[this.#leaf] as number)) {
      const next = this.#next[this.#leaf] as number
      if (next === none) return false
      this.#leaf = next
      this.#position = 0
    }
    const slot = this.#leaf * 64 + this.#position
    this.sequence = this.#image.baseSequence + (this.#sequences[slot] as number)
    this.arena.decode(this.#pointers[slot] as number)
    return true
  }
}
