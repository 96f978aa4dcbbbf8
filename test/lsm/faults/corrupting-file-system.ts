import type { File, FileSystem } from '../../../base/file-system.ts'
import type { SeededRandom } from '../../../base/random.ts'
import { override } from '../override.ts'

/** Flips one bit in what one of the reads gives: the file itself is whole. */
export class CorruptingFileSystem {
  /** Reads so far that gave anything. */
  reads = 0
  readonly fileSystem: FileSystem
  readonly #target: number
  readonly #random: SeededRandom

  /** `target`: the read to spoil, from 1. */
  constructor(inner: FileSystem, target: number, random: SeededRandom) {
    this.#target = target
    this.#random = random
    this.fileSystem = override(inner, { open: async (path, mode) => this.#wrap(await inner.open(path, mode)) })
  }

  #wrap(inner: File): File {
    return override(inner, {
      read: async (target, position) => this.#spoil(target, await inner.read(target, position)),
      readNow: (target, position) => {
        const count = inner.readNow(target, position)
        return count === undefined ? undefined : this.#spoil(target, count)
      },
      readSync: (target, position) => this.#spoil(target, inner.readSync(target, position)),
    })
  }

  #spoil(target: Uint8Array, count: number): number {
    if (count === 0 || ++this.reads !== this.#target) return count
    const at = this.#random.below(count)
    target[at] = (target[at] as number) ^ (1 << this.#random.below(8))
    return count
  }
}
