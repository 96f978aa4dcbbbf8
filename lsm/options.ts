import type { Clock } from '../base/clock.ts'
import type { Space } from '../base/disk-space.ts'
import type { Executor } from '../base/executor.ts'
import type { FileSystem } from '../base/file-system.ts'
import type { Logger } from '../base/logger.ts'
import { BlockCache } from './block-cache.ts'
import { type Compression, compressionNumber } from './compression.ts'
import { type Expiry, maxExpiryPlaces } from './expiry.ts'
import { MemtableBudget } from './memtable-budget.ts'
import { TableFiles } from './table-files.ts'
import type { TableWriterOptions } from './table-writer.ts'

export interface DatabaseOptions {
  readonly fileSystem: FileSystem
  /** Its registry must hold `lsmJobs`. */
  readonly executor: Executor
  /** For compaction; `executor` if not given. One of its own keeps a flush from waiting behind it. */
  readonly compactionExecutor?: Executor
  readonly clock: Clock
  readonly logger: Logger
  /** Made durably if absent. One database at a time may use it: who opens sees to that. */
  readonly folder: string
  /** Default true. False: nothing is durable before its memtable is flushed (`seal`). */
  readonly wal?: boolean
  /** Size at which a memtable wants to be sealed; default 64 MiB. */
  readonly memtableBytes?: number
  /** For several databases together, in the place of `memtableBytes`. */
  readonly memtableBudget?: MemtableBudget
  /** May be shared by many databases; default one of 64 MiB. */
  readonly blockCache?: BlockCache
  /** Bounds the open files; may be shared by many databases. Default one of 1,000. */
  readonly tableFiles?: TableFiles
  /** From level 1 down a table ends where the first `prefixBytes` bytes of the key change, once it has a quarter of the target size. */
  readonly boundaryOf?: 'none' | { readonly prefixBytes: number }
  /** Default 16 MiB. */
  readonly targetTableBytes?: number
  /** Payload at which a data block ends; default 4 KiB. */
  readonly blockBytes?: number
  /** Default 10. */
  readonly bloomBitsPerKey?: number
  /** Of data blocks that are written from now on, each where it saves at least an eighth; all are read. Default 'none'. */
  readonly compression?: Compression
  /** Tables of level 0 that start a compaction; default 4. */
  readonly level0CompactionTrigger?: number
  /** Tables of level 0 from which on writers are slowed; default 8. */
  readonly level0SlowdownTrigger?: number
  /** Tables of level 0 at which writers wait 50 ms for each group of writes, and with more of them ever longer; default 24. */
  readonly level0StopTrigger?: number
  /** Default 64 MiB. */
  readonly level1Bytes?: number
  /** A level's size by that of the level above it; default 10. */
  readonly levelFactor?: number
  /** Compactions at once; default 1. Of little use without as many threads in `compactionExecutor`. */
  readonly maxCompactions?: number
  /**
   * What all compactions together may write, an integer from 1 MiB to 1 TiB, or Infinity, which is the default. It does not count while level 0 wants to be compacted, since writers
   * wait for that, for a `compactRange`, or once `close` was called.
   */
  readonly compactionBytesPerSecond?: number
  /** Values that end at a moment which they carry: compaction drops them. Not given: none do. */
  readonly expiry?: Expiry
  /** A full disk is waited for: flushes and edits are tried again, compactions begin when there is room. Not given: it is a failure as any other. */
  readonly space?: Space
  /** Called once, when `failed` is set. What it throws, or rejects with, is logged. */
  readonly onFailure?: (error: Error) => void
  /** Called at the end of `close`, which waits for it: gives back what was made for this database alone. */
  readonly afterClose?: () => Promise<void>
}

export type ResolvedOptions = Required<Omit<DatabaseOptions, 'afterClose' | 'expiry' | 'onFailure' | 'space' | 'memtableBytes'>> &
  Pick<DatabaseOptions, 'afterClose' | 'expiry' | 'onFailure' | 'space'>

const MiB = 1024 * 1024

/** Least and most. */
const optionBounds = {
  targetTableBytes: [1024, 2 ** 31],
  blockBytes: [64, 2 ** 24],
  bloomBitsPerKey: [1, 40],
  level0CompactionTrigger: [1, 1000],
  level0SlowdownTrigger: [1, 1000],
  level0StopTrigger: [1, 1000],
  level1Bytes: [1024, 2 ** 50],
  levelFactor: [2, 100],
  maxCompactions: [1, 16],
} as const
type BoundedOption = keyof typeof optionBounds

/** Fills in defaults; throws RangeError naming the option. */
export function resolveOptions(options: DatabaseOptions): ResolvedOptions {
  const resolved = {
    wal: true,
    compactionExecutor: options.executor,
    boundaryOf: 'none' as const,
    targetTableBytes: 16 * MiB,
    blockBytes: 4096,
    bloomBitsPerKey: 10,
    compression: 'none' as const,
    level0CompactionTrigger: 4,
    level0SlowdownTrigger: 8,
    level0StopTrigger: 24,
    level1Bytes: 64 * MiB,
    levelFactor: 10,
    maxCompactions: 1,
    compactionBytesPerSecond: Number.POSITIVE_INFINITY,
    ...options,
    memtableBudget: options.memtableBudget ?? new MemtableBudget(options.memtableBytes ?? 64 * MiB),
    blockCache: options.blockCache ?? new BlockCache(64 * MiB),
    tableFiles: options.tableFiles ?? new TableFiles(1000),
  }
  for (const name of Object.keys(optionBounds) as BoundedOption[]) mustBeInBounds(name, resolved[name])
  compressionNumber(resolved.compression)
  mustBeARate(resolved.compactionBytesPerSecond)
  if (resolved.boundaryOf !== 'none') mustBeWithin('boundaryOf.prefixBytes', resolved.boundaryOf.prefixBytes, 1, 4096)
  if (options.expiry !== undefined) placesMustBeInBounds(options.expiry)
  if (resolved.level0StopTrigger <= resolved.level0SlowdownTrigger) {
    throw new RangeError('level0StopTrigger must be above level0SlowdownTrigger')
  }
  if (resolved.folder === '') throw new RangeError('folder must not be empty')
  return resolved
}

export function placesMustBeInBounds(expiry: Expiry): void {
  for (const name of Object.keys(maxExpiryPlaces) as (keyof typeof maxExpiryPlaces)[]) {
    mustBeWithin(`expiry.${name}`, expiry[name], 0, maxExpiryPlaces[name])
  }
}

export function tableWriterOptions({ blockBytes, bloomBitsPerKey, compression }: ResolvedOptions): TableWriterOptions {
  return { blockBytes, bloomBitsPerKey, compression }
}

/** Throws RangeError. */
export function mustBeARate(value: unknown): void {
  if (value !== Number.POSITIVE_INFINITY) mustBeWithin('compactionBytesPerSecond, if not Infinity,', value, MiB, 2 ** 40)
}

/** Throws RangeError naming the option. */
export function mustBeInBounds(name: BoundedOption, value: unknown): void {
  const [least, most] = optionBounds[name]
  mustBeWithin(name, value, least, most)
}

/** Throws RangeError naming the option. */
export function mustBeWithin(name: string, value: unknown, least: number, most: number): void {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(`${name} must be an integer from ${least} to ${most}, not ${value}`)
  }
}
