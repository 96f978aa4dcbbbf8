import { assert } from './assert.ts'
import type { Clock, Timer } from './clock.ts'
import { DiskError, systemErrorCode } from './errors.ts'
import { type FileSystem, joinPath } from './file-system.ts'
import type { Logger } from './logger.ts'

/** What whoever writes files needs to know of the room that is left. A full disk is no failed disk: what must be written waits for room. */
export interface Space {
  /** So little is left that nothing new is taken in; what was taken in can still be written. */
  readonly isLow: boolean
  /** What is left is for votes and flushes: bulk that comes from elsewhere is turned away, too. */
  readonly isCritical: boolean
  /** Whether `bytes` more leave enough for what must be written. For work that can wait. */
  fits(bytes: number): boolean
  /** Whether `bytes` may be written although little is left, by what cannot wait and is no vote or flush; they count as written then. */
  spend(bytes: number): boolean
  /** A write met the end of the disk. Lets the reserve go; resolves when it is worth trying again. Rejects once the process ends. */
  exhausted(): Promise<void>
  /** Resolves when there is more room than there was, or may be. Rejects once the process ends. */
  whenMore(): Promise<void>
}

/** The disk is full, as the file system says; never a failed sync, which is final whatever its reason. */
export function isOutOfSpace(error: unknown): boolean {
  return systemErrorCode(error) === 'ENOSPC' && !(error instanceof DiskError)
}

/** Does `work`, again and again while it meets the end of the disk. What failed must have left nothing. Without `space`: once. */
export async function onceThereIsRoom<T>(space: Space | undefined, work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work()
    } catch (error) {
      if (space === undefined || !isOutOfSpace(error)) throw error
      await space.exhausted()
    }
  }
}

export interface DiskSpaceOptions {
  readonly fileSystem: FileSystem
  readonly clock: Clock
  readonly logger: Logger
  /** The process's data directory. */
  readonly folder: string
  /** Bytes held in a file of no use, given back when the disk is full: for votes, the log's marks and flushes. */
  readonly reserveBytes: number
  /** Below so many free bytes nothing new is taken in: at least what the memtables hold, so that they can be flushed. */
  readonly lowBytes: number
}

export const reserveName = 'reserve'
const lookMs = 1000
/** While something waits for room. */
const lookAgainMs = 200
const chunkBytes = 1024 * 1024
const criticalPart = 4
const looksInVainMax = 10

/**
 * The room on the disk of one data directory. Free bytes are looked at once a second; below the mark the process takes in nothing new (the
 * servers refuse writes). Where a write fails all the same (another program filled the disk) the reserve is given back, and what failed is
 * tried again. When there is room again the reserve is made anew and writes are taken.
 */
export class DiskSpace implements Space {
  readonly #options: DiskSpaceOptions
  #freeBytes = Number.POSITIVE_INFINITY
  #isLow = false
  /** What the first look after the end of the disk was met has found: more than that is more. */
  #leftAtEnd: number | undefined
  #looksInVain = 0
  #holdsReserve = false
  /** Looking, or making or removing the reserve. */
  #busy: Promise<void> | undefined
  #timer: Timer | undefined
  #waiters: { readonly resolve: () => void; readonly reject: (error: Error) => void }[] = []
  #closed = false

  private constructor(options: DiskSpaceOptions) {
    this.#options = options
  }

  /** `folder` is there. Makes the reserve where there is room for it. Rejects with what the file system refuses, a full disk apart. */
  static async open(options: DiskSpaceOptions): Promise<DiskSpace> {
    assert(options.reserveBytes >= 0 && options.lowBytes >= 0, 'bytes are not negative')
    const space = new DiskSpace(options)
    space.#holdsReserve = await options.fileSystem.exists(space.#path)
    await space.#look()
    space.#arm()
    return space
  }

  get isLow(): boolean {
    return this.#isLow
  }

  /** As last seen, less what was spent since; the reserve apart. */
  get freeBytes(): number {
    return this.#freeBytes
  }

  get isCritical(): boolean {
    return this.#isLow && this.#freeBytes < this.#criticalBytes
  }

  fits(bytes: number): boolean {
    return this.#freeBytes - bytes >= this.#options.lowBytes
  }

  spend(bytes: number): boolean {
    if (this.#freeBytes - bytes < this.#criticalBytes / 2) return false
    this.#freeBytes -= bytes
    return true
  }

  async exhausted(): Promise<void> {
    if (this.#closed) throw closedError()
    this.#freeBytes = 0
    this.#leftAtEnd = undefined
    this.#becomeLow()
    if (this.#holdsReserve) await this.#release()
    else await this.whenMore()
  }

  whenMore(): Promise<void> {
    if (this.#closed) return Promise.reject(closedError())
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject })
      this.#arm()
    })
  }

  /** Who waits is told that it is over. The reserve stays. */
  async close(): Promise<void> {
    this.#closed = true
    this.#timer?.cancel()
    const waiters = this.#waiters
    this.#waiters = []
    for (const { reject } of waiters) reject(closedError())
    await this.#whenIdle()
  }

  get #criticalBytes(): number {
    return this.#options.lowBytes / criticalPart
  }

  get #path(): string {
    return joinPath(this.#options.folder, reserveName)
  }

  /** The next look, in place of the one that was due. */
  #arm(): void {
    this.#timer?.cancel()
    if (this.#closed) return
    this.#timer = this.#options.clock.setTimer(this.#waiters.length > 0 ? lookAgainMs : lookMs, () => {
      this.#look()
        .catch((error: unknown) => this.#options.logger.warn({ error: String(error) }, 'the room on the disk is not known'))
        .finally(() => this.#arm())
    })
  }

  #look(): Promise<void> {
    return this.#alone(async () => {
      const { fileSystem, folder, lowBytes, reserveBytes, logger } = this.#options
      this.#freeBytes = await fileSystem.freeBytes(folder)
      if (this.#freeBytes < lowBytes) this.#becomeLow()
      else if (!this.#holdsReserve && this.#freeBytes >= lowBytes + reserveBytes) await this.#makeReserve()
      if (this.#isLow && this.#holdsReserve && this.#freeBytes >= lowBytes) {
        this.#isLow = false
        logger.info({ freeBytes: this.#freeBytes }, 'there is room on the disk again: writes are taken')
      }
      this.#maybeWake()
    })
  }

  /** Now and then also without a reason to be seen: what took the room for a moment may be gone since before the first look. */
  #maybeWake(): void {
    this.#leftAtEnd ??= this.#freeBytes
    if (this.#isLow && this.#freeBytes <= this.#leftAtEnd && ++this.#looksInVain < looksInVainMax) return
    this.#looksInVain = 0
    this.#wake()
  }

  #becomeLow(): void {
    if (this.#isLow) return
    this.#isLow = true
    this.#options.logger.error({ freeBytes: this.#freeBytes }, 'the disk is nearly full: writes are refused until there is room')
  }

  /** Zeros that are really written: a sparse file would reserve nothing. */
  async #makeReserve(): Promise<void> {
    const { fileSystem, reserveBytes } = this.#options
    try {
      const file = await fileSystem.open(this.#path, 'create')
      this.#holdsReserve = true
      try {
        const zeros = new Uint8Array(Math.min(chunkBytes, reserveBytes))
        for (let at = 0; at < reserveBytes; at += zeros.length) {
          await file.write([zeros.subarray(0, Math.min(zeros.length, reserveBytes - at))], at)
        }
      } finally {
        await file.close()
      }
      this.#freeBytes -= reserveBytes
    } catch (error) {
      if (!isOutOfSpace(error)) throw error
      this.#freeBytes = 0
      this.#becomeLow()
      await this.#remove()
    }
  }

  #release(): Promise<void> {
    return this.#alone(async () => {
      if (!this.#holdsReserve) return
      this.#options.logger.warn({ bytes: this.#options.reserveBytes }, 'the disk is full: the reserve is given back')
      await this.#remove()
    })
  }

  async #remove(): Promise<void> {
    if (!this.#holdsReserve) return
    this.#holdsReserve = false
    await this.#options.fileSystem.unlink(this.#path)
  }

  /** One look or change at a time. */
  async #alone(work: () => Promise<void>): Promise<void> {
    // Looked at in the turn in which it is set: of several that waited only the first goes on.
    while (this.#busy !== undefined) await this.#busy.catch(() => undefined)
    if (this.#closed) return
    this.#busy = work().finally(() => {
      this.#busy = undefined
    })
    await this.#busy
  }

  async #whenIdle(): Promise<void> {
    while (this.#busy !== undefined) await this.#busy.catch(() => undefined)
  }

  #wake(): void {
    const waiters = this.#waiters
    this.#waiters = []
    for (const { resolve } of waiters) resolve()
  }
}

function closedError(): Error {
  return new DiskError('the disk is full, and the process ends')
}
