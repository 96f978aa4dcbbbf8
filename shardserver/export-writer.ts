import { copyBytes } from '../base/bytes.ts'
import { type FileSystem, joinPath, makeFolderDurably, replaceFile } from '../base/file-system.ts'
import { type TableEntry, writeTable } from '../lsm/index.ts'
import type { FileEntry } from '../raft/file-set.ts'
import { deltaRange } from './delta.ts'
import { type ExportList, encodeExportList } from './export-list.ts'
import type { GroupStore, StoreIterator, StoreSnapshot } from './group-store.ts'
import type { Pause } from './reads.ts'
import { isExpired, KeyKind, recordExpiry, shardRange } from './record.ts'
import { RecordDigest } from './record-digest.ts'
import { exportedShardState } from './small-state.ts'

/** Written last, synced: with it the folder is whole. */
export const exportListName = 'LIST'

/** A cut: what some shards held at one index of the log. */
export interface ShardCut {
  readonly id: number
  readonly attempt: number
  readonly index: number
  /** Ascending, each with its time then, ms. */
  readonly shards: readonly { readonly shard: number; readonly timeMs: number }[]
  readonly snapshot: StoreSnapshot
}

/** Keys and values of a cut in order, without delta and without what had expired. */
class CutReader {
  readonly digest = new RecordDigest()
  /** The record at which it stands: key a copy, value until the next `advance`. */
  entry: TableEntry & { readonly value: Uint8Array } = { key: new Uint8Array(0), value: new Uint8Array(0) }
  readonly #store: GroupStore
  readonly #cut: ShardCut
  readonly #pause: Pause
  #next = 0
  #timeMs = 0
  #iterator: StoreIterator | undefined

  constructor(store: GroupStore, cut: ShardCut, pause: Pause) {
    this.#store = store
    this.#cut = cut
    this.#pause = pause
  }

  /** False at the end. Rejects with what `pause` rejects with. */
  async advance(): Promise<boolean> {
    for (;;) {
      const iterator = this.#iterator ?? this.#open()
      if (iterator === undefined) return false
      const paused = this.#pause()
      if (paused !== undefined) await paused
      const step = iterator.next()
      if (!(step instanceof Promise ? await step : step)) {
        iterator.close()
        this.#iterator = undefined
      } else if (this.#take(iterator)) return true
    }
  }

  close(): void {
    this.#iterator?.close()
    this.#iterator = undefined
  }

  #open(): StoreIterator | undefined {
    const next = this.#cut.shards[this.#next++]
    if (next === undefined) return undefined
    this.#timeMs = next.timeMs
    const range = { lower: shardRange(next.shard).lower, upper: deltaRange(next.shard).lower }
    this.#iterator = this.#store.iterate({ ...range, snapshot: this.#cut.snapshot })
    return this.#iterator
  }

  #take(iterator: StoreIterator): boolean {
    const { key, value } = iterator
    if (key[2] === KeyKind.Record && isExpired(recordExpiry(value), this.#timeMs)) return false
    this.entry = { key: copyBytes(key), value: key[2] === KeyKind.ShardState ? exportedShardState(value, this.#timeMs) : value }
    this.digest.add(this.entry.key, this.entry.value)
    return true
  }
}

/**
 * Writes a cut into `folder`, which is empty or absent: tables of about `tableBytes`, then the list. All is synced when it resolves. Rejects
 * with what `pause` rejects with; leaves the folder to the caller then.
 */
export async function writeExport(
  fileSystem: FileSystem,
  folder: string,
  store: GroupStore,
  cut: ShardCut,
  tableBytes: number,
  pause: Pause,
): Promise<ExportList> {
  await makeFolderDurably(fileSystem, folder)
  const reader = new CutReader(store, cut, pause)
  const files: FileEntry[] = []
  try {
    while (await reader.advance()) {
      const name = `${String(files.length + 1).padStart(6, '0')}.sst`
      const { size, checksum } = await writeTable(fileSystem, joinPath(folder, name), someOf(reader, tableBytes))
      files.push({ name, size, checksum })
    }
  } finally {
    reader.close()
  }
  await fileSystem.syncFolder(folder)
  const { id, attempt, index } = cut
  const shards = cut.shards.map(({ shard }) => shard)
  const list = { id, attempt, cut: index, shards, digest: reader.digest.value(), records: reader.digest.records, files }
  await replaceFile(fileSystem, joinPath(folder, exportListName), encodeExportList(list))
  return list
}

/** From the record at which `reader` stands on, about `bytes`. */
async function* someOf(reader: CutReader, bytes: number): AsyncGenerator<TableEntry> {
  for (let taken = 0; ; ) {
    const { entry } = reader
    taken += entry.key.length + entry.value.length
    yield entry
    if (taken >= bytes || !(await reader.advance())) return
  }
}
