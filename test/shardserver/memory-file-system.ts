import type { File, FileSystem } from '../../base/file-system.ts'

interface Content {
  bytes: Uint8Array
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
      this.#files.set(path, { bytes: new Uint8Array(0) })
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
    const part = this.#content.bytes.subarray(position, position + target.length)
    target.set(part)
    return part.length
  }

  async write(chunks: readonly Uint8Array[], position: number): Promise<void> {
    let end = position
    for (const chunk of chunks) {
      const grown = new Uint8Array(Math.max(this.#content.bytes.length, end + chunk.length))
      grown.set(this.#content.bytes)
      grown.set(chunk, end)
      this.#content.bytes = grown
      end += chunk.length
    }
  }

  async sync(): Promise<void> {}

  async truncate(length: number): Promise<void> {
    this.#content.bytes = this.#content.bytes.slice(0, length)
  }

  async size(): Promise<number> {
    return this.#content.bytes.length
  }

  async close(): Promise<void> {}
}
