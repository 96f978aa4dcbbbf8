/** A file system of a given size in memory, that can be filled and freed. */
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { systemErrorCode } from '../../../base/errors.ts'

const run = promisify(execFile)
const stepsBytes = [1024 * 1024, 4096]

export class SmallDisk {
  /** Where it is mounted. */
  readonly folder: string

  private constructor(folder: string) {
    this.folder = folder
  }

  /** Mounts one at `NAME` in `parent`. Root only. */
  static async make(parent: string, name: string, bytes: number): Promise<SmallDisk> {
    const disk = new SmallDisk(join(parent, name))
    await mkdir(disk.folder)
    await run('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', disk.folder])
    return disk
  }

  /** Writes a file until not a page is left. */
  async fill(): Promise<void> {
    const file = await open(this.#filler, 'a')
    try {
      for (const bytes of stepsBytes) {
        const zeros = Buffer.alloc(bytes)
        while (await isWritten(file.write(zeros))) {}
      }
    } finally {
      await file.close()
    }
  }

  async free(): Promise<void> {
    await rm(this.#filler, { force: true })
  }

  async dispose(): Promise<void> {
    await run('umount', [this.folder])
    await rm(this.folder, { recursive: true })
  }

  get #filler(): string {
    return join(this.folder, 'filler')
  }
}

async function isWritten(write: Promise<unknown>): Promise<boolean> {
  try {
    await write
    return true
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOSPC') throw error
    return false
  }
}

/** Why there are no small disks here; undefined: there are. */
export async function noSmallDisksReason(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return 'mounting a tmpfs needs root'
  const parent = await mkdtemp(join(tmpdir(), 'ostraka-small-'))
  try {
    const disk = await SmallDisk.make(parent, 'trial', 1024 * 1024)
    await disk.fill()
    await disk.dispose()
    return undefined
  } catch (error) {
    return `no tmpfs can be mounted here: ${error instanceof Error ? error.message.trim().split('\n').at(-1) : String(error)}`
  } finally {
    await rm(parent, { recursive: true, force: true })
  }
}
