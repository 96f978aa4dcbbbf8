/**
 * A simulated disk: files, folders, and what a power loss leaves. Names are as volatile as bytes: each create, rename, link and unlink since the
 * folder's last sync survives by itself, a rename as a whole. It outlives the processes that use it.
 */
import { must } from '../../base/assert.ts'
import type { SeededRandom } from '../../base/random.ts'
import { FileNode, FolderNode, type Node, type Overwritten } from './sim-inode.ts'

export type OperationKind =
  | 'open'
  | 'openSync'
  | 'read'
  | 'readNow'
  | 'readSync'
  | 'write'
  | 'sync'
  | 'truncate'
  | 'size'
  | 'close'
  | 'rename'
  | 'link'
  | 'unlink'
  | 'makeFolder'
  | 'removeFolder'
  | 'list'
  | 'exists'
  | 'syncFolder'
  | 'freeBytes'

export interface DiskOperation {
  /** 1, 2, … over the life of the disk. */
  readonly index: number
  readonly kind: OperationKind
  readonly path: string
}

/** 'crash': the power goes in the middle of the operation. Otherwise it fails with this code; a write may then have been done in part. */
export type Fault = 'crash' | 'EIO' | 'ENOSPC' | 'EACCES' | 'EMFILE'

/** An operation that was made to fail, and whose process has heard of it. */
export interface FailedOperation {
  readonly kind: OperationKind
  readonly path: string
  readonly fault: Fault
}

export interface Latency {
  readonly leastMs: number
  readonly mostMs: number
}

export interface DiskOptions {
  readonly latency?: Partial<Record<'read' | 'write' | 'sync' | 'metadata', Latency>>
  /** The probability that an un-synced block or name survives a power loss; drawn anew for each loss if not given. */
  readonly survival?: number
  /** Bytes of all files together, past which writes fail with ENOSPC. */
  readonly quotaBytes?: number
  /** A deliberate break: syncs succeed and do nothing. */
  readonly lyingSync?: boolean
  /** Keeps a line for each operation that changes something (`trace`). */
  readonly recordTrace?: boolean
}

const LATENCY = {
  read: { leastMs: 0.02, mostMs: 0.2 },
  write: { leastMs: 0.02, mostMs: 0.2 },
  sync: { leastMs: 0.1, mostMs: 2 },
  metadata: { leastMs: 0.02, mostMs: 0.2 },
}

/** A change of names that no folder sync has covered yet. */
interface PendingChange {
  parts: { readonly folder: FolderNode; readonly name: string; readonly node: Node | undefined }[]
}

export class SystemError extends Error {
  readonly code: string
  readonly path: string

  constructor(code: string, path: string) {
    super(`${code}: '${path}'`)
    this.code = code
    this.path = path
  }
}

export class SimDisk {
  /** Draws latencies and crashes. */
  readonly random: SeededRandom
  /** Operations so far. */
  operations = 0
  /** For golden file-system traces: 'write wal/1 0+4096', 'sync wal/1', 'rename a b', … */
  readonly trace: string[] = []
  /** May be changed between operations. */
  lyingSync: boolean
  quotaBytes: number
  /** Milliseconds by which an operation takes longer than the disk's own latency. */
  slowness: ((kind: OperationKind) => number) | undefined
  /** Where the next write of a file lands in place of `position`; used once. */
  misdirectNextWrite: ((position: number, fileLength: number) => number) | undefined
  /**
   * Asked of each read of blocks that were overwritten: which of them comes as it was before it was written last (undefined: none); used once it has named one.
   */
  staleNextRead: ((path: string, overwritten: readonly Overwritten[]) => number | undefined) | undefined
  /** Asked before each read of bytes: whether it fails with EIO. */
  failsRead: (() => boolean) | undefined
  /** Told of each operation that was made to fail, when its process hears of it. */
  onFailed: ((failed: FailedOperation) => void) | undefined
  /** Asked before each operation; see also `faultAt`. */
  inject: ((operation: DiskOperation) => Fault | undefined) | undefined
  readonly #latency: typeof LATENCY
  readonly #survival: number | undefined
  readonly #recordTrace: boolean
  readonly #root = new FolderNode()
  readonly #faults = new Map<number, Fault>()
  readonly #nextFaults = new Map<OperationKind, Fault>()
  #pending: PendingChange[] = []

  constructor(random: SeededRandom, options: DiskOptions = {}) {
    this.random = random
    this.lyingSync = options.lyingSync ?? false
    this.quotaBytes = options.quotaBytes ?? Number.POSITIVE_INFINITY
    this.#latency = { ...LATENCY, ...options.latency }
    this.#survival = options.survival
    this.#recordTrace = options.recordTrace ?? false
  }

  /** Injects `fault` into the operation with this index (from 1; `operations` is the newest). */
  faultAt(index: number, fault: Fault): void {
    this.#faults.set(index, fault)
  }

  /** Injects `fault` into the next operation of this kind. */
  failNext(kind: OperationKind, fault: Fault): void {
    this.#nextFaults.set(kind, fault)
  }

  /** What was to fail next and has not been asked for does not fail. */
  disarm(): void {
    this.#nextFaults.clear()
    this.failsRead = undefined
  }

  /** Counts an operation and says what goes wrong with it. */
  begin(kind: OperationKind, path: string, detail = ''): Fault | undefined {
    const index = ++this.operations
    if (this.#recordTrace && !READING.has(kind)) this.trace.push(detail === '' ? `${kind} ${path}` : `${kind} ${path} ${detail}`)
    const next = this.#nextFaults.get(kind)
    if (next !== undefined) this.#nextFaults.delete(kind)
    const fault = next ?? this.#faults.get(index) ?? this.inject?.({ index, kind, path })
    return fault ?? (BYTES_READING.has(kind) && this.failsRead?.() === true ? 'EIO' : undefined)
  }

  latencyMs(kind: OperationKind): number {
    const { leastMs, mostMs } = this.#latency[LATENCY_KIND[kind] ?? 'metadata']
    return leastMs + this.random.next() * (mostMs - leastMs) + (this.slowness?.(kind) ?? 0)
  }

  /** Power loss: what was synced stays; of the rest each block and each change of names survives with one probability, drawn for this loss. */
  crash(): void {
    const survival = this.#survival ?? must([0, 0.5, 1, this.random.next()][this.random.below(4)], 'a draw')
    for (const change of this.#pending) {
      if (this.random.next() < survival) for (const part of change.parts) setEntry(part.folder.durable, part.name, part.node)
    }
    this.#pending = []
    const seen = new Set<Node>()
    const settle = (node: Node) => {
      if (seen.has(node)) return
      seen.add(node)
      if (node.kind === 'file') return node.crash(survival, this.random)
      node.entries = new Map(node.durable)
      for (const name of [...node.entries.keys()].sort()) settle(must(node.entries.get(name), 'an entry'))
    }
    settle(this.#root)
  }

  // What follows takes effect at once; `SimFileSystem` calls it when the operation's time has come.

  openFile(path: string, mode: 'read' | 'write' | 'create'): FileNode {
    const { folder, name } = this.#place(path)
    const found = folder.entries.get(name)
    if (mode === 'create') {
      if (found !== undefined) throw new SystemError('EEXIST', path)
      const node = new FileNode()
      this.#change([{ folder, name, node }])
      return node
    }
    if (found === undefined) throw new SystemError('ENOENT', path)
    if (found.kind === 'folder') throw new SystemError('EISDIR', path)
    return found
  }

  rename(from: string, to: string): void {
    const source = this.#place(from)
    const target = this.#place(to)
    const node = source.folder.entries.get(source.name)
    const replaced = target.folder.entries.get(target.name)
    if (node === undefined) throw new SystemError('ENOENT', from)
    if (node === replaced) return
    if (replaced?.kind === 'folder') {
      if (node.kind === 'file') throw new SystemError('EISDIR', to)
      if (replaced.entries.size > 0) throw new SystemError('ENOTEMPTY', to)
    } else if (replaced !== undefined && node.kind === 'folder') throw new SystemError('ENOTDIR', to)
    this.#change([
      { ...source, node: undefined },
      { ...target, node },
    ])
  }

  link(from: string, to: string): void {
    const source = this.#place(from)
    const target = this.#place(to)
    const node = source.folder.entries.get(source.name)
    if (node === undefined) throw new SystemError('ENOENT', from)
    if (node.kind === 'folder') throw new SystemError('EPERM', from)
    if (target.folder.entries.has(target.name)) throw new SystemError('EEXIST', to)
    this.#change([{ ...target, node }])
  }

  unlink(path: string): void {
    const place = this.#place(path)
    const node = place.folder.entries.get(place.name)
    if (node === undefined) throw new SystemError('ENOENT', path)
    if (node.kind === 'folder') throw new SystemError('EISDIR', path)
    this.#change([{ ...place, node: undefined }])
  }

  makeFolder(path: string): void {
    let folder = this.#root
    for (const name of parts(path)) {
      let next = folder.entries.get(name)
      if (next === undefined) {
        next = new FolderNode()
        this.#change([{ folder, name, node: next }])
      }
      if (next.kind === 'file') throw new SystemError('EEXIST', path)
      folder = next
    }
  }

  removeFolder(path: string): void {
    const node = this.find(path)
    if (node === undefined) return
    const place = this.#place(path)
    if (node.kind === 'folder') for (const name of [...node.entries.keys()].sort()) this.removeFolder(`${path}/${name}`)
    this.#change([{ ...place, node: undefined }])
  }

  list(path: string): string[] {
    const node = this.find(path)
    if (node === undefined) throw new SystemError('ENOENT', path)
    if (node.kind === 'file') throw new SystemError('ENOTDIR', path)
    return [...node.entries.keys()].sort()
  }

  find(path: string): Node | undefined {
    let node: Node | undefined = this.#root
    for (const name of parts(path)) node = node?.kind === 'folder' ? node.entries.get(name) : undefined
    return node
  }

  /** The changes of this folder's names that a sync asked for now covers. */
  beginFolderSync(path: string): () => void {
    const folder = this.find(path)
    if (folder === undefined) throw new SystemError('ENOENT', path)
    const covered = this.#pending.slice()
    return () => {
      for (const change of covered) {
        for (const part of change.parts) if (part.folder === folder) setEntry(folder.durable, part.name, part.node)
        change.parts = change.parts.filter((part) => part.folder !== folder)
      }
      this.#pending = this.#pending.filter((change) => change.parts.length > 0)
    }
  }

  /** Bytes of all files that have a name. */
  usedBytes(): number {
    const seen = new Set<Node>()
    const sum = (node: Node): number => {
      if (seen.has(node)) return 0
      seen.add(node)
      return node.kind === 'file' ? node.length : [...node.entries.values()].reduce((bytes, child) => bytes + sum(child), 0)
    }
    return sum(this.#root)
  }

  // For tests, at once and unseen by the processes.

  /** Paths of all files, sorted. */
  paths(): string[] {
    const found: string[] = []
    const walk = (folder: FolderNode, prefix: string) => {
      for (const [name, node] of folder.entries) {
        if (node.kind === 'file') found.push(prefix + name)
        else walk(node, `${prefix}${name}/`)
      }
    }
    walk(this.#root, '')
    return found.sort()
  }

  bytesOf(path: string): Uint8Array {
    return this.#file(path).bytes()
  }

  /** Bit rot: flips the bits of `mask` in one byte, durably. */
  flip(path: string, position: number, mask = 1): void {
    this.#file(path).tamper(position, mask)
  }

  /** Cuts a file, durably. */
  cut(path: string, length: number): void {
    const file = this.#file(path)
    file.truncate(length)
    file.endSync(file.beginSync())
  }

  #file(path: string): FileNode {
    const node = this.find(path)
    if (node?.kind !== 'file') throw new SystemError('ENOENT', path)
    return node
  }

  #change(change: PendingChange['parts']): void {
    for (const part of change) setEntry(part.folder.entries, part.name, part.node)
    this.#pending.push({ parts: change })
  }

  #place(path: string): { folder: FolderNode; name: string } {
    const names = parts(path)
    const name = names.pop()
    if (name === undefined) throw new SystemError('EISDIR', path)
    const folder = this.find(names.join('/'))
    if (folder === undefined) throw new SystemError('ENOENT', path)
    if (folder.kind === 'file') throw new SystemError('ENOTDIR', path)
    return { folder, name }
  }
}

const READING: ReadonlySet<OperationKind> = new Set(['openSync', 'read', 'readNow', 'readSync', 'size', 'list', 'exists', 'close'])

const BYTES_READING: ReadonlySet<OperationKind> = new Set(['read', 'readNow', 'readSync'])

const LATENCY_KIND: Partial<Record<OperationKind, keyof typeof LATENCY>> = {
  read: 'read',
  write: 'write',
  sync: 'sync',
  syncFolder: 'sync',
}

function parts(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.')
}

function setEntry(entries: Map<string, Node>, name: string, node: Node | undefined): void {
  if (node === undefined) entries.delete(name)
  else entries.set(name, node)
}
