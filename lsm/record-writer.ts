import type { File } from '../base/file-system.ts'
import { framedLength, frameRecord } from '../base/framed-record.ts'

/** Appends framed records to a file that it alone writes. One call at a time. */
export class RecordWriter {
  readonly #file: File
  readonly #salt: number
  #end: number
  #syncedEnd: number

  /** `end`: where the file's whole, durable records end. */
  constructor(file: File, salt: number, end: number) {
    this.#file = file
    this.#salt = salt
    this.#end = end
    this.#syncedEnd = end
  }

  get end(): number {
    return this.#end
  }

  /** Up to here it was synced. */
  get durableEnd(): number {
    return this.#syncedEnd
  }

  /** Resolves when written, not durable. Where it rejects nothing was appended: the next record goes to the same place. */
  async append(chunks: readonly Uint8Array[]): Promise<void> {
    let length = 0
    for (const chunk of chunks) length += chunk.length
    const offset = this.#end
    await this.#file.write(frameRecord(chunks, offset, this.#syncedEnd, this.#salt), offset)
    this.#end = offset + framedLength(length)
  }

  async sync(): Promise<void> {
    const end = this.#end
    await this.#file.sync()
    this.#syncedEnd = end
  }

  /** Leaves word of what is durable, without a sync: from now on damage to it is told from a torn tail. */
  async mark(): Promise<void> {
    await this.append([])
  }

  /** Cuts off what the file held before, behind the records. */
  trim(): Promise<void> {
    return this.#file.truncate(this.#end)
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}
