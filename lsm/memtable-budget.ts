import { SharedMemoryPool } from './shared-memory-pool.ts'

/** A database as its budget sees it. */
export interface MemtableHolder {
  /** Bytes of the memtable that is written to. */
  readonly activeBytes: number
  /** The same, and those that wait to be flushed. */
  readonly memtableBytes: number
}

/**
 * What the active memtables of one or more databases may hold together. A database alone has all of it; among several one may take what the
 * others leave, and at least an equal share: so together they never hold more than twice the budget.
 */
export class MemtableBudget {
  readonly bytes: number
  /** Memory of memtables that were flushed, for those to come. */
  readonly pool: SharedMemoryPool
  readonly #holders = new Set<MemtableHolder>()

  /** `bytes`: 1 KiB to 2 GiB, else RangeError. */
  constructor(bytes: number) {
    if (!Number.isInteger(bytes) || bytes < 1024 || bytes > 2 ** 31) {
      throw new RangeError(`memtableBytes must be an integer from 1024 to ${2 ** 31}, not ${bytes}`)
    }
    this.bytes = bytes
    this.pool = new SharedMemoryPool(2 * bytes)
  }

  join(holder: MemtableHolder): void {
    this.#holders.add(holder)
  }

  leave(holder: MemtableHolder): void {
    this.#holders.delete(holder)
  }

  /** Whether the active memtable of `holder` should be sealed. */
  isSpentBy(holder: MemtableHolder): boolean {
    const { activeBytes } = holder
    if (activeBytes * this.#holders.size < this.bytes) return false
    if (activeBytes >= this.bytes) return true
    let active = 0
    for (const other of this.#holders) active += other.activeBytes
    return active >= this.bytes
  }

  /** All that is held, active and waiting, by the budget: above 3 the flushes cannot keep up. */
  get fill(): number {
    let held = 0
    for (const holder of this.#holders) held += holder.memtableBytes
    return held / this.bytes
  }
}
