/** A list of values by log index, in a file: the state machine of tests that care for what was committed where, and for snapshots. */
import { utf8, utf8Text } from '../../base/bytes.ts'
import { crc32 } from '../../base/checksum.ts'
import { type FileSystem, joinPath, makeFolderDurably, readFile, replaceFile } from '../../base/file-system.ts'
import type { Entry } from '../../raft/core/types.ts'
import { decodeMark, encodeMark } from '../../raft/mark.ts'
import { type Standing, standBehind } from '../../raft/standing.ts'
import type { ExportedSnapshot, StateMachine } from '../../raft/state-machine.ts'

interface State {
  readonly meta: Standing
  /** [index, value] of each entry with data. */
  readonly values: readonly (readonly [index: number, value: string])[]
}

const fileName = 'state'

export class ListMachine implements StateMachine<undefined> {
  onDurable: (() => void) | undefined = undefined
  /** By index; entries without data are not here. */
  readonly values: Map<number, string>
  /** Snapshots of others that were put in place. */
  installs = 0
  readonly #fileSystem: FileSystem
  readonly #folder: string
  #durable: Standing
  #applied: Standing
  /** Writes of the file, one after the other. */
  #writing: Promise<void> = Promise.resolve()

  private constructor(fileSystem: FileSystem, folder: string, { meta, values }: State) {
    this.#fileSystem = fileSystem
    this.#folder = folder
    this.#durable = meta
    this.#applied = meta
    this.values = new Map(values)
  }

  /** `first`: where the group begins, if nothing is there yet. */
  static async open(fileSystem: FileSystem, folder: string, first: Standing): Promise<ListMachine> {
    await makeFolderDurably(fileSystem, folder)
    const path = joinPath(folder, fileName)
    const nothing = { meta: first, values: [] }
    return new ListMachine(fileSystem, folder, (await fileSystem.exists(path)) ? await readState(fileSystem, path) : nothing)
  }

  get durable(): Standing {
    return this.#durable
  }

  apply(entries: readonly Entry[]): readonly undefined[] {
    for (const entry of entries) {
      if (entry.data.length > 0) this.values.set(entry.index, utf8Text(entry.data))
      this.#applied = standBehind(this.#applied, entry)
    }
    return entries.map(() => undefined)
  }

  flush(): Promise<void> {
    this.#writing = this.#writing.then(async () => {
      const state = this.#state()
      await replaceFile(this.#fileSystem, joinPath(this.#folder, fileName), encode(state))
      this.#durable = state.meta
      this.onDurable?.()
    })
    return this.#writing
  }

  async exportSnapshot(folder: string): Promise<ExportedSnapshot> {
    await makeFolderDurably(this.#fileSystem, folder)
    const state = this.#state()
    const bytes = encode(state)
    await replaceFile(this.#fileSystem, joinPath(folder, fileName), bytes)
    return { meta: state.meta, description: utf8(''), files: [{ name: fileName, size: bytes.length, checksum: crc32(bytes) }] }
  }

  installSnapshot({ meta }: ExportedSnapshot, folder: string): Promise<void> {
    this.#writing = this.#writing.then(async () => {
      const { values } = await readState(this.#fileSystem, joinPath(folder, fileName))
      await replaceFile(this.#fileSystem, joinPath(this.#folder, fileName), encode({ meta, values }))
      this.values.clear()
      for (const [index, value] of values) this.values.set(index, value)
      this.#durable = meta
      this.#applied = meta
      this.installs++
    })
    return this.#writing
  }

  async close(): Promise<void> {}

  #state(): State {
    return { meta: this.#applied, values: [...this.values] }
  }
}

function encode({ meta, values }: State): Uint8Array {
  return utf8(JSON.stringify({ mark: Buffer.from(encodeMark(meta)).toString('base64'), values }))
}

async function readState(fileSystem: FileSystem, path: string): Promise<State> {
  const { mark, values } = JSON.parse(utf8Text(await readFile(fileSystem, path))) as { mark: string; values: State['values'] }
  return { meta: decodeMark(Buffer.from(mark, 'base64'), path), values }
}
