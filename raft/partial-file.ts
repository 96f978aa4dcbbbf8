import { crc32 } from '../base/checksum.ts'
import { type File, type FileSystem, joinPath } from '../base/file-system.ts'
import type { FileEntry } from './file-set.ts'

const pieceBytes = 256 * 1024

/**
 * A file that is being pulled. It lies under a name of its own, which holds the checksum of the whole, so that a later attempt knows what
 * it is the begin of; it gets its name when it is whole, verified and synced.
 */
export class PartialFile {
  readonly #fileSystem: FileSystem
  readonly #folder: string
  readonly #entry: FileEntry
  readonly #file: File
  #length: number
  /** Of what is there. */
  #checksum: number
  #closed = false

  private constructor(fileSystem: FileSystem, folder: string, entry: FileEntry, file: File, length: number, checksum: number) {
    this.#fileSystem = fileSystem
    this.#folder = folder
    this.#entry = entry
    this.#file = file
    this.#length = length
    this.#checksum = checksum
  }

  static nameOf(entry: FileEntry): string {
    return `${entry.name}.${entry.checksum.toString(16)}.part`
  }

  /** Whether `folder` has the file; another of its name is removed. */
  static async isWhole(fileSystem: FileSystem, folder: string, entry: FileEntry): Promise<boolean> {
    const path = joinPath(folder, entry.name)
    if (!(await fileSystem.exists(path))) return false
    const file = await fileSystem.open(path, 'read')
    try {
      const size = await file.size()
      if (size === entry.size && (await checksumOf(file, size)) === entry.checksum) return true
    } finally {
      await file.close()
    }
    await fileSystem.unlink(path)
    return false
  }

  /** Opens what an earlier attempt left, or begins. */
  static async open(fileSystem: FileSystem, folder: string, entry: FileEntry): Promise<PartialFile> {
    const path = joinPath(folder, PartialFile.nameOf(entry))
    const file = await fileSystem.open(path, (await fileSystem.exists(path)) ? 'write' : 'create')
    try {
      const size = await file.size()
      // Longer than the whole: not its begin. Whole and without its name: its sync may have failed, and another would write nothing.
      const length = size >= entry.size ? 0 : size
      if (length !== size) await file.truncate(length)
      return new PartialFile(fileSystem, folder, entry, file, length, await checksumOf(file, length))
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** Bytes that are there. */
  get length(): number {
    return this.#length
  }

  async append(data: Uint8Array): Promise<void> {
    await this.#file.write([data], this.#length)
    this.#length += data.length
    this.#checksum = crc32(data, this.#checksum)
  }

  /** Gives the file its name, if it is what it should be. False: it must be discarded. */
  async finish(): Promise<boolean> {
    if (this.#length !== this.#entry.size || this.#checksum !== this.#entry.checksum) return false
    await this.#file.sync()
    await this.close()
    await this.#fileSystem.rename(this.#path, joinPath(this.#folder, this.#entry.name))
    return true
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#file.close()
  }

  async discard(): Promise<void> {
    await this.#fileSystem.unlink(this.#path)
  }

  get #path(): string {
    return joinPath(this.#folder, PartialFile.nameOf(this.#entry))
  }
}

/** crc32 of the first `length` bytes. */
async function checksumOf(file: File, length: number): Promise<number> {
  const buffer = new Uint8Array(Math.min(length, pieceBytes))
  let checksum = 0
  for (let offset = 0; offset < length; ) {
    const count = await file.read(buffer.subarray(0, Math.min(buffer.length, length - offset)), offset)
    if (count === 0) break
    checksum = crc32(buffer.subarray(0, count), checksum)
    offset += count
  }
  return checksum
}
