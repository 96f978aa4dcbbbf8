import fs from 'node:fs'
import os from 'node:os'
import { DiskError, systemErrorCode } from './errors.ts'
import { type File, type FileSystem, parentFolder } from './file-system.ts'
import { type FileAround, ReadAround } from './read-around.ts'
import { ReadPace } from './read-pace.ts'

/** Reads up to here may be made in this thread, at once or in its next turn, where such reads are fast; a larger one takes too long of it. */
const smallBytes = 64 * 1024
/** Node reads no more than 2 GiB at once. */
const mostAtOnce = 2 ** 30
/** Of what has a file's name and is none (a FIFO) an open does not wait for the other end. */
const readFlags = fs.constants.O_RDONLY | (fs.constants.O_NONBLOCK ?? 0)
const FLAGS = { read: readFlags, write: 'r+', create: 'wx+' } as const
/** Descriptors come back: where none is left an open is tried again for so long. */
const descriptorWaitMs = 5000
const descriptorAgainMs = 20

/** One promise per operation over Node's callback functions: `fs.promises` costs several and an object per handle. */
function call(start: (done: (error: NodeJS.ErrnoException | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => (error ? reject(error) : resolve()))
  })
}

function openDescriptor(path: string, flags: string | number): Promise<number> {
  const untilMs = performance.now() + descriptorWaitMs
  return new Promise((resolve, reject) => {
    const attempt = () => {
      fs.open(path, flags, (error, descriptor) => {
        if (!error) resolve(descriptor)
        else if ((error.code === 'EMFILE' || error.code === 'ENFILE') && performance.now() < untilMs) setTimeout(attempt, descriptorAgainMs)
        else reject(error)
      })
    }
    attempt()
  })
}

/** Node names the file of an operation on a path, not of one on a descriptor. */
function naming(path: string, error: unknown): unknown {
  if (error instanceof DiskError || systemErrorCode(error) === undefined) return error
  const named = error as NodeJS.ErrnoException
  if (named.path !== undefined) return error
  named.message = `${named.message} '${path}'`
  named.path = path
  return error
}

class NodeFile implements File {
  readonly path: string
  /** -1 once `close` was called, so that no later operation meets another file under the same number. */
  #descriptor: number
  /** Operations under way; the descriptor is given back only when there is none. */
  #running = 0
  #whenIdle: (() => void) | undefined

  readonly #pace: ReadPace
  /** Undefined where the file is written, too. */
  readonly #around: ReadAround | undefined
  /** Undefined before its size is known. */
  #fileAround: FileAround | undefined
  /** Its reads wait for the disk in this thread. */
  readonly #readsHere: boolean

  constructor(path: string, descriptor: number, pace: ReadPace, around: ReadAround | undefined, readsHere: boolean) {
    this.path = path
    this.#descriptor = descriptor
    this.#pace = pace
    this.#around = around
    this.#readsHere = readsHere
  }

  read(target: Uint8Array, position: number): Promise<number> {
    return this.#start('read', (descriptor, resolve, reject) => {
      if (this.#readsHere) return resolve(this.#readAtOnce(descriptor, target, position, false))
      const isSmall = target.length <= smallBytes
      if (!isSmall) return readAll(descriptor, target, position, target.length, resolve, reject)
      if (!this.#pace.isSpent) return this.#readAround(descriptor, target, position, resolve, reject)
      void this.#pace.nextTurn().then(() => {
        if (!this.#pace.mayRead(false)) return this.#readAround(descriptor, target, position, resolve, reject)
        try {
          resolve(this.#readAtOnce(descriptor, target, position, false))
        } catch (error) {
          reject(error)
        }
      })
    })
  }

  readNow(target: Uint8Array, position: number): number | undefined {
    if (this.#descriptor < 0) throw this.#closedError('read')
    if (target.length > smallBytes) return undefined
    const isWarm = this.#fileAround?.holds(position, target.length) === true
    return this.#pace.mayRead(isWarm) ? this.#readAtOnce(this.#descriptor, target, position, isWarm) : undefined
  }

  nextTurn(): Promise<void> | undefined {
    return this.#pace.isSpent ? this.#pace.nextTurn() : undefined
  }

  readSync(target: Uint8Array, position: number): number {
    if (this.#descriptor < 0) throw this.#closedError('read')
    return this.#readAtOnce(this.#descriptor, target, position, false)
  }

  write(chunks: readonly Uint8Array[], position: number): Promise<void> {
    return this.#start('write', (descriptor, resolve, reject) => {
      let rest = chunks.filter((chunk) => chunk.length > 0)
      let offset = position
      const next = () => {
        fs.writev(descriptor, rest, offset, (error, written) => {
          if (error) return reject(error)
          // A short write is followed by one that says why (ENOSPC) or by the rest.
          rest = behind(rest, written)
          offset += written
          if (rest.length === 0) resolve()
          else if (written === 0) reject(Object.assign(new Error(`EIO: nothing written to '${this.path}'`), { code: 'EIO' }))
          else next()
        })
      }
      if (rest.length === 0) resolve()
      else next()
    })
  }

  sync(): Promise<void> {
    return this.#start('fdatasync', (descriptor, resolve, reject) => {
      fs.fdatasync(descriptor, (error) => (error ? reject(syncError(this.path, error)) : resolve()))
    })
  }

  truncate(length: number): Promise<void> {
    return this.#start('ftruncate', (descriptor, resolve, reject) => {
      fs.ftruncate(descriptor, length, (error) => (error ? reject(error) : resolve()))
    })
  }

  size(): Promise<number> {
    return this.#start('fstat', (descriptor, resolve, reject) => {
      fs.fstat(descriptor, (error, stats) => {
        if (error) return reject(error)
        this.hasBytes(stats.size)
        resolve(stats.size)
      })
    })
  }

  /** How long the file is that is read. */
  hasBytes(bytes: number): void {
    if (this.#descriptor < 0) return
    this.#leaveAround()
    this.#fileAround = this.#around?.open(bytes)
  }

  /** Waits for what is under way. Closing twice is a no-op. */
  async close(): Promise<void> {
    const descriptor = this.#descriptor
    if (descriptor < 0) return
    this.#descriptor = -1
    this.#leaveAround()
    if (this.#running > 0) {
      await new Promise<void>((resolve) => {
        this.#whenIdle = resolve
      })
    }
    await call((done) => fs.close(descriptor, done))
  }

  /** Through the pool, and where it pays with what lies around it. */
  #readAround(
    descriptor: number,
    target: Uint8Array,
    position: number,
    resolve: (count: number) => void,
    reject: (error: unknown) => void,
  ): void {
    const around = this.#around
    const fileAround = this.#fileAround
    const start = fileAround?.takePiece(position, target.length, performance.now())
    if (around === undefined || fileAround === undefined || start === undefined) {
      readAll(descriptor, target, position, target.length, resolve, reject)
      return
    }
    around.takeBuffer((piece) => {
      const before = position - start
      const copyOut = (count: number) => {
        const found = Math.max(0, Math.min(target.length, count - before))
        target.set(piece.subarray(before, before + found))
        around.giveBack(piece)
        fileAround.brought(start)
        resolve(found)
      }
      readAll(descriptor, piece, start, before + target.length, copyOut, () => {
        around.giveBack(piece)
        // It may be the neighbourhood that cannot be read.
        readAll(descriptor, target, position, target.length, resolve, reject)
      })
    })
  }

  #leaveAround(): void {
    if (this.#fileAround !== undefined) this.#around?.close(this.#fileAround)
    this.#fileAround = undefined
  }

  #readAtOnce(descriptor: number, target: Uint8Array, position: number, isWarm: boolean): number {
    const startMs = performance.now()
    let filled = 0
    try {
      while (filled < target.length) {
        const count = fs.readSync(descriptor, target, filled, Math.min(mostAtOnce, target.length - filled), position + filled)
        if (count === 0) break
        filled += count
      }
    } catch (error) {
      throw naming(this.path, error)
    } finally {
      // A failing disk takes its time over it.
      const endMs = performance.now()
      this.#pace.took(startMs, endMs, filled)
      if (isWarm) this.#fileAround?.took(position, endMs - startMs)
    }
    return filled
  }

  #start<T>(
    operation: string,
    start: (descriptor: number, resolve: (value: T) => void, reject: (error: unknown) => void) => void,
  ): Promise<T> {
    const descriptor = this.#descriptor
    return new Promise<T>((resolve, reject) => {
      if (descriptor < 0) return reject(this.#closedError(operation))
      this.#running++
      const fail = (error: unknown) => {
        this.#ended()
        reject(naming(this.path, error))
      }
      const succeed = (value: T) => {
        this.#ended()
        resolve(value)
      }
      try {
        start(descriptor, succeed, fail)
      } catch (error) {
        // What Node refuses before it asks the system.
        fail(error)
      }
    })
  }

  #ended(): void {
    this.#running--
    if (this.#running === 0) this.#whenIdle?.()
  }

  #closedError(operation: string): Error {
    return Object.assign(new Error(`EBADF: ${operation} of '${this.path}', which is closed`), { code: 'EBADF' })
  }
}

/** Fills the first `enough` bytes of `target`, as far as the file goes; more as it comes. */
function readAll(
  descriptor: number,
  target: Uint8Array,
  position: number,
  enough: number,
  resolve: (count: number) => void,
  reject: (error: unknown) => void,
): void {
  let filled = 0
  const next = () => {
    fs.read(descriptor, target, filled, Math.min(mostAtOnce, target.length - filled), position + filled, (error, count) => {
      if (error) return reject(error)
      filled += count
      if (count === 0 || filled >= enough) resolve(filled)
      else next()
    })
  }
  if (target.length === 0) resolve(0)
  else next()
}

/** What is left of `chunks` when the first `count` bytes are gone. */
function behind(chunks: readonly Uint8Array[], count: number): Uint8Array[] {
  const rest: Uint8Array[] = []
  let skip = count
  for (const chunk of chunks) {
    if (skip >= chunk.length) skip -= chunk.length
    else {
      rest.push(skip === 0 ? chunk : chunk.subarray(skip))
      skip = 0
    }
  }
  return rest
}

function syncError(path: string, cause: NodeJS.ErrnoException): DiskError {
  return new DiskError(`sync of ${path} failed: ${cause.message}`, { cause })
}

/** No error where it is there. */
function makeOneFolder(path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    fs.mkdir(path, (refused) => {
      if (!refused) return resolve()
      fs.stat(path, (error, stats) => {
        if (!error && stats.isDirectory()) resolve()
        else reject(refused)
      })
    })
  })
}

/** What the page cache may take: what is free, or nothing but page cache already, within the bounds of a container. */
function pageCacheBytes(): number {
  const bound = process.constrainedMemory()
  return Math.min(os.freemem(), bound === undefined || bound === 0 ? Number.POSITIVE_INFINITY : bound)
}

/** The machine's files. A sync that fails rejects with a DiskError, everything else with the system's error. */
export class NodeFileSystem implements FileSystem {
  /** For all files of this thread, which is one, whoever opens them: they share its turns, and the machine's memory. */
  static readonly #pace = new ReadPace((turnEnded) => setImmediate(turnEnded))
  static readonly #around = new ReadAround(pageCacheBytes)
  readonly #readsHere: boolean

  /** `readsHere`: reads wait for the disk in the thread that asks, which has nothing else to do, and at its priority; else in the pool of all threads. */
  constructor({ readsHere = false }: { readonly readsHere?: boolean } = {}) {
    this.#readsHere = readsHere
  }

  async open(path: string, mode: 'read' | 'write' | 'create'): Promise<File> {
    const descriptor = await openDescriptor(path, FLAGS[mode])
    const around = mode === 'read' ? NodeFileSystem.#around : undefined
    return new NodeFile(path, descriptor, NodeFileSystem.#pace, around, this.#readsHere)
  }

  openSync(path: string): File {
    const descriptor = fs.openSync(path, FLAGS.read)
    const file = new NodeFile(path, descriptor, NodeFileSystem.#pace, NodeFileSystem.#around, this.#readsHere)
    file.hasBytes(fs.fstatSync(descriptor).size)
    return file
  }

  rename(from: string, to: string): Promise<void> {
    return call((done) => fs.rename(from, to, done))
  }

  link(from: string, to: string): Promise<void> {
    return call((done) => fs.link(from, to, done))
  }

  unlink(path: string): Promise<void> {
    return call((done) => fs.unlink(path, done))
  }

  /** Node's own recursion does not end where a file system says ENOENT although the parent is there (/proc). */
  async makeFolder(path: string): Promise<void> {
    const parent = parentFolder(path)
    try {
      await makeOneFolder(path)
    } catch (error) {
      if (systemErrorCode(error) !== 'ENOENT' || parent === path) throw error
      await this.makeFolder(parent)
      // Once: others may have made the parent meanwhile, and whatever they did it is there now.
      await makeOneFolder(path)
    }
  }

  removeFolder(path: string): Promise<void> {
    // What another call is still making in it would else end the removal: ENOTEMPTY.
    return call((done) => fs.rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 }, done))
  }

  list(path: string): Promise<string[]> {
    return new Promise((resolve, reject) => {
      fs.readdir(path, (error, names) => (error ? reject(error) : resolve(names.sort())))
    })
  }

  async exists(path: string): Promise<boolean> {
    try {
      await call((done) => fs.stat(path, (error) => done(error)))
      return true
    } catch (error) {
      const code = systemErrorCode(error)
      if (code === 'ENOENT' || code === 'ENOTDIR') return false
      throw error
    }
  }

  freeBytes(path: string): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.statfs(path, (error, stats) => (error ? reject(error) : resolve(stats.bavail * stats.bsize)))
    })
  }

  async syncFolder(path: string): Promise<void> {
    const descriptor = await openDescriptor(path, 'r')
    try {
      await call((done) => fs.fsync(descriptor, (error) => done(error && syncError(path, error))))
    } finally {
      await call((done) => fs.close(descriptor, done))
    }
  }
}
