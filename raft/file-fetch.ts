import type { Clock } from '../base/clock.ts'
import { type FileSystem, joinPath, makeFolderDurably } from '../base/file-system.ts'
import type { Channel, Transport } from '../base/transport.ts'
import { OstrakaError } from '../proto/errors.ts'
import { pb } from '../proto/messages.ts'
import { ChunkReader } from './chunk-reader.ts'
import type { FileEntry, FileSet } from './file-set.ts'
import type { Pace } from './pace.ts'
import { PartialFile } from './partial-file.ts'

/** A set that its server let go, or lost by a restart, is opened again so often. */
const reopensMax = 5
/** Calls under way at one time. */
const callsMax = 4

export interface FetchOptions {
  readonly transport: Pick<Transport, 'connect'>
  /** The peer's, HOST:PORT. */
  readonly address: string
  /** Another connection to the peer, on which it is asked what there is; stays open. One's own is then dialled only where something is to be pulled. */
  readonly calls?: Channel
  readonly fileSystem: FileSystem
  readonly clock: Clock
  /** This process's cluster; empty: none yet. */
  clusterId(): Uint8Array
  /** What is wanted. Its cluster id is filled in. */
  readonly request: { readonly group: string } & (
    | { readonly snapshot: { readonly minIndex: number } }
    | { readonly export: { readonly migration: number; readonly attempt: number } }
  )
  /** Made if absent. It holds nothing else; what is in it from an earlier attempt is used. */
  readonly folder: string
  /** May be shared by several fetches. Undefined: as fast as it goes. */
  readonly pace?: Pace
  readonly signal?: AbortSignal
  /** For the peer to answer what there is; undefined: long enough for it to make a snapshot. */
  readonly openTimeoutMs?: number
  /** Before anything is pulled: so many bytes are still to come, of how many. What it throws ends the fetch. */
  admit?(bytes: number, total: number): void
  /** Bytes that are here, those of an earlier attempt included, of how many. */
  onProgress?(copied: number, total: number): void
}

/**
 * Pulls a set of files from a peer into `folder`. Files that are there whole, and the begun part of one, are not pulled again, whatever set
 * they came with (they are told by name, size and checksum); what does not belong to the set is removed. When it resolves all files are
 * whole, verified by their checksums and, with their names, durable.
 *
 * Rejects with OstrakaError: NOT_FOUND (the peer does not have it and will not), UNAVAILABLE (try again, or elsewhere), CANCELLED by
 * `signal`, or what else the peer said; with DiskError or the file system's error where this node's disk refuses. Call it again with the same folder to go on.
 */
export async function fetchFiles(options: FetchOptions): Promise<FileSet> {
  const channel = options.transport.connect(options.address)
  try {
    for (let reopened = 0; ; reopened++) {
      const { set, token } = await openSet(options, options.calls ?? channel)
      try {
        await copySet(options, new ChunkReader({ ...options, channel, set: token }), set)
        return set
      } catch (error) {
        if (!(error instanceof OstrakaError) || error.code !== 'NOT_FOUND' || reopened === reopensMax) throw error
      }
    }
  } finally {
    channel.close()
  }
}

async function openSet(options: FetchOptions, channel: Channel): Promise<{ set: FileSet; token: string }> {
  const request = new pb.v1.OpenFilesRequest({ ...options.request, clusterId: options.clusterId() })
  const reply = await ChunkReader.open(channel, request, options)
  const files = reply.files.map((file) => ({ name: file.name ?? '', size: file.size ?? 0, checksum: file.checksum ?? 0 }))
  const names = new Set(files.map(({ name }) => name))
  if (names.size !== files.length || !files.every(isSound)) {
    throw new OstrakaError('UNAVAILABLE', `${options.address} describes no set of files`, true)
  }
  return { set: { folder: options.folder, description: new Uint8Array(reply.description), files }, token: reply.set }
}

/** Plain names only: they come from outside and become paths. */
function isSound({ name, size }: FileEntry): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}$/.test(name) && !name.endsWith('.part') && Number.isSafeInteger(size) && size >= 0
}

async function copySet(options: FetchOptions, chunks: ChunkReader, set: FileSet): Promise<void> {
  const { fileSystem, folder } = options
  const total = set.files.reduce((sum, { size }) => sum + size, 0)
  let done = 0
  await makeFolderDurably(fileSystem, folder)
  await removeOthers(fileSystem, folder, set.files)
  if (options.admit !== undefined) options.admit(Math.max(0, total - (await bytesIn(fileSystem, folder))), total)
  options.onProgress?.(0, total)
  for (const entry of set.files) {
    await copyFile(fileSystem, folder, entry, chunks, (bytes) => options.onProgress?.(done + bytes, total))
    done += entry.size
  }
  await fileSystem.syncFolder(folder)
  options.onProgress?.(total, total)
}

/** Of a copy's folder: what does not belong to the set. */
async function removeOthers(fileSystem: FileSystem, folder: string, files: readonly FileEntry[]): Promise<void> {
  const kept = new Set(files.flatMap((entry) => [entry.name, PartialFile.nameOf(entry)]))
  for (const name of await fileSystem.list(folder)) if (!kept.has(name)) await fileSystem.unlink(joinPath(folder, name))
}

async function bytesIn(fileSystem: FileSystem, folder: string): Promise<number> {
  let bytes = 0
  for (const name of await fileSystem.list(folder)) {
    const file = await fileSystem.open(joinPath(folder, name), 'read')
    bytes += await file.size().finally(() => file.close())
  }
  return bytes
}

async function copyFile(
  fileSystem: FileSystem,
  folder: string,
  entry: FileEntry,
  chunks: ChunkReader,
  onProgress: (bytes: number) => void,
): Promise<void> {
  if (await PartialFile.isWhole(fileSystem, folder, entry)) return
  // The begun part of a file may be damaged (power lost before it was synced): then it is pulled once more, from its begin.
  for (const isLast of [false, true]) {
    const part = await PartialFile.open(fileSystem, folder, entry)
    try {
      await pull(part, entry, chunks, onProgress)
      if (await part.finish()) return
    } finally {
      await part.close()
    }
    await part.discard()
    if (isLast) throw new OstrakaError('UNAVAILABLE', `file ${entry.name} came with another checksum than announced`, true)
  }
}

/** Several calls are under way; their pieces are written in order, so that what is there is a prefix. */
async function pull(part: PartialFile, entry: FileEntry, chunks: ChunkReader, onProgress: (bytes: number) => void): Promise<void> {
  const pending: Promise<Uint8Array>[] = []
  let asked = part.length
  onProgress(part.length)
  while (part.length < entry.size) {
    while (pending.length < callsMax && asked < entry.size) {
      const length = Math.min(chunks.pieceBytes, entry.size - asked)
      const chunk = chunks.read(entry.name, asked, length)
      // It is looked at in its turn, which may never come.
      chunk.catch(() => undefined)
      pending.push(chunk)
      asked += length
    }
    const next = pending.shift()
    if (next === undefined) return
    await part.append(await next)
    onProgress(part.length)
  }
}
