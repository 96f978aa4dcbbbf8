import type { File, FileSystem } from './file-system.ts'

interface Content {
  /** Of which `length` are the file's; those behind are 0. */
  bytes: Uint8Array
  length: number
}

function failure(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code })
}

/** Files in a map: they outlive whoever made them, nothing is ever lost. Folders are what paths say. */
export class MemoryFileSystem implements FileSystem {
  readonly #files = new Map<string, Content>()
  readonly #folders = new Set<string>()

  async open(path: string, mode: 'read' | 'write' | 'create'): Promise<File> {
    if (mode === 'create') {
      if (this.#files.has(path)) throw failure('EEXIST', path)
      this.#files.set(path, { bytes: new Uint8Array(0), length: 0 })
    }
    return new MemoryFile(path, this.#mustHave(path))
  }

  async rename(from: string, to: string): Promise<void> {
    this.#files.set(to, this.#mustHave(from))
    this.#files.delete(from)
  }

  async link(from: string, to: string): Promise<void> {
    if (this.#files.has(to)) throw failure('EEXIST', to)
    this.#files.set(to, this.#mustHave(from))
  }

  async unlink(path: string): Promise<void> {
    this.#mustHave(path)
    this.#files.delete(path)
  }

  async makeFolder(path: string): Promise<void> {
    const parts = path.split('/')
    for (let i = 1; i <= parts.length; i++) this.#folders.add(parts.slice(0, i).join('/'))
  }

  async removeFolder(path: string): Promise<void> {
    for (const name of [...this.#files.keys()]) if (name.startsWith(`${path}/`)) this.#files.delete(name)
    for (const name of [...this.#folders]) if (name === path || name.startsWith(`${path}/`)) this.#folders.delete(name)
  }

  async list(path: string): Promise<string[]> {
    if (!this.#folders.has(path)) throw failure('ENOENT', path)
    const names = new Set<string>()
    for (const name of [...this.#files.keys(), ...this.#folders]) {
      if (name.startsWith(`${path}/`)) names.add(name.slice(path.length + 1).split('/')[0] as string)
    }
    return [...names].sort()
  }

  async freeBytes(path: string): Promise<number> {
    if (!(await this.exists(path))) throw failure('ENOENT', path)
    return Number.MAX_SAFE_INTEGER
  }

  async exists(path: string): Promise<boolean> {
    return this.#files.has(path) || this.#folders.has(path)
  }

  async syncFolder(): Promise<void> {}

  #mustHave(path: string): Content {
    const content = this.#files.get(path)
    if (content === undefined) throw failure('ENOENT', path)
    return content
  }
}

class MemoryFile implements File {
  readonly path: string
  readonly #content: Content

  constructor(path: string, content: Content) {
    this.path = path
    this.#content = content
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    return this.readSync(target, position)
  }

  readSync(target: Uint8Array, position: number): number {
    const { bytes, length } = this.#content
    const part = bytes.subarray(position, Math.min(position + target.length, length))
    target.set(part)
    return part.length
  }

  async write(chunks: readonly Uint8Array[], position: number): Promise<void> {
    let end = position
    for (const chunk of chunks) {
      this.#reserve(end + chunk.length)
      this.#content.bytes.set(chunk, end)
      end += chunk.length
    }
    this.#content.length = Math.max(this.#content.length, end)
  }

  async sync(): Promise<void> {}

  async truncate(length: number): Promise<void> {
    this.#content.bytes = this.#content.bytes.slice(0, length)
    this.#reserve(length)
    this.#content.length = length
  }

  async size(): Promise<number> {
    return this.#content.length
  }

  async close(): Promise<void> {}

  #reserve(length: number): void {
    const { bytes } = this.#content
    if (length <= bytes.length) return
    this.#content.bytes = new Uint8Array(Math.max(length, 2 * bytes.length))
    this.#content.bytes.set(bytes)
  }
}
