import { compareBytes } from '../base/bytes.ts'
import { CorruptionError } from '../base/errors.ts'
import type { Job, JobRegistry } from '../base/executor.ts'
import { joinPath } from '../base/file-system.ts'
import { lsmJobs, readTables } from '../lsm/index.ts'
import { decodeRecord, isExpired, KeyKind, keyPrefixBytes, kindOffset, shardOfKey } from './record.ts'
import { RecordDigest } from './record-digest.ts'
import { decodeShardState } from './shard-state-bytes.ts'

/** The files of an export, as its list has them. */
export interface DigestInput {
  readonly folder: string
  /** Names of tables; oldest run first, ascending within one. */
  readonly runs: readonly (readonly string[])[]
  /** Those whose records may be among them, and of each of which there must be the small state. */
  readonly shards: readonly number[]
}

export interface DigestOutput {
  /** `RecordDigest` of what is visible at the shards' times in it. */
  readonly digest: Uint8Array
  readonly records: number
}

export const digestJobName = 'shard.digest'

/** Reads an export whole. CorruptionError where it is none of these shards. */
const digestJob: Job<DigestInput, DigestOutput> = async ({ folder, runs, shards }, context) => {
  const reader = new ExportReader(folder, shards)
  let untilMs = context.clock.monotonicMs() + context.sliceMs
  const pause = () => {
    context.did(reader.takeBytes())
    if (context.clock.monotonicMs() < untilMs) return undefined
    return context.pause().then(() => {
      untilMs = context.clock.monotonicMs() + context.sliceMs
    })
  }
  const paths = runs.map((names) => names.map((name) => joinPath(folder, name)))
  await readTables(context.fileSystem, paths, (key, value) => reader.take(key, value), pause)
  return reader.finish()
}

/** Takes the newest entry of each key, in order: a shard's small state, which says its time, comes before its records. */
class ExportReader {
  readonly #digest = new RecordDigest()
  readonly #folder: string
  readonly #shards: ReadonlySet<number>
  /** With their times, ms; those whose small state was met. */
  readonly #times = new Map<number, number>()
  #last: Uint8Array = new Uint8Array(0)
  #lastLength = 0
  #bytes = 0

  constructor(folder: string, shards: readonly number[]) {
    this.#folder = folder
    this.#shards = new Set(shards)
  }

  take(key: Uint8Array, value: Uint8Array | undefined): void {
    if (compareBytes(key, this.#last.subarray(0, this.#lastLength)) <= 0) throw this.#damage('keys that do not ascend')
    this.#keep(key)
    this.#bytes += key.length + (value?.length ?? 0)
    const shard = shardOfKey(key)
    if (!this.#shards.has(shard) || !isOfAShard(key)) throw this.#damage('a key that is none of the moving shards')
    if (value === undefined) return
    if (key[kindOffset] === KeyKind.ShardState) this.#times.set(shard, this.#timeIn(value))
    const timeMs = this.#times.get(shard)
    if (timeMs === undefined) throw this.#damage(`shard ${shard} has no state`)
    if (key[kindOffset] === KeyKind.Record && isExpired(decodeRecord(value).expiry, timeMs)) return
    this.#digest.add(key, value)
  }

  /** Read since the last call. */
  takeBytes(): number {
    const bytes = this.#bytes
    this.#bytes = 0
    return bytes
  }

  finish(): DigestOutput {
    if (this.#times.size !== this.#shards.size) throw this.#damage('a shard has no state')
    return { digest: this.#digest.value(), records: this.#digest.records }
  }

  #timeIn(value: Uint8Array): number {
    try {
      return decodeShardState(value).timeOffsetMs
    } catch (error) {
      throw this.#damage(error instanceof Error ? error.message : String(error))
    }
  }

  #keep(key: Uint8Array): void {
    if (key.length > this.#last.length) this.#last = new Uint8Array(2 * key.length)
    this.#last.set(key)
    this.#lastLength = key.length
  }

  #damage(what: string): CorruptionError {
    return new CorruptionError(this.#folder, undefined, what)
  }
}

function isOfAShard(key: Uint8Array): boolean {
  const kind = key[kindOffset]
  if (kind === KeyKind.ShardState) return key.length === keyPrefixBytes
  return (kind === KeyKind.Session || kind === KeyKind.Record) && key.length > keyPrefixBytes
}

/** What a shard server's executor must know. Workers load this file: it needs none of what speaks to others. */
export const shardJobs: JobRegistry = { ...lsmJobs, [digestJobName]: digestJob }
