import type { File, FileSystem } from '../base/file-system.ts'

/**
 * The open files of tables, of one or more databases: at most so many at once, and more only while reads of all of these are under way. A table's
 * file is never changed and lies where it is for as long as it is used: the one that was used least lately is closed, and opened again when it is read.
 */
export class TableFiles {
  readonly #limit: number
  readonly #open = new Set<TableFile>()
  #uses = 0

  /** `limit`: 1 to 1,000,000, else RangeError. */
  constructor(limit: number) {
    if (!Number.isInteger(limit) || limit < 1 || limit > 1_000_000) {
      throw new RangeError(`maxOpenTables must be an integer from 1 to 1000000, not ${limit}`)
    }
    this.#limit = limit
  }

  /** Files that are open. */
  get count(): number {
    return this.#open.size
  }

  /** For reading alone. Rejects with what the file system says. */
  async open(fileSystem: FileSystem, path: string): Promise<File> {
    const file = new TableFile(this, fileSystem, path)
    await file.open()
    return file
  }

  /** `open` at once, however long the disk takes. */
  openSync(fileSystem: FileSystem, path: string): File {
    const file = new TableFile(this, fileSystem, path)
    file.openSync()
    return file
  }

  /** Its place in the order of uses. */
  used(): number {
    return ++this.#uses
  }

  opened(file: TableFile): void {
    this.#open.add(file)
    this.trim(file)
  }

  /** Closes what is too much, as far as nobody reads it; not `kept`. */
  trim(kept?: TableFile): void {
    while (this.#open.size > this.#limit) {
      const idle = this.#leastLately(kept)
      if (idle === undefined) return
      idle.giveUp()
    }
  }

  closed(file: TableFile): void {
    this.#open.delete(file)
  }

  /** Looked for only when a file is opened, which takes longer: to keep an order would cost each read. */
  #leastLately(but: TableFile | undefined): TableFile | undefined {
    let least: TableFile | undefined
    for (const file of this.#open) {
      if (file !== but && file.isIdle && (least === undefined || file.lastUse < least.lastUse)) least = file
    }
    return least
  }
}

class TableFile implements File {
  readonly path: string
  readonly #files: TableFiles
  readonly #fileSystem: FileSystem
  lastUse = 0
  /** Undefined while it is given up. */
  #file: File | undefined
  #bytes: number | undefined
  #opening: Promise<File> | undefined
  /** Reads under way, or waiting for it to be open. */
  #reads = 0
  /** Ends with the last file that was given up. */
  #closing: Promise<void> = Promise.resolve()
  #closed = false

  constructor(files: TableFiles, fileSystem: FileSystem, path: string) {
    this.#files = files
    this.#fileSystem = fileSystem
    this.path = path
  }

  get isIdle(): boolean {
    return this.#reads === 0
  }

  async open(): Promise<File> {
    this.#mustBeOpen()
    this.#opening ??= this.#openAgain().finally(() => {
      this.#opening = undefined
    })
    return await this.#opening
  }

  openSync(): File {
    this.#mustBeOpen()
    return this.#take(this.#fileSystem.openSync(this.path))
  }

  read(target: Uint8Array, position: number): Promise<number> {
    this.lastUse = this.#files.used()
    this.#reads++
    const file = this.#file
    const reading = file !== undefined ? file.read(target, position) : this.open().then((opened) => opened.read(target, position))
    const ended = () => {
      this.#reads--
      this.#files.trim()
    }
    reading.then(ended, ended)
    return reading
  }

  readNow(target: Uint8Array, position: number): number | undefined {
    this.lastUse = this.#files.used()
    if (this.#file === undefined) this.#mustBeOpen()
    return this.#file?.readNow(target, position)
  }

  nextTurn(): Promise<void> | undefined {
    return this.#file?.nextTurn?.()
  }

  readSync(target: Uint8Array, position: number): number {
    this.lastUse = this.#files.used()
    return (this.#file ?? this.openSync()).readSync(target, position)
  }

  async size(): Promise<number> {
    this.#bytes ??= await (this.#file ?? (await this.open())).size()
    return this.#bytes
  }

  write(): Promise<void> {
    return this.#refuse()
  }

  sync(): Promise<void> {
    return this.#refuse()
  }

  truncate(): Promise<void> {
    return this.#refuse()
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#opening?.catch(() => undefined)
    const file = this.#file
    this.#file = undefined
    this.#files.closed(this)
    await file?.close()
    await this.#closing
  }

  /** Closes the file until it is read again. */
  giveUp(): void {
    const file = this.#file
    this.#file = undefined
    this.#files.closed(this)
    // Nothing was written to it: that it would not be closed is no matter.
    const done = file?.close().catch(() => undefined)
    this.#closing = this.#closing.then(() => done)
  }

  async #openAgain(): Promise<File> {
    const file = await this.#fileSystem.open(this.path, 'read')
    try {
      // It is told how long the file is, too, for what it reads around what is asked for.
      this.#bytes = await file.size()
      this.#mustBeOpen()
    } catch (error) {
      await file.close()
      throw error
    }
    const faster = this.#file
    if (faster === undefined) return this.#take(file)
    // `openSync` was.
    await file.close()
    return faster
  }

  #take(file: File): File {
    this.#file = file
    this.lastUse = this.#files.used()
    this.#files.opened(this)
    return file
  }

  #mustBeOpen(): void {
    if (this.#closed) throw Object.assign(new Error(`EBADF: '${this.path}' is closed`), { code: 'EBADF' })
  }

  #refuse(): Promise<never> {
    return Promise.reject(new Error(`the table ${this.path} is never changed`))
  }
}
