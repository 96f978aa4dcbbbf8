import type { File, FileSystem } from './file-system.ts'

/**
 * A file system for who only looks: what would change something does nothing, and resolves as if it had been done. So code that mends what it
 * reads can be asked what it would find. What it would read back of its own changes is not there.
 */
export class ReadOnlyFileSystem implements FileSystem {
  readonly #under: FileSystem

  constructor(under: FileSystem) {
    this.#under = under
  }

  async open(path: string, mode: 'read' | 'write' | 'create'): Promise<File> {
    if (mode === 'create') throw Object.assign(new Error(`EROFS: ${path}`), { code: 'EROFS' })
    return new ReadOnlyFile(await this.#under.open(path, 'read'))
  }

  openSync(path: string): File {
    return new ReadOnlyFile(this.#under.openSync(path))
  }

  list(path: string): Promise<string[]> {
    return this.#under.list(path)
  }

  exists(path: string): Promise<boolean> {
    return this.#under.exists(path)
  }

  freeBytes(path: string): Promise<number> {
    return this.#under.freeBytes(path)
  }

  async rename(): Promise<void> {}
  async link(): Promise<void> {}
  async unlink(): Promise<void> {}
  async makeFolder(): Promise<void> {}
  async removeFolder(): Promise<void> {}
  async syncFolder(): Promise<void> {}
}

class ReadOnlyFile implements File {
  readonly path: string
  readonly #under: File

  constructor(under: File) {
    this.path = under.path
    this.#under = under
  }

  read(target: Uint8Array, position: number): Promise<number> {
    return this.#under.read(target, position)
  }

  readNow(target: Uint8Array, position: number): number | undefined {
    return this.#under.readNow(target, position)
  }

  nextTurn(): Promise<void> | undefined {
    return this.#under.nextTurn?.()
  }

  readSync(target: Uint8Array, position: number): number {
    return this.#under.readSync(target, position)
  }

  size(): Promise<number> {
    return this.#under.size()
  }

  close(): Promise<void> {
    return this.#under.close()
  }

  async write(): Promise<void> {}
  async sync(): Promise<void> {}
  async truncate(): Promise<void> {}
}
