/**
 * One process per data directory, without a native package: each contender listens on a unix domain socket of its own in `FOLDER/lock/`, and
 * the kernel, which closes sockets however a process ends, says who is alive. A process id decides nothing (in a container it repeats), it is
 * only named in the error.
 *
 * 1. Listen on `starting-PID-NONCE`, then rename it to `lock-PID-NONCE`: the name appears with somebody behind it, never before `listen`.
 * 2. Only then look at all other `lock-*` and dial each:
 *    refused: its process is dead for good (names are used once), the file is removed;
 *    'held': the folder is taken;
 *    'claiming': both are at this step. The lower nonce waits until the other is gone or holds, the higher one gives up;
 *    accepted but silent: a stopped process (it holds), or one that is dying (it soon refuses).
 * 3. Nobody else left: the folder is held.
 *
 * Two cannot both hold: each raised its name before it looked, so of two the one that raised later saw the other, and it gets past step 2
 * only when that one is gone. Socket addresses are limited to about 100 bytes; the folder is therefore addressed through its descriptor.
 */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { systemErrorCode } from './errors.ts'

/** How long a contender that accepts but does not answer is asked again before it counts as the holder. */
const SILENCE_MS = 1_000
const RETRY_MS = 10
/** How long the winner of two contenders waits for the other to go. */
const PATIENCE_MS = 5_000

export class FolderLockedError extends Error {
  override readonly name = 'FolderLockedError'
  readonly folder: string
  /** The process that has it, as it called itself (in its own container). */
  readonly pid: number

  constructor(folder: string, pid: number) {
    super(`${folder} is in use by process ${pid}: stop that process first, or give this one a data directory of its own`)
    this.folder = folder
    this.pid = pid
  }
}

export interface FolderLock {
  /** Gives the folder free. Call it last, when nothing of this process writes there. Idempotent. */
  release(): Promise<void>
}

/** Takes `folder`, which must exist, for this process, or rejects with a FolderLockedError. Holds until `release` or the end of the process. */
export async function lockFolder(folder: string): Promise<FolderLock> {
  const contender = await Contender.raise(folder)
  try {
    await contender.outlastOthers()
  } catch (error) {
    contender.withdraw()
    throw error
  }
  return { release: async () => contender.withdraw() }
}

type Answer = 'held' | 'claiming' | 'silent' | 'gone'

class Contender {
  readonly #folder: string
  readonly #place: SocketPlace
  readonly #name: string
  readonly #nonce: string
  readonly #server: net.Server
  #state: 'claiming' | 'held' | 'withdrawn' = 'claiming'

  private constructor(folder: string, place: SocketPlace, nonce: string) {
    this.#folder = folder
    this.#place = place
    this.#nonce = nonce
    this.#name = `lock-${process.pid}-${nonce}`
    this.#server = net.createServer((socket) => {
      socket.on('error', () => socket.destroy())
      socket.end(this.#state)
    })
    this.#server.unref()
  }

  static async raise(folder: string): Promise<Contender> {
    for (;;) {
      const contender = await Contender.#tryRaise(folder)
      if (contender !== undefined) return contender
    }
  }

  /** Undefined: who took the folder meanwhile has swept this one away before it had its name. */
  static async #tryRaise(folder: string): Promise<Contender | undefined> {
    const place = new SocketPlace(path.join(folder, 'lock'))
    const contender = new Contender(folder, place, randomBytes(8).toString('hex'))
    const starting = contender.#name.replace('lock', 'starting')
    try {
      await new Promise<void>((resolve, reject) => {
        // Stays: a process out of descriptors cannot accept for a while, and then only seems silent to others.
        contender.#server.on('error', reject)
        contender.#server.listen(place.address(starting), resolve)
      })
      fs.renameSync(place.file(starting), place.file(contender.#name))
      return contender
    } catch (error) {
      contender.withdraw()
      if (systemErrorCode(error) === 'ENOENT' && fs.existsSync(place.folder)) return undefined
      throw error
    }
  }

  async outlastOthers(): Promise<void> {
    for (const name of fs.readdirSync(this.#place.folder)) {
      const [kind, pid, nonce] = name.split('-')
      if (kind === 'lock' && nonce !== undefined && name !== this.#name) await this.#outlast(name, Number(pid), nonce)
    }
    this.#state = 'held'
    this.#sweep()
  }

  /** Resolves when `name` is gone, rejects when it has the folder or goes first. */
  async #outlast(name: string, pid: number, nonce: string): Promise<void> {
    const startMs = performance.now()
    for (;;) {
      const answer = await this.#dial(name)
      const waitedMs = performance.now() - startMs
      if (answer === 'gone') return remove(this.#place.file(name))
      if (answer === 'held' || (answer === 'claiming' && nonce < this.#nonce)) throw new FolderLockedError(this.#folder, pid)
      if (waitedMs > (answer === 'silent' ? SILENCE_MS : PATIENCE_MS)) throw new FolderLockedError(this.#folder, pid)
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
    }
  }

  #dial(name: string): Promise<Answer> {
    return new Promise((resolve) => {
      let heard = ''
      const socket = net.connect(this.#place.address(name))
      socket.setTimeout(SILENCE_MS)
      socket.on('data', (bytes) => {
        heard += bytes.toString()
      })
      socket.on('error', (error) => {
        const code = systemErrorCode(error)
        resolve(code === 'ECONNREFUSED' || code === 'ENOENT' ? 'gone' : 'silent')
      })
      socket.on('timeout', () => socket.destroy())
      socket.on('close', () => resolve(heard === 'held' || heard === 'claiming' ? heard : 'silent'))
    })
  }

  /** Removes what processes left that died between `listen` and their rename. */
  #sweep(): void {
    for (const name of fs.readdirSync(this.#place.folder)) {
      // A contender that is just starting finds its file gone, and begins again.
      if (name.startsWith('starting-')) remove(this.#place.file(name))
    }
  }

  withdraw(): void {
    if (this.#state === 'withdrawn') return
    this.#state = 'withdrawn'
    remove(this.#place.file(this.#name))
    this.#server.close()
    this.#place.close()
  }
}

function remove(file: string): void {
  fs.rmSync(file, { force: true })
}

/** The folder of the sockets, addressed in few bytes: `/proc/self/fd/N`, or a link in the temporary folder where there is no /proc. */
class SocketPlace {
  readonly folder: string
  readonly #descriptor: number
  readonly #short: string
  readonly #linked: boolean

  constructor(folder: string) {
    fs.mkdirSync(folder, { recursive: true })
    this.folder = folder
    this.#descriptor = fs.openSync(folder, 'r')
    const descriptorPath = `/proc/self/fd/${this.#descriptor}`
    this.#linked = !fs.existsSync(descriptorPath)
    this.#short = this.#linked ? path.join(os.tmpdir(), `ostraka-${randomBytes(4).toString('hex')}`) : descriptorPath
    if (this.#linked) fs.symlinkSync(path.resolve(folder), this.#short)
  }

  file(name: string): string {
    return path.join(this.folder, name)
  }

  address(name: string): string {
    return `${this.#short}/${name}`
  }

  close(): void {
    if (this.#linked) remove(this.#short)
    fs.closeSync(this.#descriptor)
  }
}
