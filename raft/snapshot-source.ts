import type { FileSystem } from '../base/file-system.ts'
import { joinPath, makeFolderDurably } from '../base/file-system.ts'
import type { Logger } from '../base/logger.ts'
import { OstrakaError } from '../proto/errors.ts'
import type { pb } from '../proto/messages.ts'
import type { FileSet, FileSource } from './file-set.ts'
import { encodeDescription } from './snapshot-description.ts'
import type { StateMachine } from './state-machine.ts'

export interface SnapshotSourceOptions {
  readonly fileSystem: FileSystem
  readonly logger: Logger
  /** Each snapshot gets a folder in it. */
  readonly folder: string
  readonly stateMachine: Pick<StateMachine<unknown>, 'exportSnapshot'>
  /** Whether a snapshot may be made now. */
  mayExport(): boolean
}

interface Made {
  readonly set: FileSet
  readonly index: number
  /** Somebody has it, and will release it. */
  isGiven: boolean
}

/** Snapshots of a replica for its peers: the newest one is shared by all whom it serves, and removed when nobody wants it any more. */
export class SnapshotSource implements FileSource {
  readonly #options: SnapshotSourceOptions
  #newest: Made | undefined
  #making: Promise<Made> | undefined
  #count = 0
  #closed = false

  constructor(options: SnapshotSourceOptions) {
    this.#options = options
  }

  /** Nothing is removed any more: the next start does. */
  close(): void {
    this.#closed = true
  }

  /** Removes what an earlier process left. */
  async clear(): Promise<void> {
    await this.#options.fileSystem.removeFolder(this.#options.folder)
  }

  async open(request: pb.v1.OpenFilesRequest): Promise<FileSet> {
    const minIndex = request.snapshot?.minIndex ?? 0
    // One that is being made may be too old for who comes later.
    while (this.#making !== undefined) await this.#making.catch(() => undefined)
    if (this.#newest !== undefined && this.#newest.index >= minIndex) return give(this.#newest)
    this.#making = this.#make().finally(() => {
      this.#making = undefined
    })
    const made = await this.#making
    if (made.index < minIndex) {
      if (!made.isGiven) this.release(made.set)
      throw new OstrakaError('UNAVAILABLE', `this replica stands at entry ${made.index}, before ${minIndex}`, true)
    }
    return give(made)
  }

  release(set: FileSet): void {
    if (this.#newest?.set === set) this.#newest = undefined
    this.#remove(set)
  }

  isOver(): boolean {
    return this.#closed
  }

  #remove(set: FileSet): void {
    if (this.#closed) return
    this.#options.fileSystem.removeFolder(set.folder).catch((error: unknown) => {
      // The next start removes it.
      this.#options.logger.warn({ folder: set.folder, error: String(error) }, 'a snapshot could not be removed')
    })
  }

  async #make(): Promise<Made> {
    const { fileSystem, stateMachine, folder: parent } = this.#options
    if (!this.#options.mayExport()) throw new OstrakaError('UNAVAILABLE', 'this replica has no whole state at present', true)
    const folder = joinPath(parent, String(++this.#count))
    await makeFolderDurably(fileSystem, parent)
    try {
      const snapshot = await stateMachine.exportSnapshot(folder)
      const set = { folder, description: encodeDescription(snapshot), files: snapshot.files }
      this.#newest = { set, index: snapshot.meta.index, isGiven: false }
      return this.#newest
    } catch (error) {
      await fileSystem.removeFolder(folder).catch(() => undefined)
      throw error
    }
  }
}

function give(made: Made): FileSet {
  made.isGiven = true
  return made.set
}
