/** Lets fsync and fdatasync of a process fail once, take long, or do nothing: `test/chaos/shim/fsync.c`, loaded before the C library. */
import { execFile } from 'node:child_process'
import { access, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { root } from '../../../testing/up.ts'

const run = promisify(execFile)
const source = join(root, 'test/chaos/shim/fsync.c')

/** Why there is none here; undefined: there can be. */
export async function noShimReason(): Promise<string | undefined> {
  if (process.platform !== 'linux') return 'LD_PRELOAD is of Linux'
  try {
    await run('cc', ['--version'])
    return undefined
  } catch {
    return 'there is no C compiler cc'
  }
}

export class FsyncShim {
  readonly #folder: string

  private constructor(folder: string) {
    this.#folder = folder
  }

  /** Compiles it into `folder`, where it is also controlled from. */
  static async build(folder: string): Promise<FsyncShim> {
    const shim = new FsyncShim(folder)
    await run('cc', ['-shared', '-fPIC', '-O2', '-Wall', '-Werror', '-o', shim.#library, source, '-ldl'])
    return shim
  }

  /** Of a process that is to have it. io_uring would go past the C library. */
  environment(id: string): Record<string, string> {
    return { LD_PRELOAD: this.#library, CHAOS_FSYNC: this.#control(id), UV_USE_IO_URING: '0' }
  }

  /** The next sync of `id` fails with EIO, and syncs nothing. Resolves when it has; rejects where it does not come. */
  async failOnce(id: string, timeoutMs = 10_000): Promise<void> {
    await writeFile(this.#control(id), 'eio')
    const end = performance.now() + timeoutMs
    while (await exists(this.#control(id))) {
      if (performance.now() > end) throw new Error(`${id} has synced nothing in ${timeoutMs} ms`)
      await delay(1)
    }
  }

  /** From now on no sync of `id` syncs anything, and each says that it did; or they do again. */
  async lie(id: string, isLying: boolean): Promise<void> {
    if (isLying) await writeFile(this.#control(id), 'lie')
    else await rm(this.#control(id), { force: true })
  }

  /** Each sync of `id` takes so long from now on; 0: as long as it takes. */
  async stall(id: string, ms: number): Promise<void> {
    if (ms === 0) await rm(this.#control(id), { force: true })
    else await writeFile(this.#control(id), `stall ${Math.round(ms)}`)
  }

  get #library(): string {
    return join(this.#folder, 'fsync.so')
  }

  #control(id: string): string {
    return join(this.#folder, `fsync-${id}`)
  }
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  )
}
