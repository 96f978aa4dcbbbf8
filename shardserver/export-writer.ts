import { unlessAborted } from '../base/abort.ts'
import type { Executor } from '../base/executor.ts'
import { type FileSystem, joinPath, makeFolderDurably, replaceFile } from '../base/file-system.ts'
import { writeTable } from '../lsm/index.ts'
import { deltaRange } from './delta.ts'
import { type ExportFile, type ExportList, encodeExportList, runsOf } from './export-list.ts'
import type { GroupStore, StoreSnapshot } from './group-store.ts'
import { type DigestInput, type DigestOutput, digestJobName } from './jobs.ts'
import { encodeKey, KeyKind, shardRange } from './record.ts'

/** Written last, synced: with it the folder is whole. */
export const exportListName = 'LIST'
/** The table of the shards' small states; tables of the store have numbers for names. */
const statesName = 'states.sst'

export interface CutShard {
  readonly shard: number
  /** Its time at the cut, ms. */
  readonly timeMs: number
  /** `exportedShardState` at the cut. */
  readonly state: Uint8Array
}

/** A cut: what some shards held at one index of the log. */
export interface ShardCut {
  readonly id: number
  readonly attempt: number
  readonly index: number
  /** Ascending. */
  readonly shards: readonly CutShard[]
  /** Of the cut's moment; there when all up to it is durable. */
  readonly snapshot: Promise<StoreSnapshot>
}

export interface ExportWorld {
  readonly fileSystem: FileSystem
  /** Knows `shardJobs`. */
  readonly executor: Executor
  readonly store: GroupStore
}

/**
 * Makes the files of a cut in `folder`, which is empty or absent: tables linked or written by the store, without delta, the small states above
 * them, and at last the list, with the digest that a job has read out of them. All is synced when it resolves. Rejects with the signal's reason between
 * two steps; leaves folder and snapshot, which is else released, to the caller then.
 */
export async function writeExport(
  { fileSystem, executor, store }: ExportWorld,
  folder: string,
  cut: ShardCut,
  signal: AbortSignal,
): Promise<ExportList> {
  const snapshot = await unlessAborted(cut.snapshot, signal)
  await makeFolderDurably(fileSystem, folder)
  const ranges = cut.shards.map(({ shard, timeMs }) => ({
    lower: shardRange(shard).lower,
    upper: deltaRange(shard).lower,
    moment: timeMs,
  }))
  const runs = await store.exportRanges(snapshot, ranges, folder, { signal })
  // The files are there: a digest of them may take its time, and compactions need not keep for it what was overwritten.
  snapshot.release()
  signal.throwIfAborted()
  const states = cut.shards.map(({ shard, state }) => ({ key: encodeKey(shard, KeyKind.ShardState), value: state }))
  const { size, checksum } = await writeTable(fileSystem, joinPath(folder, statesName), states)
  await fileSystem.syncFolder(folder)
  const files = [...runs, [{ name: statesName, size, checksum }]].flatMap((run, i) => run.map((file): ExportFile => ({ ...file, run: i })))
  const { id, attempt, index } = cut
  const list = { id, attempt, cut: index, shards: cut.shards.map(({ shard }) => shard), digest: new Uint8Array(0), records: 0, files }
  signal.throwIfAborted()
  const { digest, records } = await digestExport(executor, folder, list)
  const whole = { ...list, digest, records }
  signal.throwIfAborted()
  await replaceFile(fileSystem, joinPath(folder, exportListName), encodeExportList(whole))
  return whole
}

/** Of the files in `folder` that are listed. Rejects with CorruptionError where they are none of the list's shards. */
export function digestExport(executor: Executor, folder: string, list: ExportList): Promise<DigestOutput> {
  return executor.run<DigestInput, DigestOutput>(digestJobName, { folder, runs: runsOf(list), shards: list.shards })
}
