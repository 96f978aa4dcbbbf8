import { toHex } from '../base/bytes.ts'
import { crc32 } from '../base/checksum.ts'
import type { Clock, Timer } from '../base/clock.ts'
import { DiskError, systemErrorCode } from '../base/errors.ts'
import { type FileSystem, joinPath } from '../base/file-system.ts'
import type { Logger } from '../base/logger.ts'
import type { Random } from '../base/random.ts'
import { type Route, unaryRoute } from '../base/transport.ts'
import { encodeError } from '../proto/error-codec.ts'
import { type ErrorCode, OstrakaError } from '../proto/errors.ts'
import { pb } from '../proto/messages.ts'
import { fileMethods } from '../proto/methods.ts'
import { sameCluster } from './cluster-id.ts'
import type { FileSet, FileSource } from './file-set.ts'

/** A set that nobody asked for in this time is let go. */
const leaseMs = 60_000
/** Sets held or being made at one time. */
const setsMax = 16
/** Where no more can be held, one that nobody asked for in this time makes room: who has a set asks far more often, and opens it again if it must. */
const idleMsMin = 10_000
/** A piece that would have to wait longer for its source's pace is refused, before who asks gives it up. */
const paceMsMax = 5000
/** After which it is worth asking again where there was no room. */
const busyWaitMs = 500
/** Bytes of one reply. */
export const chunkBytesMax = 1024 * 1024

export interface FileServerOptions {
  readonly fileSystem: FileSystem
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  /** A sync failed in making a set: final for the process, whatever is told to who asked. */
  readonly onFailure: (error: DiskError) => void
  /** The cluster this process belongs to; empty: none yet. */
  clusterId(): Uint8Array
  /** Snapshots of a group that has a replica here; undefined: none has. */
  snapshots(group: string): FileSource | undefined
  /** Exports of a group's shards; undefined: none here. */
  exports(group: string): FileSource | undefined
}

/** A set on lease. */
interface Held {
  readonly token: string
  readonly source: FileSource
  readonly set: FileSet
  lastUsedMs: number
  /** Calls that are reading it. */
  readers: number
  timer: Timer | undefined
}

/**
 * Gives files to other nodes: `Open` has a source find or make a set and holds it under a token, `Read` gives pieces of it. A set is released
 * once it was not asked for in `leaseMs`, or earlier where another needs its place: at once if its source says that it is over. Who asks for what is being made waits for the same set.
 */
export class FileServer {
  readonly #options: FileServerOptions
  readonly #held = new Map<string, Held>()
  readonly #opening = new Map<string, Promise<Held>>()
  #closed = false

  constructor(options: FileServerOptions) {
    this.#options = options
  }

  routes(): Route[] {
    return [unaryRoute(fileMethods.open, (request) => this.open(request)), unaryRoute(fileMethods.read, (request) => this.read(request))]
  }

  /** Sets that are held. */
  get held(): number {
    return this.#held.size
  }

  async open(request: pb.v1.OpenFilesRequest): Promise<pb.v1.OpenFilesReply> {
    try {
      this.#checkCluster(request.clusterId)
      const { token, set } = await this.#openShared(request)
      const files = set.files.map(({ name, size, checksum }) => new pb.v1.FileEntry({ name, size, checksum }))
      return new pb.v1.OpenFilesReply({ set: token, description: set.description, files })
    } catch (error) {
      return new pb.v1.OpenFilesReply({ error: this.#refusal(error, `files of group ${request.group}`) })
    }
  }

  async read(request: pb.v1.ReadFileRequest): Promise<pb.v1.ReadFileReply> {
    try {
      this.#checkCluster(request.clusterId)
      const held = this.#held.get(request.set)
      if (held === undefined) throw refused('NOT_FOUND', 'the set of files is held no more: open it again')
      const data = await this.#readPiece(held, request)
      return new pb.v1.ReadFileReply({ data, checksum: crc32(data) })
    } catch (error) {
      return new pb.v1.ReadFileReply({ error: this.#refusal(error, `file ${request.file}`) })
    }
  }

  /** Releases everything; nothing is given out any more. */
  close(): void {
    this.#closed = true
    for (const held of [...this.#held.values()]) this.#release(held)
  }

  #checkCluster(clusterId: Uint8Array): void {
    if (this.#closed) throw refused('UNAVAILABLE', 'this process is closing')
    if (!sameCluster(clusterId, this.#options.clusterId())) throw refused('FAILED_PRECONDITION', 'this node belongs to another cluster')
  }

  #openShared(request: pb.v1.OpenFilesRequest): Promise<Held> {
    const key = `${request.group} ${request.snapshot?.minIndex ?? ''} ${request.export?.migration ?? ''} ${request.export?.attempt ?? ''}`
    const known = this.#opening.get(key)
    if (known !== undefined) return known
    const opening = this.#open(request).finally(() => this.#opening.delete(key))
    this.#opening.set(key, opening)
    return opening
  }

  async #open(request: pb.v1.OpenFilesRequest): Promise<Held> {
    const source = this.#source(request)
    if (source === undefined) throw refused('NOT_FOUND', `group ${request.group} has no such files here`)
    // A set that is held already is found by its source: only new ones need room, and whether it is new is known afterwards.
    if (this.#opening.size >= setsMax) throw busy('too many sets of files are being made')
    const set = await source.open(request)
    const known = [...this.#held.values()].find((held) => held.set === set)
    if (known !== undefined) {
      known.lastUsedMs = this.#options.clock.monotonicMs()
      return known
    }
    if (this.#closed || (this.#held.size >= setsMax && !this.#maybeMakeRoom())) {
      source.release(set)
      throw busy('too many sets of files are held')
    }
    return this.#hold(source, set)
  }

  #source(request: pb.v1.OpenFilesRequest): FileSource | undefined {
    if (request.what === 'snapshot') return this.#options.snapshots(request.group)
    if (request.what === 'export') return this.#options.exports(request.group)
    return undefined
  }

  #hold(source: FileSource, set: FileSet): Held {
    const { clock, random } = this.#options
    const token = toHex(random.bytes(12))
    const held: Held = { token, source, set, lastUsedMs: clock.monotonicMs(), readers: 0, timer: undefined }
    this.#held.set(token, held)
    this.#armLease(held, leaseMs)
    return held
  }

  #armLease(held: Held, delayMs: number): void {
    held.timer = this.#options.clock.setTimer(delayMs, () => {
      const idleMs = this.#options.clock.monotonicMs() - held.lastUsedMs
      if (held.readers > 0) this.#armLease(held, leaseMs)
      else if (idleMs < leaseMs) this.#armLease(held, leaseMs - idleMs)
      else this.#release(held)
    })
  }

  #release(held: Held): void {
    held.timer?.cancel()
    if (this.#held.delete(held.token)) held.source.release(held.set)
  }

  /** Lets go of those that are over, or else of the set that nobody has asked for the longest, if it is long enough. */
  #maybeMakeRoom(): boolean {
    for (const held of [...this.#held.values()]) if (held.source.isOver?.(held.set)) this.#release(held)
    if (this.#held.size < setsMax) return true
    const idle = [...this.#held.values()].filter(({ readers }) => readers === 0).sort((a, b) => a.lastUsedMs - b.lastUsedMs)[0]
    if (idle === undefined || this.#options.clock.monotonicMs() - idle.lastUsedMs < idleMsMin) return false
    this.#release(idle)
    return true
  }

  async #readPiece(held: Held, request: pb.v1.ReadFileRequest): Promise<Uint8Array> {
    const entry = held.set.files.find(({ name }) => name === request.file)
    if (entry === undefined) throw refused('INVALID_ARGUMENT', `the set has no file ${request.file}`)
    const { clock, fileSystem } = this.#options
    const { pace } = held.source
    const length = Math.min(request.length, pace?.pieceBytes ?? chunkBytesMax, chunkBytesMax, Math.max(0, entry.size - request.offset))
    held.lastUsedMs = clock.monotonicMs()
    if (pace !== undefined && pace.delayMs > paceMsMax) throw busy('this node gives as much as it may')
    held.readers++
    try {
      await pace?.wait(length)
      const file = await fileSystem.open(joinPath(held.set.folder, entry.name), 'read')
      try {
        const data = new Uint8Array(length)
        return data.subarray(0, await file.read(data, request.offset))
      } finally {
        await file.close()
      }
    } finally {
      held.readers--
      held.lastUsedMs = clock.monotonicMs()
    }
  }

  /** What failed here is no matter of the caller's, who asks another peer, or again. */
  #refusal(error: unknown, what: string): pb.v1.Error {
    if (error instanceof OstrakaError) return encodeError(error)
    if (error instanceof DiskError && !this.#closed) this.#options.onFailure(error)
    const isDisk = error instanceof DiskError || systemErrorCode(error) !== undefined
    const text = error instanceof Error ? error.message : String(error)
    this.#options.logger.warn({ what, error: text }, isDisk ? 'files could not be read for a peer' : 'files could not be given to a peer')
    return encodeError(refused('UNAVAILABLE', `${what} cannot be had here: ${text}`))
  }
}

function busy(what: string): OstrakaError {
  return new OstrakaError('UNAVAILABLE', `${what}: ask again later`, true, { waitMs: busyWaitMs })
}

function refused(code: ErrorCode, message: string): OstrakaError {
  return new OstrakaError(code, message, true)
}
