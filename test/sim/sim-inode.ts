/**
 * A simulated file's bytes, and what a power loss would leave of them. The model is that of pebble's crash clones: each un-synced block of 4 KiB
 * survives by itself. For that a file keeps layers of undo: a layer begins when a sync is asked for (it covers what was written before) and
 * holds, for each block written since, what was there before.
 */
import { must } from '../../base/assert.ts'
import type { SeededRandom } from '../../base/random.ts'

export const BLOCK_BYTES = 4096
/** A block that survives does so whole, or up to some byte of what was written, with this probability. */
const TEAR_PROBABILITY = 0.25
const NOTHING = new Uint8Array(0)

interface Layer {
  /** What each block held before this layer, up to the end of the file then. */
  readonly before: Map<number, Uint8Array>
  /** The file's length when the layer began. */
  lengthBefore: number
  /** The least length since. */
  leastLength: number
  /** A sync of it failed: no later sync makes it durable. */
  lost: boolean
}

/** What `beginSync` gives and `endSync` or `failSync` takes. */
export interface SyncMark {
  readonly layer: Layer | undefined
  /** The length that the sync makes durable. */
  readonly length: number
}

/** Bytes that were overwritten, in a block and from a place in the file on. */
export interface Overwritten {
  readonly block: number
  /** The first byte that differs. */
  readonly from: number
}

export class FileNode {
  readonly kind = 'file'
  /** Bytes behind `length` are zero. */
  #data = new Uint8Array(0)
  #length = 0
  /** Oldest first. The last takes new writes. */
  #layers: Layer[] = []
  /** What each block held, where it held anything, when the layer began in which it was written last. */
  readonly #older = new Map<number, Uint8Array>()

  get length(): number {
    return this.#length
  }

  read(target: Uint8Array, position: number): number {
    const count = Math.max(0, Math.min(target.length, this.#length - position))
    target.set(this.#data.subarray(position, position + count))
    return count
  }

  /** Of the blocks of [position, position + count) those that held something else before they were written last. */
  overwritten(position: number, count: number): Overwritten[] {
    const found: Overwritten[] = []
    for (let block = Math.floor(position / BLOCK_BYTES); block * BLOCK_BYTES < position + count; block++) {
      const older = this.#olderBlock(block)
      const start = block * BLOCK_BYTES
      const at = older?.findIndex((byte, i) => byte !== this.#data[start + i]) ?? -1
      if (at >= 0) found.push({ block, from: start + at })
    }
    return found
  }

  /** Puts what `block` held before it was written last into what was read from `position`, `count` bytes. */
  readOlder(block: number, target: Uint8Array, position: number, count: number): void {
    const older = must(this.#olderBlock(block), 'a block that was overwritten')
    const start = block * BLOCK_BYTES
    const from = Math.max(start, position)
    const to = Math.min(start + older.length, position + count)
    if (from < to) target.set(older.subarray(from - start, to - start), from - position)
  }

  /** As long as the block is now: what had not been written is zero. */
  #olderBlock(block: number): Uint8Array | undefined {
    const older = this.#older.get(block)
    if (older === undefined) return undefined
    const bytes = new Uint8Array(Math.max(0, Math.min(BLOCK_BYTES, this.#length - block * BLOCK_BYTES)))
    bytes.set(older.subarray(0, bytes.length))
    return bytes
  }

  bytes(): Uint8Array {
    return this.#data.slice(0, this.#length)
  }

  write(bytes: Uint8Array, position: number): void {
    if (bytes.length === 0) return
    // Bytes between the old end and `position` become zeros of the file: their blocks change too.
    this.#remember(Math.min(position, this.#length), position + bytes.length)
    this.#reserve(position + bytes.length)
    this.#data.set(bytes, position)
    this.#length = Math.max(this.#length, position + bytes.length)
  }

  truncate(length: number): void {
    const [from, to] = length < this.#length ? [length, this.#length] : [this.#length, length]
    if (from === to) return
    this.#remember(from, to)
    this.#reserve(length)
    this.#data.fill(0, from, to)
    this.#length = length
    const layer = must(this.#layers.at(-1), 'remembered')
    layer.leastLength = Math.min(layer.leastLength, length)
  }

  /** Changes bytes behind the file system's back, as decay does: durable at once. */
  tamper(position: number, mask: number): void {
    this.#data[position] = must(this.#data[position], 'a byte of the file') ^ mask
  }

  /** What was written so far is what this sync covers. */
  beginSync(): SyncMark {
    const layer = this.#layers.at(-1)
    if (layer !== undefined) this.#layers.push(this.#newLayer())
    return { layer, length: this.#length }
  }

  endSync(mark: SyncMark): void {
    const index = mark.layer === undefined ? -1 : this.#layers.indexOf(mark.layer)
    const lost: Layer[] = []
    for (const layer of this.#layers.splice(0, index + 1)) {
      if (layer.lost) lost.push(layer)
      // What was lost once and then written and synced again is durable after all.
      else for (const old of lost) for (const block of layer.before.keys()) old.before.delete(block)
    }
    if (index >= 0) for (const layer of lost) layer.lengthBefore = layer.leastLength = mark.length
    this.#layers.unshift(...lost)
    this.#dropIdleLayer()
  }

  failSync(mark: SyncMark): void {
    const index = mark.layer === undefined ? -1 : this.#layers.indexOf(mark.layer)
    for (let i = 0; i <= index; i++) must(this.#layers[i], 'a layer').lost = true
  }

  /** Power loss: each un-synced block survives with probability `survival`. */
  crash(survival: number, random: SeededRandom): void {
    const oldest = this.#layers[0]
    if (oldest === undefined) return
    const survivors = new Map<number, number>()
    for (let i = this.#layers.length - 1; i >= 0; i--) {
      // Where the file ended when this layer was the newest.
      const end = this.#layers[i + 1]?.lengthBefore ?? this.#length
      for (const [block, before] of must(this.#layers[i], 'a layer').before) {
        if (!survivors.has(block)) this.#crashBlock(block, before, end, survival, random, survivors)
      }
    }
    const leastLength = Math.min(...this.#layers.map((layer) => layer.leastLength))
    const wasCut = leastLength < oldest.lengthBefore && random.next() < survival
    let length = wasCut ? leastLength : oldest.lengthBefore
    for (const survivingEnd of survivors.values()) length = Math.max(length, survivingEnd)
    this.#reserve(length)
    this.#data.fill(0, length)
    this.#length = length
    this.#layers = []
  }

  /** Decides one block's fate in one layer; `survivors` takes where the surviving bytes of a block end. */
  #crashBlock(
    block: number,
    before: Uint8Array,
    end: number,
    survival: number,
    random: SeededRandom,
    survivors: Map<number, number>,
  ): void {
    const start = block * BLOCK_BYTES
    const stop = Math.min(start + BLOCK_BYTES, end)
    let kept = 0
    // A block that a truncation cut off has no new content that could survive.
    if (stop > start && random.next() < survival) {
      kept = stop - start
      if (random.next() < TEAR_PROBABILITY) kept = random.below(kept + 1)
    }
    this.#reserve(start + BLOCK_BYTES)
    if (before.length > kept) this.#data.set(before.subarray(kept), start + kept)
    this.#data.fill(0, start + Math.max(kept, before.length), start + BLOCK_BYTES)
    if (kept > 0) survivors.set(block, start + kept)
  }

  #newLayer(): Layer {
    return { before: new Map(), lengthBefore: this.#length, leastLength: this.#length, lost: false }
  }

  #dropIdleLayer(): void {
    const only = this.#layers[0]
    if (this.#layers.length === 1 && only !== undefined && !only.lost && only.before.size === 0) this.#layers = []
  }

  /** Keeps what the blocks of [from, to) hold, unless this layer has it. */
  #remember(from: number, to: number): void {
    let layer = this.#layers.at(-1)
    if (layer === undefined || layer.lost) this.#layers.push((layer = this.#newLayer()))
    for (let block = Math.floor(from / BLOCK_BYTES); block * BLOCK_BYTES < to; block++) {
      if (layer.before.has(block)) continue
      const start = block * BLOCK_BYTES
      const before = start < this.#length ? this.#data.slice(start, Math.min(start + BLOCK_BYTES, this.#length)) : NOTHING
      layer.before.set(block, before)
      if (before.length > 0) this.#older.set(block, before)
    }
  }

  #reserve(length: number): void {
    if (length <= this.#data.length) return
    const data = new Uint8Array(Math.max(length, this.#data.length * 2, BLOCK_BYTES))
    data.set(this.#data)
    this.#data = data
  }
}

export class FolderNode {
  readonly kind = 'folder'
  /** What a process sees. */
  entries = new Map<string, Node>()
  /** What a power loss leaves for certain. */
  readonly durable = new Map<string, Node>()
}

export type Node = FileNode | FolderNode
