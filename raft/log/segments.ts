import { must } from '../../base/assert.ts'
import type { File } from '../../base/file-system.ts'

/** One file of the log. */
export interface Segment {
  readonly number: number
  readonly path: string
  readonly file: File
  /** Bytes in whole batches: the next batch goes here. Moves when a batch is durable. */
  length: number
  /** Bytes of entries in it that some group still needs. */
  live: number
  /** The newest batch one of whose records made an entry in it dead: it may go only when that batch is durable. */
  lastDrop: number
  /** Loads that are reading it. */
  readers: number
  /** Out of the table: closed when the last reader is done. */
  retired: boolean
}

/** The segments of the log, oldest first, without gaps in their numbers. */
export class Segments {
  readonly #byNumber = new Map<number, Segment>()
  #oldest: number | undefined
  #newest: number | undefined
  /** Number of the batch that records are being added to. */
  batch = 1

  get count(): number {
    return this.#byNumber.size
  }

  get oldest(): Segment | undefined {
    return this.#oldest === undefined ? undefined : this.#byNumber.get(this.#oldest)
  }

  get newest(): Segment | undefined {
    return this.#newest === undefined ? undefined : this.#byNumber.get(this.#newest)
  }

  get bytes(): number {
    let bytes = 0
    for (const segment of this.#byNumber.values()) bytes += segment.length
    return bytes
  }

  all(): Iterable<Segment> {
    return this.#byNumber.values()
  }

  get(number: number): Segment | undefined {
    return this.#byNumber.get(number)
  }

  add(number: number, path: string, file: File, length: number): Segment {
    const segment: Segment = { number, path, file, length, live: 0, lastDrop: 0, readers: 0, retired: false }
    this.#byNumber.set(number, segment)
    this.#oldest ??= number
    this.#newest = number
    return segment
  }

  /** Takes the oldest out of the table; it is closed when nobody reads it any more. */
  async removeOldest(): Promise<void> {
    const segment = must(this.oldest, 'no segment to remove')
    this.#byNumber.delete(segment.number)
    this.#oldest = this.#byNumber.has(segment.number + 1) ? segment.number + 1 : undefined
    if (this.#oldest === undefined) this.#newest = undefined
    segment.retired = true
    if (segment.readers === 0) await segment.file.close()
  }

  /** Closes the newest and takes it out of the table. Nothing may lie in it. */
  async removeNewest(): Promise<void> {
    const segment = must(this.newest, 'no segment to remove')
    this.#byNumber.delete(segment.number)
    this.#newest = this.#byNumber.has(segment.number - 1) ? segment.number - 1 : undefined
    if (this.#newest === undefined) this.#oldest = undefined
    segment.retired = true
    await segment.file.close()
  }

  async release(segment: Segment): Promise<void> {
    segment.readers--
    if (segment.retired && segment.readers === 0) await segment.file.close()
  }

  async closeAll(): Promise<void> {
    const open = [...this.#byNumber.values()]
    this.#byNumber.clear()
    for (const segment of open) {
      segment.retired = true
      if (segment.readers === 0) await segment.file.close()
    }
  }

  /** `bytes` of entries came to lie in segment `number`. */
  pin(number: number, bytes: number): void {
    must(this.#byNumber.get(number), `segment ${number} is not there`).live += bytes
  }

  /** `bytes` of entries in segment `number` are dead once the batch that records are being added to is durable. */
  unpin(number: number, bytes: number): void {
    const segment = must(this.#byNumber.get(number), `segment ${number} is not there`)
    segment.live -= bytes
    segment.lastDrop = this.batch
  }
}
