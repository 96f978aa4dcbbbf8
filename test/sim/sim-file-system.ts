/** The FileSystem of one process incarnation on a simulated disk: operations take virtual time, fail where faults are injected, and end with the process. */
import { assert } from '../../base/assert.ts'
import { DiskError } from '../../base/errors.ts'
import type { File, FileSystem } from '../../base/file-system.ts'
import type { SeededRandom } from '../../base/random.ts'
import { type OperationKind, type SimDisk, SystemError } from './sim-disk.ts'
import type { FileNode, SyncMark } from './sim-inode.ts'
import type { SimProcess } from './sim-process.ts'
import { label } from './trace.ts'

interface Operation<T> {
  readonly kind: OperationKind
  readonly path: string
  readonly detail?: string
  /** What the operation does, when its time has come. */
  effect(): T
  /** What it has done when its process dies in the middle; nothing if not given. */
  partly?(random: SeededRandom): void
  /** What it has done when a fault is injected; as `partly` if not given. */
  failed?(): void
  /** The error for an injected fault; the system's if not given. */
  failure?(cause: SystemError): Error
}

export class SimFileSystem implements FileSystem {
  readonly #process: SimProcess
  readonly #disk: SimDisk
  /** Operations under way, in the order in which they were asked for. */
  readonly #running = new Set<Operation<unknown>>()

  constructor(process: SimProcess, disk: SimDisk) {
    this.#process = process
    this.#disk = disk
  }

  async open(path: string, mode: 'read' | 'write' | 'create'): Promise<File> {
    const node = await this.operate({ kind: 'open', path, detail: mode, effect: () => this.#disk.openFile(path, mode) })
    return new SimFile(this, this.#disk, path, node, mode !== 'read')
  }

  openSync(path: string): File {
    const node = this.operateSync({ kind: 'openSync', path, effect: () => this.#disk.openFile(path, 'read') })
    return new SimFile(this, this.#disk, path, node, false)
  }

  rename(from: string, to: string): Promise<void> {
    return this.operate({ kind: 'rename', path: from, detail: to, effect: () => this.#disk.rename(from, to) })
  }

  link(from: string, to: string): Promise<void> {
    return this.operate({ kind: 'link', path: from, detail: to, effect: () => this.#disk.link(from, to) })
  }

  unlink(path: string): Promise<void> {
    return this.operate({ kind: 'unlink', path, effect: () => this.#disk.unlink(path) })
  }

  makeFolder(path: string): Promise<void> {
    return this.operate({ kind: 'makeFolder', path, effect: () => this.#disk.makeFolder(path) })
  }

  removeFolder(path: string): Promise<void> {
    return this.operate({ kind: 'removeFolder', path, effect: () => this.#disk.removeFolder(path) })
  }

  list(path: string): Promise<string[]> {
    return this.operate({ kind: 'list', path, effect: () => this.#disk.list(path) })
  }

  exists(path: string): Promise<boolean> {
    return this.operate({ kind: 'exists', path, effect: () => this.#disk.find(path) !== undefined })
  }

  freeBytes(path: string): Promise<number> {
    return this.operate({
      kind: 'freeBytes',
      path,
      effect: () => {
        if (this.#disk.find(path) === undefined) throw new SystemError('ENOENT', path)
        const { quotaBytes } = this.#disk
        return quotaBytes === Number.POSITIVE_INFINITY ? Number.MAX_SAFE_INTEGER : Math.max(0, quotaBytes - this.#disk.usedBytes())
      },
    })
  }

  async syncFolder(path: string): Promise<void> {
    // Covers what was there when it was asked for, even if that is nothing.
    let commit: (() => void) | undefined
    let missing: unknown
    try {
      commit = this.#disk.beginFolderSync(path)
    } catch (error) {
      missing = error
    }
    await this.operate({
      kind: 'syncFolder',
      path,
      effect: () => {
        if (commit === undefined) throw missing
        if (!this.#disk.lyingSync) commit()
      },
      failure: (cause) => new DiskError(`sync of ${path} failed: ${cause.message}`, { cause }),
    })
  }

  operate<T>(operation: Operation<T>): Promise<T> {
    const process = this.#process
    // Nothing of a dead process happens, and nobody hears of it.
    if (!process.alive) return new Promise<never>(() => {})
    const { kind, path } = operation
    const fault = this.#disk.begin(kind, path, operation.detail)
    this.#running.add(operation)
    return new Promise((resolve, reject) => {
      process.schedule(this.#disk.latencyMs(kind), label(kind, path), () => {
        // A crash interrupts this operation too: it must still be among those running.
        if (fault === 'crash') return process.powerLoss()
        this.#running.delete(operation)
        if (fault === undefined) return settle(operation.effect, resolve, reject)
        if (operation.failed !== undefined) operation.failed()
        else operation.partly?.(this.#disk.random)
        const cause = new SystemError(fault, path)
        this.#disk.onFailed?.({ kind, path, fault })
        reject(operation.failure?.(cause) ?? cause)
      })
    })
  }

  /** For `readNow` and the like: counts and fails as the others do, at once. */
  operateSync<T>(operation: Operation<T>): T {
    assert(this.#process.alive, `${this.#process.name} is dead`)
    const fault = this.#disk.begin(operation.kind, operation.path)
    if (fault === 'crash') this.#process.schedule(0, label(operation.kind, operation.path), () => this.#process.powerLoss())
    else if (fault !== undefined) {
      this.#disk.onFailed?.({ kind: operation.kind, path: operation.path, fault })
      throw new SystemError(fault, operation.path)
    }
    return operation.effect()
  }

  /** The process died: what was under way was done, or not, or in part. */
  interrupt(): void {
    const random = this.#disk.random
    for (const operation of this.#running) {
      if (random.next() < 0.5) operation.partly?.(random)
      else settle(operation.effect, ignore, ignore)
    }
    this.#running.clear()
  }
}

class SimFile implements File {
  readonly path: string
  readonly #fileSystem: SimFileSystem
  readonly #disk: SimDisk
  readonly #node: FileNode
  readonly #writable: boolean
  #closed = false

  constructor(fileSystem: SimFileSystem, disk: SimDisk, path: string, node: FileNode, writable: boolean) {
    this.path = path
    this.#fileSystem = fileSystem
    this.#disk = disk
    this.#node = node
    this.#writable = writable
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    this.#mustBeOpen()
    return this.#fileSystem.operate({ kind: 'read', path: this.path, effect: () => this.#read(target, position) })
  }

  /** Whether bytes come from memory nobody knows: half of the time. */
  readNow(target: Uint8Array, position: number): number | undefined {
    this.#mustBeOpen()
    if (this.#disk.random.next() < 0.5) return undefined
    return this.#fileSystem.operateSync({ kind: 'readNow', path: this.path, effect: () => this.#read(target, position) })
  }

  readSync(target: Uint8Array, position: number): number {
    this.#mustBeOpen()
    return this.#fileSystem.operateSync({ kind: 'readSync', path: this.path, effect: () => this.#read(target, position) })
  }

  async write(chunks: readonly Uint8Array[], position: number): Promise<void> {
    this.#mustBeOpen()
    if (!this.#writable) throw new SystemError('EBADF', this.path)
    const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
    return this.#fileSystem.operate({
      kind: 'write',
      path: this.path,
      detail: `${position}+${length}`,
      effect: () => this.#write(chunks, position, length),
      partly: (random) => this.#writePrefix(chunks, position, random.below(length + 1)),
    })
  }

  async sync(): Promise<void> {
    this.#mustBeOpen()
    const disk = this.#disk
    const mark: SyncMark | undefined = disk.lyingSync ? undefined : this.#node.beginSync()
    return this.#fileSystem.operate({
      kind: 'sync',
      path: this.path,
      effect: () => mark && this.#node.endSync(mark),
      failed: () => mark && this.#node.failSync(mark),
      failure: (cause) => new DiskError(`sync of ${this.path} failed: ${cause.message}`, { cause }),
    })
  }

  async truncate(length: number): Promise<void> {
    this.#mustBeOpen()
    if (!this.#writable) throw new SystemError('EINVAL', this.path)
    return this.#fileSystem.operate({
      kind: 'truncate',
      path: this.path,
      detail: String(length),
      effect: () => this.#node.truncate(length),
    })
  }

  async size(): Promise<number> {
    this.#mustBeOpen()
    return this.#fileSystem.operate({ kind: 'size', path: this.path, effect: () => this.#node.length })
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    return this.#fileSystem.operate({ kind: 'close', path: this.path, effect: () => {} })
  }

  #read(target: Uint8Array, position: number): number {
    const count = this.#node.read(target, position)
    const disk = this.#disk
    if (disk.staleNextRead === undefined) return count
    const overwritten = this.#node.overwritten(position, count)
    const stale = overwritten.length === 0 ? undefined : disk.staleNextRead(this.path, overwritten)
    if (stale === undefined) return count
    disk.staleNextRead = undefined
    this.#node.readOlder(stale, target, position, count)
    return count
  }

  #write(chunks: readonly Uint8Array[], position: number, length: number): void {
    if (this.#disk.quotaBytes !== Number.POSITIVE_INFINITY) {
      const growth = Math.max(0, position + length - this.#node.length)
      const room = Math.max(0, this.#disk.quotaBytes - this.#disk.usedBytes())
      if (growth > room) {
        this.#writePrefix(chunks, position, Math.max(0, length - (growth - room)))
        throw new SystemError('ENOSPC', this.path)
      }
    }
    const misdirect = this.#disk.misdirectNextWrite
    this.#disk.misdirectNextWrite = undefined
    this.#writePrefix(chunks, misdirect === undefined ? position : misdirect(position, this.#node.length), length)
  }

  #writePrefix(chunks: readonly Uint8Array[], position: number, length: number): void {
    let written = 0
    for (const chunk of chunks) {
      const part = chunk.subarray(0, Math.min(chunk.length, length - written))
      this.#node.write(part, position + written)
      written += part.length
    }
  }

  #mustBeOpen(): void {
    if (this.#closed) throw new SystemError('EBADF', this.path)
  }
}

function settle<T>(effect: () => T, resolve: (value: T) => void, reject: (error: unknown) => void): void {
  try {
    resolve(effect())
  } catch (error) {
    reject(error)
  }
}

function ignore(): void {}
