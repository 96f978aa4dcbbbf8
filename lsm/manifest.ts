import { ByteReader, ByteWriter } from '../base/bytes.ts'
import { isOutOfSpace, onceThereIsRoom, type Space } from '../base/disk-space.ts'
import { CorruptionError } from '../base/errors.ts'
import { type FileSystem, joinPath, readFile, replaceFile } from '../base/file-system.ts'
import { decodeRecordFile, encodeRecordFile, scanRecords } from '../base/framed-record.ts'
import type { Logger } from '../base/logger.ts'
import { RecordWriter } from './record-writer.ts'
import { removeUnused } from './remove-unused.ts'
import { currentName, databaseFileKind, isTableOrLog, manifestName } from './table-metadata.ts'
import { applyEdit, type DurableState, decodeEdit, emptyState, encodeEdit, type VersionEdit, wholeState } from './version-edit.ts'

/** Where the manifest is, and whom it tells. With `space` a full disk is waited for. */
export interface ManifestOptions {
  readonly fileSystem: FileSystem
  readonly folder: string
  readonly logger: Logger
  readonly space?: Space | undefined
}

/** Set apart from the log's records: a number goes with the salt. */
export const manifestSalt = 0x4d414e49
const rollFactor = 4
const rollBytes = 1024 * 1024

/**
 * The durable state: MANIFEST-n, framed records of version edits, and CURRENT, a record that holds n. A new manifest begins at each open
 * and when the old one has grown, with the whole state in one record; it counts from the durable rename of CURRENT on.
 */
export class Manifest {
  readonly #options: ManifestOptions
  #state: DurableState
  #number = 0
  #writer: RecordWriter | undefined
  /** Size of the record with the whole state that the current manifest began with. */
  #wholeBytes = 0
  #queue: Promise<unknown> = Promise.resolve()

  private constructor(options: ManifestOptions, state: DurableState) {
    this.#options = options
    this.#state = state
  }

  get state(): DurableState {
    return this.#state
  }

  get number(): number {
    return this.#number
  }

  /** Takes a number for a file, an id or an order. */
  newNumber(): number {
    return this.reserveNumbers(1)
  }

  /** Takes `count` numbers in a row and returns the first. */
  reserveNumbers(count: number): number {
    const first = this.#state.nextNumber
    this.#state = { ...this.#state, nextNumber: first + count }
    return first
  }

  /** Reads the state of the folder. `names`: what is in it. Nothing is written: `roll` begins the new manifest. */
  static async open(options: ManifestOptions, names: readonly string[]): Promise<Manifest> {
    const { fileSystem, folder } = options
    const currentPath = joinPath(folder, currentName)
    if (!names.includes(currentName)) {
      const left = names.find(isTableOrLog)
      if (left !== undefined) throw new CorruptionError(currentPath, undefined, `missing, though ${left} is there`)
      const manifest = new Manifest(options, emptyState)
      // A crash during the first open leaves manifests that nothing points to: their numbers must not be met again.
      manifest.skipNumbers(names)
      return manifest
    }
    const number = decodeCurrent(decodeRecordFile(await readFile(fileSystem, currentPath), currentPath), currentPath)
    const path = joinPath(folder, manifestName(number))
    if (!names.includes(manifestName(number))) throw new CorruptionError(path, undefined, 'missing, though CURRENT names it')
    const { payloads, offsets } = scanRecords(await readFile(fileSystem, path), { file: path, salt: manifestSalt + number, durable: 1 })
    let state = emptyState
    payloads.forEach((payload, i) => {
      state = applyEdit(state, decodeEdit(payload, path, offsets[i] as number))
    })
    const manifest = new Manifest(options, state)
    manifest.#number = number
    manifest.skipNumbers(names)
    return manifest
  }

  /** Numbers of files that lie in the folder, also of orphans, are never given out again. */
  skipNumbers(names: readonly string[]): void {
    for (const name of names) {
      const { number = 0 } = databaseFileKind(name)
      if (number >= this.#state.nextNumber) this.#state = { ...this.#state, nextNumber: number + 1 }
    }
  }

  /**
   * Makes an edit durable. `build` sees the state that the edit will be applied to; edits follow one another in the order of the calls.
   * `install` runs in the turn in which `state` becomes the new one. `build` may return undefined: nothing happens, and the result is false.
   * A failure is final: later commits fail too.
   */
  commit(
    build: (state: DurableState) => VersionEdit | undefined | Promise<VersionEdit | undefined>,
    install: (state: DurableState) => void,
  ): Promise<boolean> {
    const done = this.#queue.then(async () => {
      const writer = this.#writer
      if (writer === undefined) throw new Error('the manifest is closed')
      const edit = await build(this.#state)
      if (edit === undefined) return false
      const record = encodeEdit({ ...edit, nextNumber: this.#state.nextNumber })
      await onceThereIsRoom(this.#options.space, () => writer.append([record]))
      await writer.sync()
      this.#state = applyEdit(this.#state, edit)
      install(this.#state)
      if (writer.end > Math.max(rollBytes, rollFactor * this.#wholeBytes)) await this.#roll()
      else await this.#mark(writer)
      return true
    })
    this.#queue = done
    // Who commits is told; later ones fail by themselves.
    done.catch(() => undefined)
    return done
  }

  /** Begins a new manifest with the whole state. */
  roll(): Promise<void> {
    const done = this.#queue.then(() => this.#roll())
    this.#queue = done
    done.catch(() => undefined)
    return done
  }

  async close(): Promise<void> {
    await this.#queue.catch(() => undefined)
    await this.#writer?.close()
    this.#writer = undefined
  }

  async #roll(): Promise<void> {
    const { fileSystem, folder, space, logger } = this.#options
    const old = this.#number
    const { writer, number } = await onceThereIsRoom(space, async () => {
      const number = this.newNumber()
      return { ...(await writeManifest(fileSystem, folder, number, this.#state)), number }
    })
    const before = this.#writer
    this.#writer = writer
    this.#wholeBytes = writer.end
    this.#number = number
    await before?.close()
    await this.#mark(writer)
    if (old > 0) await removeUnused(fileSystem, joinPath(folder, manifestName(old)), logger)
  }

  /** A mark is of use and not needed: it never waits for room. */
  async #mark(writer: RecordWriter): Promise<void> {
    try {
      await writer.mark()
    } catch (error) {
      if (!isOutOfSpace(error)) throw error
    }
  }
}

/** Writes a manifest that holds `state` and points CURRENT to it, durably. Where it rejects, its number is not met again. */
export async function writeManifest(
  fileSystem: FileSystem,
  folder: string,
  number: number,
  state: DurableState,
): Promise<{ writer: RecordWriter }> {
  const file = await fileSystem.open(joinPath(folder, manifestName(number)), 'create')
  const writer = new RecordWriter(file, manifestSalt + number, 0)
  let isNamed = false
  try {
    await writer.append([encodeEdit(wholeState(state))])
    await writer.sync()
    await fileSystem.syncFolder(folder)
    const content = new ByteWriter()
    content.varint(number)
    isNamed = true
    await replaceFile(fileSystem, joinPath(folder, currentName), encodeRecordFile(content.finish()))
  } catch (error) {
    await writer.close().catch(() => undefined)
    // Once CURRENT may name it, it stays.
    if (!isNamed) await fileSystem.unlink(file.path).catch(() => undefined)
    throw error
  }
  return { writer }
}

/** The number of the manifest that CURRENT names: its content is `payload`. */
export function decodeCurrent(payload: Uint8Array, path: string): number {
  try {
    return new ByteReader(payload).varint()
  } catch {
    throw new CorruptionError(path, 0, 'no manifest number')
  }
}
