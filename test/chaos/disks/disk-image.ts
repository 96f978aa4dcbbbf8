/**
 * A file system in a file, for power cuts without a power switch. What a process wrote and did not sync stands in the kernel's memory only, the
 * image holds what was synced. A power cut is: kill -9, a copy of the image before anything else is written to it, and the copy in its place.
 */
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, open, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

const imageBytes = 512 * 1024 * 1024
/** The journal is committed by fsync only, as good as never by time. */
const mountOptions = 'loop,commit=300,noatime'

export class DiskImage {
  /** Where it is mounted. */
  readonly folder: string
  readonly #file: string
  #isMounted = false

  private constructor(file: string, folder: string) {
    this.#file = file
    this.folder = folder
  }

  /** Makes `NAME.img` in `parent`, and mounts it at `NAME` there. Root only. */
  static async make(parent: string, name: string): Promise<DiskImage> {
    const image = new DiskImage(join(parent, `${name}.img`), join(parent, name))
    const file = await open(image.#file, 'wx')
    await file.truncate(imageBytes)
    await file.close()
    await run('mkfs.ext4', ['-q', '-F', '-m', '0', '-E', 'lazy_itable_init=1,lazy_journal_init=1', image.#file])
    await mkdir(image.folder)
    await image.#mount()
    return image
  }

  /** The image as it would be found after a power cut now takes its place. Nobody may have a file open on it any more. */
  async cutPower(): Promise<void> {
    const copy = `${this.#file}.copy`
    await run('cp', ['--sparse=always', this.#file, copy])
    // This writes what was not synced into the old image, which is dropped.
    await this.#unmount()
    await rename(copy, this.#file)
    await this.#mount()
  }

  async dispose(): Promise<void> {
    if (this.#isMounted) await this.#unmount()
    await rm(this.#file, { force: true })
    await rm(this.folder, { recursive: true, force: true })
  }

  async #mount(): Promise<void> {
    await run('mount', ['-o', mountOptions, this.#file, this.folder])
    this.#isMounted = true
  }

  async #unmount(): Promise<void> {
    await run('umount', [this.folder])
    this.#isMounted = false
  }
}

/**
 * Why there are no power cuts here; undefined: there are. Tries one: what was synced must be there, and what was not must be gone, else the
 * method loses nothing and proves nothing.
 */
export async function noPowerCutsReason(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return 'mounting an image needs root'
  const parent = await mkdtemp(join(tmpdir(), 'ostraka-power-'))
  let image: DiskImage | undefined
  try {
    image = await DiskImage.make(parent, 'trial')
    const synced = await open(join(image.folder, 'synced'), 'w')
    await synced.write('synced')
    await synced.sync()
    await syncFolder(image.folder)
    await synced.write(', and not synced')
    await synced.close()
    await writeFile(join(image.folder, 'not-synced'), 'not synced')
    await image.cutPower()
    const kept = await readFile(join(image.folder, 'synced'), 'utf8')
    if (kept !== 'synced') return `a power cut proves nothing here: a file with 'synced' synced is '${kept}' after it`
    const lost = await readFile(join(image.folder, 'not-synced'), 'utf8').catch(() => '')
    return lost === '' ? undefined : 'a power cut proves nothing here: a file that nobody synced survives it'
  } catch (error) {
    return `no image can be mounted here: ${error instanceof Error ? error.message.trim().split('\n').at(-1) : String(error)}`
  } finally {
    await image?.dispose()
    await rm(parent, { recursive: true, force: true })
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder)
  await handle.sync()
  await handle.close()
}
