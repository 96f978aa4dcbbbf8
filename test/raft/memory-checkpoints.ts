import { must } from '../../base/assert.ts'
import { emptyBytes } from '../../base/bytes.ts'

type Image = ReadonlyMap<string, Uint8Array>

const name = 'image'
/** By folder. */
const images = new Map<string, Image>()

/** Checkpoints of stores that are maps in memory: what lsm's Database does with files. */
export const memoryCheckpoints = {
  take(folder: string, image: Image, mark: Uint8Array | undefined) {
    images.set(folder, new Map(image))
    const table = { name, level: 0, lower: emptyBytes, upper: emptyBytes }
    return { mark, files: [{ name, size: 0, checksum: 0 }], tables: [table] }
  },

  /** The image to which a file of `prepareIngest` belongs. */
  find(path: string): Image | undefined {
    return images.get(path.slice(0, -name.length - 1))
  },

  at(files: readonly { readonly path: string }[]): Image {
    const path = must(files[0], 'a file').path
    return must(this.find(path), `a checkpoint at ${path}`)
  },
}
