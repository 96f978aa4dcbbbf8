import { ByteReader, readU32 } from '../../../base/bytes.ts'
import type { File, FileSystem } from '../../../base/file-system.ts'
import { recordHeaderBytes } from '../../../base/framed-record.ts'
import { tableName } from '../../../lsm/table-metadata.ts'
import { decodeEdit, type VersionEdit } from '../../../lsm/version-edit.ts'

/** An operation that changes something, or makes a change durable. */
export interface TracedOperation {
  readonly kind:
    | 'create'
    | 'write'
    | 'sync'
    | 'close'
    | 'truncate'
    | 'rename'
    | 'link'
    | 'unlink'
    | 'makeFolder'
    | 'removeFolder'
    | 'syncFolder'
  readonly path: string
  /** Of a rename or link. */
  readonly to?: string
  /** What is written, for people. */
  readonly what?: string
  /** What is written to a manifest. */
  readonly edit?: VersionEdit
}

/** Passes everything on, and tells of each operation that is not a mere reading, when it has succeeded. Files opened for reading are not traced. */
export class TracingFileSystem implements FileSystem {
  readonly #inner: FileSystem
  readonly #tell: (operation: TracedOperation) => void

  constructor(inner: FileSystem, tell: (operation: TracedOperation) => void) {
    this.#inner = inner
    this.#tell = tell
  }

  async open(path: string, mode: 'read' | 'write' | 'create'): Promise<File> {
    const file = await this.#inner.open(path, mode)
    if (mode === 'read') return file
    if (mode === 'create') this.#tell({ kind: 'create', path })
    return new TracingFile(file, this.#tell)
  }

  openSync(path: string): File {
    return this.#inner.openSync(path)
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#inner.rename(from, to)
    this.#tell({ kind: 'rename', path: from, to })
  }

  async link(from: string, to: string): Promise<void> {
    await this.#inner.link(from, to)
    this.#tell({ kind: 'link', path: from, to })
  }

  async unlink(path: string): Promise<void> {
    await this.#inner.unlink(path)
    this.#tell({ kind: 'unlink', path })
  }

  async makeFolder(path: string): Promise<void> {
    await this.#inner.makeFolder(path)
    this.#tell({ kind: 'makeFolder', path })
  }

  async removeFolder(path: string): Promise<void> {
    await this.#inner.removeFolder(path)
    this.#tell({ kind: 'removeFolder', path })
  }

  async syncFolder(path: string): Promise<void> {
    await this.#inner.syncFolder(path)
    this.#tell({ kind: 'syncFolder', path })
  }

  list(path: string): Promise<string[]> {
    return this.#inner.list(path)
  }

  exists(path: string): Promise<boolean> {
    return this.#inner.exists(path)
  }

  freeBytes(path: string): Promise<number> {
    return this.#inner.freeBytes(path)
  }
}

class TracingFile implements File {
  readonly path: string
  readonly #inner: File
  readonly #tell: (operation: TracedOperation) => void

  constructor(inner: File, tell: (operation: TracedOperation) => void) {
    this.path = inner.path
    this.#inner = inner
    this.#tell = tell
  }

  read(target: Uint8Array, position: number): Promise<number> {
    return this.#inner.read(target, position)
  }

  readNow(target: Uint8Array, position: number): number | undefined {
    return this.#inner.readNow(target, position)
  }

  readSync(target: Uint8Array, position: number): number {
    return this.#inner.readSync(target, position)
  }

  async write(chunks: readonly Uint8Array[], position: number): Promise<void> {
    const bytes = Buffer.concat(chunks)
    await this.#inner.write(chunks, position)
    this.#tell({ kind: 'write', path: this.path, ...describeBytes(this.path, bytes, position) })
  }

  async sync(): Promise<void> {
    await this.#inner.sync()
    this.#tell({ kind: 'sync', path: this.path })
  }

  async truncate(length: number): Promise<void> {
    await this.#inner.truncate(length)
    this.#tell({ kind: 'truncate', path: this.path, what: `to ${length}` })
  }

  size(): Promise<number> {
    return this.#inner.size()
  }

  async close(): Promise<void> {
    await this.#inner.close()
    this.#tell({ kind: 'close', path: this.path })
  }
}

/** By the name of the file, after docs/formats-lsm.md. Log and manifest are written record by record. */
function describeBytes(path: string, bytes: Uint8Array, position: number): { what: string; edit?: VersionEdit } {
  const payload = () => bytes.subarray(recordHeaderBytes, recordHeaderBytes + readU32(bytes, 8))
  if (path.endsWith('.sst')) return { what: `table bytes ${position} to ${position + bytes.length}` }
  if (path.endsWith('.log')) return { what: describeLogRecord(payload()) }
  if (/MANIFEST-\d+$/.test(path)) return describeManifestRecord(payload(), path, position)
  if (path.endsWith('CURRENT.tmp')) return { what: `number ${new ByteReader(payload()).varint()}` }
  return { what: `${bytes.length} bytes` }
}

function describeLogRecord(payload: Uint8Array): string {
  if (payload.length === 0) return 'mark of what is durable'
  const reader = new ByteReader(payload)
  const type = reader.u8()
  if (type === 1) return `start, after log ${reader.varint()}`
  if (type === 3) return 'end'
  const sequences: number[] = []
  while (!reader.done) {
    sequences.push(reader.u64())
    reader.raw(reader.u32())
  }
  return `batches ${sequences.join(', ')}`
}

function describeManifestRecord(payload: Uint8Array, path: string, position: number): { what: string; edit?: VersionEdit } {
  if (payload.length === 0) return { what: 'mark of what is durable' }
  const edit = decodeEdit(payload, path, position)
  const parts = [
    ...(edit.logNumber === undefined ? [] : [`log ${edit.logNumber}`]),
    ...(edit.mark === undefined ? [] : [`mark '${Buffer.from(edit.mark).toString('latin1')}'`]),
    ...(edit.dropped.length === 0 ? [] : [`drops ${edit.dropped.join(', ')}`]),
    ...edit.added.map(({ id, file, level, clipped }) => `adds ${id}: ${tableName(file)} at level ${level}${clipped ? ', clipped' : ''}`),
  ]
  return { what: `${position === 0 ? 'whole state' : 'edit'}${parts.length === 0 ? '' : ': '}${parts.join('; ')}`, edit }
}

/** One line. */
export function renderOperation({ kind, path, to, what }: TracedOperation): string {
  const name =
    kind === 'syncFolder' ? 'sync folder' : kind === 'makeFolder' ? 'make folder' : kind === 'removeFolder' ? 'remove folder' : kind
  return `${name} ${path}${to === undefined ? '' : ` -> ${to}`}${what === undefined ? '' : `: ${what}`}`
}
