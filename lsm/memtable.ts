import { assert } from '../base/assert.ts'
import { compareRanges, copyRange, int32Prefix } from '../base/bytes.ts'
import { Arena, type ArenaImage } from './arena.ts'
import { kindTombstone, tombstone } from './kind.ts'
import { SharedMemoryPool } from './shared-memory-pool.ts'

/**
 * An ordered map in typed columns over shared memory: an arena of encoded operations and a 64-way B+tree whose slots
 * hold the first 8 key bytes as two sign-flipped int32, a pointer into the arena, and the sequence number above `baseSequence`. A version
 * of a key is never changed: a newer one goes before the older ones. A worker reads the same memory (`image`), once the memtable is sealed.
 *
 * Counted: whoever reads it holds it (`retain`), and with the last `release` its memory goes back to the pool.
 */
const fanout = 64
const none = -1

export interface MemtableImage {
  readonly arena: ArenaImage
  readonly baseSequence: number
  readonly count: number
  readonly firstLeaf: number
  readonly leafCount: SharedArrayBuffer
  readonly leafNext: SharedArrayBuffer
  readonly pointers: SharedArrayBuffer
  readonly sequences: SharedArrayBuffer
}

export class Memtable {
  readonly baseSequence: number
  /** What is decoded in it holds until the next call of anything here. */
  readonly arena: Arena
  readonly #pool: SharedMemoryPool
  #uses = 0
  #entries = 0
  #maxSequence: number
  // The batch that is being inserted: the pointer of its next operation, and its end.
  #insertAt = 0
  #insertEnd = 0
  /** Moves with each insert: a cursor that finds it changed looks for its place again. */
  #changes = 0

  // Leaf columns: slot = leaf * 64 + position.
  #leaves = 0
  #leafCapacity = 0
  #high = new Int32Array(0)
  #low = new Int32Array(0)
  #pointers = new Uint32Array(0)
  #sequences = new Uint32Array(0)
  #leafCount = new Uint8Array(0)
  #next = new Int32Array(0)
  #previous = new Int32Array(0)
  readonly #firstLeaf = 0
  #lastLeaf = 0

  // Inner columns: slot = node * 64 + child; the separator of child 0 is not used.
  #inners = 0
  #innerCapacity = 0
  #innerHigh = new Int32Array(0)
  #innerLow = new Int32Array(0)
  #innerPointers = new Uint32Array(0)
  #children = new Int32Array(0)
  #innerCount = new Uint8Array(0)
  /** 0: the root is a leaf. */
  #height = 0
  #root = 0

  // The way down of the last insert: node and child index by level, the root first.
  readonly #pathNodes: number[] = []
  readonly #pathChildren: number[] = []

  // The key that is looked for, and where it was found: fields, so that no object is made per operation.
  #keyBytes = new Uint8Array(0)
  #keyStart = 0
  #keyEnd = 0
  #keyHigh = 0
  #keyLow = 0
  #leaf = 0
  #position = 0

  /** `budgetBytes` only sizes the arena's units. Sequence numbers below 2^32 above `baseSequence` can be held. */
  constructor(baseSequence: number, budgetBytes: number, pool = new SharedMemoryPool(0)) {
    this.baseSequence = baseSequence
    this.#pool = pool
    this.#maxSequence = baseSequence
    this.arena = new Arena(Math.max(12, Math.min(20, Math.ceil(Math.log2(budgetBytes / 16)))), pool)
    this.#newLeaf()
  }

  retain(): void {
    this.#uses++
  }

  /** After the last one nothing but the counters may be asked for. */
  release(): void {
    assert(this.#uses > 0, 'a memtable is released as often as it was taken')
    if (--this.#uses === 0) this.#free()
  }

  get entries(): number {
    return this.#entries
  }

  get maxSequence(): number {
    return this.#maxSequence
  }

  get changes(): number {
    return this.#changes
  }

  /** Arena and columns in use. */
  get bytes(): number {
    return this.arena.bytes + this.#leaves * fanout * 16
  }

  /** Copies the operations of a batch (`WriteBatch.encoded`) in and makes them visible under `sequence`, which must rise from batch to batch. */
  add(operations: Uint8Array, sequence: number): void {
    this.begin(operations, sequence)
    this.insertSome(Number.POSITIVE_INFINITY)
  }

  /** `add` in steps: nobody may read up to `sequence`, and no other batch may begin, before all of it was inserted by `insertSome`. */
  begin(operations: Uint8Array, sequence: number): void {
    assert(sequence > this.#maxSequence && sequence - this.baseSequence < 2 ** 32, 'sequence number rises within the memtable')
    assert(this.#insertAt === this.#insertEnd, 'one batch comes after the other')
    this.#maxSequence = sequence
    if (operations.length === 0) return
    this.#insertAt = this.arena.add(operations)
    this.#insertEnd = this.#insertAt + operations.length
  }

  /** Inserts up to `count` operations of the batch that was begun. Returns by how many there were fewer: 0 where more may be left. */
  insertSome(count: number): number {
    const { arena } = this
    const end = this.#insertEnd
    const sequence = this.#maxSequence - this.baseSequence
    let pointer = this.#insertAt
    let left = count
    for (; pointer < end && left > 0; left--) {
      arena.decode(pointer)
      const next = arena.base + arena.valueEnd
      this.#insert(pointer, sequence)
      pointer = next
    }
    assert(pointer <= end, 'operations fill their batch')
    this.#insertAt = pointer
    return left
  }

  /** A copy of the newest value of `key` with a sequence number up to `limit`; `tombstone` where that is a delete; undefined where there is none. */
  get(key: Uint8Array, limit: number): Uint8Array | undefined {
    this.#lookFor(key, 0, key.length)
    this.#lowerBound()
    const relative = limit - this.baseSequence
    for (let slot = this.#slot(); slot !== none && this.#compareSlot(slot) === 0; slot = this.#step()) {
      if ((this.#sequences[slot] as number) > relative) continue
      const { arena } = this
      arena.decode(this.#pointers[slot] as number)
      if (arena.kind === kindTombstone) return tombstone
      return copyRange(arena.buffer, arena.keyEnd, arena.valueEnd)
    }
    return undefined
  }

  // For cursors: a slot is leaf * 64 + position, -1 past either end.

  firstSlot(): number {
    this.#leaf = this.#firstLeaf
    this.#position = 0
    return this.#slot()
  }

  lastSlot(): number {
    this.#leaf = this.#lastLeaf
    this.#position = this.#leafCount[this.#leaf] as number
    return this.#stepBack()
  }

  /** The first slot with a key >= bytes[start, end). */
  lowerBoundSlot(bytes: Uint8Array, start: number, end: number): number {
    this.#lookFor(bytes, start, end)
    this.#lowerBound()
    return this.#slot()
  }

  /** The slot before the first with a key >= bytes[start, end). */
  slotBelow(bytes: Uint8Array, start: number, end: number): number {
    this.#lookFor(bytes, start, end)
    this.#lowerBound()
    return this.#stepBack()
  }

  /** The slot of the newest version of the key at `slot`. */
  newestSlot(slot: number): number {
    const { arena } = this
    arena.decode(this.#pointers[slot] as number)
    return this.lowerBoundSlot(arena.buffer, arena.keyStart, arena.keyEnd)
  }

  /** The first slot behind all versions of the key at `slot`. */
  slotBehindKey(slot: number): number {
    const { arena } = this
    arena.decode(this.#pointers[slot] as number)
    // The least key above it.
    const next = new Uint8Array(arena.keyEnd - arena.keyStart + 1)
    next.set(arena.buffer.subarray(arena.keyStart, arena.keyEnd))
    return this.lowerBoundSlot(next, 0, next.length)
  }

  slotAfter(slot: number): number {
    this.#leaf = Math.floor(slot / fanout)
    this.#position = slot % fanout
    return this.#step()
  }

  slotBefore(slot: number): number {
    this.#leaf = Math.floor(slot / fanout)
    this.#position = slot % fanout
    return this.#stepBack()
  }

  pointerAt(slot: number): number {
    return this.#pointers[slot] as number
  }

  sequenceAt(slot: number): number {
    return this.baseSequence + (this.#sequences[slot] as number)
  }

  /** Whether the keys at two slots are equal. */
  sameKey(a: number, b: number): boolean {
    if (this.#high[a] !== this.#high[b] || this.#low[a] !== this.#low[b]) return false
    const { arena } = this
    arena.decode(this.#pointers[a] as number)
    const { buffer, keyStart, keyEnd } = arena
    arena.decode(this.#pointers[b] as number)
    return compareRanges(buffer, keyStart, keyEnd, arena.buffer, arena.keyStart, arena.keyEnd) === 0
  }

  /** What a worker needs to read the entries in order: shared memory, no copy. Only of a sealed memtable. */
  image(): MemtableImage {
    return {
      arena: this.arena.image(),
      baseSequence: this.baseSequence,
      count: this.#entries,
      firstLeaf: this.#firstLeaf,
      leafCount: this.#leafCount.buffer as unknown as SharedArrayBuffer,
      leafNext: this.#next.buffer as unknown as SharedArrayBuffer,
      pointers: this.#pointers.buffer as unknown as SharedArrayBuffer,
      sequences: this.#sequences.buffer as unknown as SharedArrayBuffer,
    }
  }

  #lookFor(bytes: Uint8Array, start: number, end: number): void {
    this.#keyBytes = bytes as Uint8Array<ArrayBuffer>
    this.#keyStart = start
    this.#keyEnd = end
    this.#keyHigh = int32Prefix(bytes, start, end)
    this.#keyLow = int32Prefix(bytes, start + 4, end)
  }

  /** Order of the key in question against the entry with these columns: negative where the entry's key is below. */
  #compare(high: number, low: number, pointer: number): number {
    if (high !== this.#keyHigh) return high < this.#keyHigh ? -1 : 1
    if (low !== this.#keyLow) return low < this.#keyLow ? -1 : 1
    const { arena } = this
    arena.decode(pointer)
    return compareRanges(arena.buffer, arena.keyStart, arena.keyEnd, this.#keyBytes, this.#keyStart, this.#keyEnd)
  }

  #compareSlot(slot: number): number {
    return this.#compare(this.#high[slot] as number, this.#low[slot] as number, this.#pointers[slot] as number)
  }

  /** Sets leaf and position to the first entry with a key >= the one looked for; the position may be the leaf's end. */
  #lowerBound(): void {
    let node = this.#root
    for (let level = 0; level < this.#height; level++) {
      const child = this.#childFor(node)
      this.#pathNodes[level] = node
      this.#pathChildren[level] = child
      node = this.#children[node * fanout + child] as number
    }
    let from = 0
    let to = this.#leafCount[node] as number
    const base = node * fanout
    while (from < to) {
      const middle = (from + to) >>> 1
      if (this.#compareSlot(base + middle) < 0) from = middle + 1
      else to = middle
    }
    this.#leaf = node
    this.#position = from
  }

  /** The last child whose separator is below the key: entries equal to a separator may begin in the child before it. */
  #childFor(node: number): number {
    const base = node * fanout
    let from = 1
    let to = this.#innerCount[node] as number
    while (from < to) {
      const middle = (from + to) >>> 1
      const slot = base + middle
      const order = this.#compare(this.#innerHigh[slot] as number, this.#innerLow[slot] as number, this.#innerPointers[slot] as number)
      if (order < 0) from = middle + 1
      else to = middle
    }
    return from - 1
  }

  /** The slot at leaf and position, going over to the next leaf at a leaf's end. */
  #slot(): number {
    while (this.#position >= (this.#leafCount[this.#leaf] as number)) {
      const next = this.#next[this.#leaf] as number
      if (next === none) return none
      this.#leaf = next
      this.#position = 0
    }
    return this.#leaf * fanout + this.#position
  }

  #step(): number {
    this.#position++
    return this.#slot()
  }

  #stepBack(): number {
    while (this.#position === 0) {
      const previous = this.#previous[this.#leaf] as number
      if (previous === none) return none
      this.#leaf = previous
      this.#position = this.#leafCount[previous] as number
    }
    this.#position--
    return this.#leaf * fanout + this.#position
  }

  #insert(pointer: number, sequence: number): void {
    const { arena } = this
    arena.decode(pointer)
    this.#lookFor(arena.buffer, arena.keyStart, arena.keyEnd)
    const high = this.#keyHigh
    const low = this.#keyLow
    this.#lowerBound()
    if ((this.#leafCount[this.#leaf] as number) === fanout) this.#splitLeaf(high, low, pointer)
    const base = this.#leaf * fanout
    const slot = base + this.#position
    const end = base + (this.#leafCount[this.#leaf] as number)
    if (slot < end) {
      this.#high.copyWithin(slot + 1, slot, end)
      this.#low.copyWithin(slot + 1, slot, end)
      this.#pointers.copyWithin(slot + 1, slot, end)
      this.#sequences.copyWithin(slot + 1, slot, end)
    }
    this.#high[slot] = high
    this.#low[slot] = low
    this.#pointers[slot] = pointer
    this.#sequences[slot] = sequence
    this.#leafCount[this.#leaf] = end - base + 1
    this.#entries++
    this.#changes++
  }

  /** Makes room in the full leaf of the last `#lowerBound`; leaf and position then name the place for the entry with these columns. */
  #splitLeaf(high: number, low: number, pointer: number): void {
    const left = this.#leaf
    const right = this.#newLeaf()
    // Keys that come in order leave full leaves behind.
    const keep = this.#position === fanout && this.#next[left] === none ? fanout : fanout / 2
    const from = left * fanout + keep
    const to = right * fanout
    this.#high.copyWithin(to, from, left * fanout + fanout)
    this.#low.copyWithin(to, from, left * fanout + fanout)
    this.#pointers.copyWithin(to, from, left * fanout + fanout)
    this.#sequences.copyWithin(to, from, left * fanout + fanout)
    this.#leafCount[left] = keep
    this.#leafCount[right] = fanout - keep
    const after = this.#next[left] as number
    this.#next[left] = right
    this.#previous[right] = left
    this.#next[right] = after
    if (after === none) this.#lastLeaf = right
    else this.#previous[after] = right
    if (keep === fanout) this.#addChild(this.#height - 1, right, high, low, pointer)
    else this.#addChild(this.#height - 1, right, this.#high[to] as number, this.#low[to] as number, this.#pointers[to] as number)
    if (this.#position > keep || keep === fanout) {
      this.#leaf = right
      this.#position -= keep
    }
  }

  /** Puts `child` behind the child taken on the way down at `level` of the path; a new root above level 0. */
  #addChild(level: number, child: number, high: number, low: number, pointer: number): void {
    if (level < 0) {
      const root = this.#newInner()
      this.#children[root * fanout] = this.#root
      this.#innerCount[root] = 1
      this.#putChild(root, 1, child, high, low, pointer)
      this.#root = root
      this.#height++
      return
    }
    const node = this.#pathNodes[level] as number
    const index = (this.#pathChildren[level] as number) + 1
    if ((this.#innerCount[node] as number) < fanout) {
      this.#putChild(node, index, child, high, low, pointer)
      return
    }
    const right = this.#newInner()
    const keep = index === fanout ? fanout - 1 : fanout / 2
    const from = node * fanout + keep
    const to = right * fanout
    const end = node * fanout + fanout
    this.#innerHigh.copyWithin(to, from, end)
    this.#innerLow.copyWithin(to, from, end)
    this.#innerPointers.copyWithin(to, from, end)
    this.#children.copyWithin(to, from, end)
    this.#innerCount[node] = keep
    this.#innerCount[right] = fanout - keep
    // The separator of the right node is that of its first child, which that child needs no more.
    const separatorHigh = this.#innerHigh[to] as number
    const separatorLow = this.#innerLow[to] as number
    const separatorPointer = this.#innerPointers[to] as number
    if (index <= keep) this.#putChild(node, index, child, high, low, pointer)
    else this.#putChild(right, index - keep, child, high, low, pointer)
    this.#addChild(level - 1, right, separatorHigh, separatorLow, separatorPointer)
  }

  #putChild(node: number, index: number, child: number, high: number, low: number, pointer: number): void {
    const slot = node * fanout + index
    const end = node * fanout + (this.#innerCount[node] as number)
    this.#innerHigh.copyWithin(slot + 1, slot, end)
    this.#innerLow.copyWithin(slot + 1, slot, end)
    this.#innerPointers.copyWithin(slot + 1, slot, end)
    this.#children.copyWithin(slot + 1, slot, end)
    this.#innerHigh[slot] = high
    this.#innerLow[slot] = low
    this.#innerPointers[slot] = pointer
    this.#children[slot] = child
    this.#innerCount[node] = (this.#innerCount[node] as number) + 1
  }

  #newLeaf(): number {
    if (this.#leaves === this.#leafCapacity) {
      const capacity = Math.max(4, 2 * this.#leafCapacity)
      this.#high = this.#grown(this.#high, new Int32Array(this.#shared(capacity * fanout * 4)))
      this.#low = this.#grown(this.#low, new Int32Array(this.#shared(capacity * fanout * 4)))
      this.#pointers = this.#grown(this.#pointers, new Uint32Array(this.#shared(capacity * fanout * 4)))
      this.#sequences = this.#grown(this.#sequences, new Uint32Array(this.#shared(capacity * fanout * 4)))
      this.#leafCount = this.#grown(this.#leafCount, new Uint8Array(this.#shared(capacity)))
      this.#next = this.#grown(this.#next, new Int32Array(this.#shared(capacity * 4)))
      this.#previous = this.#grown(this.#previous, new Int32Array(this.#shared(capacity * 4)))
      this.#leafCapacity = capacity
    }
    const leaf = this.#leaves++
    this.#leafCount[leaf] = 0
    this.#next[leaf] = none
    this.#previous[leaf] = none
    return leaf
  }

  #newInner(): number {
    if (this.#inners === this.#innerCapacity) {
      const capacity = Math.max(2, 2 * this.#innerCapacity)
      this.#innerHigh = this.#grown(this.#innerHigh, new Int32Array(this.#shared(capacity * fanout * 4)))
      this.#innerLow = this.#grown(this.#innerLow, new Int32Array(this.#shared(capacity * fanout * 4)))
      this.#innerPointers = this.#grown(this.#innerPointers, new Uint32Array(this.#shared(capacity * fanout * 4)))
      this.#children = this.#grown(this.#children, new Int32Array(this.#shared(capacity * fanout * 4)))
      this.#innerCount = this.#grown(this.#innerCount, new Uint8Array(this.#shared(capacity)))
      this.#innerCapacity = capacity
    }
    const inner = this.#inners++
    this.#innerCount[inner] = 0
    return inner
  }

  // A SharedArrayBuffer behind arrays of one static type keeps every access of one kind.
  #shared(bytes: number): ArrayBuffer {
    return this.#pool.take(bytes) as unknown as ArrayBuffer
  }

  /** `fresh` with what `old` held; old's memory goes back. */
  #grown<T extends Int32Array | Uint32Array | Uint8Array>(old: T, fresh: T): T {
    fresh.set(old)
    this.#giveBack(old)
    return fresh
  }

  #giveBack(array: Int32Array | Uint32Array | Uint8Array): void {
    // The empty arrays of the beginning are not shared.
    if (array.length > 0) this.#pool.give(array.buffer as unknown as SharedArrayBuffer)
  }

  /** Drops the memory too, so that a late reader fails instead of reading another memtable's. */
  #free(): void {
    this.arena.free()
    for (const column of [this.#high, this.#low, this.#pointers, this.#sequences, this.#leafCount, this.#next, this.#previous])
      this.#giveBack(column)
    for (const column of [this.#innerHigh, this.#innerLow, this.#innerPointers, this.#children, this.#innerCount]) this.#giveBack(column)
    this.#high = new Int32Array(0)
    this.#low = new Int32Array(0)
    this.#pointers = new Uint32Array(0)
    this.#sequences = new Uint32Array(0)
    this.#leafCount = new Uint8Array(0)
    this.#next = new Int32Array(0)
    this.#previous = new Int32Array(0)
    this.#innerHigh = new Int32Array(0)
    this.#innerLow = new Int32Array(0)
    this.#innerPointers = new Uint32Array(0)
    this.#children = new Int32Array(0)
    this.#innerCount = new Uint8Array(0)
  }
}
