import { type File, type FileSystem, parentFolder } from './file-system.ts'

interface Content {
  /** Of which `length` are the file's; those behind are 0. */
  bytes: Uint8Array
  length: number
}

function failure(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code })
}

/** Files in a map, with relative or absolute paths: they outlive whoever made them, and nothing is ever lost. */
export class MemoryFileSystem implements FileSystem {
  readonly #files = new Map<string, Content>()
  readonly #folders = new Set<string>(['.', '/'])

  async open(path: string, mode: 'read' | 'write' | 'create'): Promise<File> {
    if (mode === 'create') {
      if (await this.exists(path)) throw failure('EEXIST', path)
      this.#mustHaveFolder(parentFolder(path))
      this.#files.set(path, { bytes: new Uint8Array(0), length: 0 })
    }
    return new MemoryFile(path, this.#mustHave(path), mode !== 'read')
  }

  openSync(path: string): File {
    return new MemoryFile(path, this.#mustHave(path), false)
  }

  async rename(from: string, to: string): Promise<void> {
    this.#mustHaveFolder(parentFolder(to))
    if (this.#folders.has(from)) {
      this.#renameFolder(from, to)
      return
    }
    const content = this.#mustHave(from)
    if (this.#files.get(to) === content) return
    this.#files.set(to, content)
    this.#files.delete(from)
  }

  async link(from: string, to: string): Promise<void> {
    if (await this.exists(to)) throw failure('EEXIST', to)
    this.#mustHaveFolder(parentFolder(to))
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
    this.#mustHaveFolder(path)
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

  async syncFolder(path: string): Promise<void> {
    this.#mustHaveFolder(path)
  }

  #renameFolder(from: string, to: string): void {
    const moved = (path: string) => (path === from ? to : path.startsWith(`${from}/`) ? to + path.slice(from.length) : undefined)
    for (const folder of [...this.#folders]) {
      const name = moved(folder)
      if (name === undefined) continue
      this.#folders.delete(folder)
      this.#folders.add(name)
    }
    for (const [path, content] of [...this.#files]) {
      const name = moved(path)
      if (name === undefined) continue
      this.#files.delete(path)
      this.#files.set(name, content)
    }
  }

  #mustHaveFolder(path: string): void {
    if (this.#files.has(path)) throw failure('ENOTDIR', path)
    if (!this.#folders.has(path)) throw failure('ENOENT', path)
  }

  #mustHave(path: string): Content {
    const content = this.#files.get(path)
    if (content === undefined) throw failure('ENOENT', path)
    return content
  }
}

class MemoryFile implements File {
  readonly path: string
  readonly #file: Content
  readonly #mayWrite: boolean
  #isClosed = false

  constructor(path: string, file: Content, mayWrite: boolean) {
    this.path = path
    this.#file = file
    this.#mayWrite = mayWrite
  }

  get #content(): Content {
    if (this.#isClosed) throw failure('EBADF', this.path)
    return this.#file
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    return this.readSync(target, position)
  }

  readNow(target: Uint8Array, position: number): number {
    return this.readSync(target, position)
  }

  readSync(target: Uint8Array, position: number): number {
    const { bytes, length } = this.#content
    const part = bytes.subarray(position, Math.min(position + target.length, length))
    target.set(part)
    return part.length
  }

  async write(chunks: readonly Uint8Array[], position: number): Promise<void> {
    if (!this.#mayWrite) throw failure('EBADF', this.path)
    let end = position
    for (const chunk of chunks) {
      this.#reserve(end + chunk.length)
      this.#content.bytes.set(chunk, end)
      end += chunk.length
    }
    if (end > position) this.#content.length = Math.max(this.#content.length, end)
  }

  async sync(): Promise<void> {
    if (this.#isClosed) throw failure('EBADF', this.path)
  }

  async truncate(length: number): Promise<void> {
    if (!this.#mayWrite) throw failure('EINVAL', this.path)
    this.#content.bytes = this.#content.bytes.slice(0, length)
    this.#reserve(length)
    this.#content.length = length
  }

  async size(): Promise<number> {
    return this.#content.length
  }

  async close(): Promise<void> {
    this.#isClosed = true
  }

  #reserve(length: number): void {
    const { bytes } = this.#content
    if (length <= bytes.length) return
    this.#content.bytes = new Uint8Array(Math.max(length, 2 * bytes.length))
    this.#content.bytes.set(bytes)
  }
}
