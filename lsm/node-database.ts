import { joinPath, makeFolderDurably } from '../base/file-system.ts'
import { type Logger, silentLogger } from '../base/logger.ts'
import { NodeClock } from '../base/node-clock.ts'
import { NodeFileSystem } from '../base/node-file-system.ts'
import { type FolderLock, lockFolder } from '../base/node-folder-lock.ts'
import { BlockCache } from './block-cache.ts'
import { type Compression, compressionNumber } from './compression.ts'
import { Database } from './database.ts'
import type { Expiry } from './expiry.ts'
import { JobLanes } from './job-lanes.ts'
import type { Abortable } from './kind.ts'
import { MemtableBudget } from './memtable-budget.ts'
import { mustBeARate, mustBeInBounds, mustBeWithin, placesMustBeInBounds } from './options.ts'
import { TableFiles } from './table-files.ts'
import { currentName } from './table-metadata.ts'

/** Of `openDatabase`; what is undefined has its default. `signal`: aborts the opening, nothing else. */
export interface OpenOptions extends Abortable {
  /** Default true. False: DatabaseMissingError where there is none. */
  readonly createIfMissing?: boolean | undefined
  /** Default false. True: DatabaseExistsError where there is one. */
  readonly errorIfExists?: boolean | undefined
  /** Size at which a memtable is flushed, 1 KiB to 2 GiB; default 64 MiB. Up to three of them are held. */
  readonly memtableBytes?: number | undefined
  /** Of blocks that were read; default 64 MiB, 0: none. */
  readonly cacheBytes?: number | undefined
  /** Files of tables that are open at once, 1 to 1,000,000; default 1,000. What a compaction or a flush opens is not counted: as many as there are tables in level 0, and a few. */
  readonly maxOpenTables?: number | undefined
  /** Payload at which a data block ends, 64 bytes to 16 MiB; default 4 KiB. */
  readonly blockBytes?: number | undefined
  /** 1 to 40; default 10. */
  readonly bloomBitsPerKey?: number | undefined
  /**
   * Of what is written from now on, each block of data where it saves at least an eighth; what is there is read whatever it is. 'snappy' needs
   * the package of that name. Default 'none'.
   */
  readonly compression?: Compression | undefined
  /** Compactions at once, each in a thread of its own, 1 to 16; default 1. More pay where cores are free. */
  readonly maxCompactions?: number | undefined
  /**
   * What all compactions together may write, an integer from 1 MiB to 1 TiB, or Infinity, which is the default. It does not count while level 0 wants
   * to be compacted, since writers wait for that, for a `compactRange`, or once `close` was called.
   */
  readonly compactionBytesPerSecond?: number | undefined
  /** Values that carry a moment at which they end; compactions drop those that have expired. Default: none does. */
  readonly expiry?: Expiry | undefined
  /** Default: nothing is logged. */
  readonly logger?: Logger | undefined
  /** Called once, when `Database.failed` is set. */
  readonly onFailure?: ((error: Error) => void) | undefined
}

export class DatabaseMissingError extends Error {
  override readonly name = 'DatabaseMissingError'
  readonly folder: string

  constructor(folder: string) {
    super(`a database in ${folder} does not exist`)
    this.folder = folder
  }
}

export class DatabaseExistsError extends Error {
  override readonly name = 'DatabaseExistsError'
  readonly folder: string

  constructor(folder: string) {
    super(`a database in ${folder} exists already`)
    this.folder = folder
  }
}

const MiB = 1024 * 1024
const maxCacheBytes = 2 ** 40

/**
 * The database of `folder`, with a WAL, on the machine's files, with worker threads for flush and compaction (started by their first job)
 * and a block cache of its own. The folder is this database's alone until `close`, which also ends the threads.
 *
 * Throws TypeError or RangeError naming the option, FolderLockedError naming the process that has the folder, DatabaseMissingError,
 * DatabaseExistsError, CorruptionError, the signal's reason, or the system's error.
 */
export async function openDatabase(folder: string, options: OpenOptions = {}): Promise<Database> {
  check(folder, options)
  const { signal } = options
  const budget = new MemtableBudget(options.memtableBytes ?? 64 * MiB)
  const tableFiles = new TableFiles(options.maxOpenTables ?? 1000)
  signal?.throwIfAborted()
  const fileSystem = new NodeFileSystem()
  const exists = () => fileSystem.exists(joinPath(folder, currentName))
  if (options.createIfMissing === false && !(await exists())) throw new DatabaseMissingError(folder)
  await makeFolderDurably(fileSystem, folder)
  const lock = await lockFolder(folder)
  const maxCompactions = options.maxCompactions ?? 1
  const lanes = new JobLanes({ compactions: maxCompactions })
  let database: Database
  try {
    signal?.throwIfAborted()
    if (options.errorIfExists === true && (await exists())) throw new DatabaseExistsError(folder)
    database = await Database.open({
      fileSystem,
      executor: lanes,
      clock: new NodeClock(),
      logger: options.logger ?? silentLogger,
      folder,
      memtableBudget: budget,
      blockCache: new BlockCache(options.cacheBytes ?? 64 * MiB),
      tableFiles,
      maxCompactions,
      ...(options.blockBytes === undefined ? {} : { blockBytes: options.blockBytes }),
      ...(options.bloomBitsPerKey === undefined ? {} : { bloomBitsPerKey: options.bloomBitsPerKey }),
      ...(options.compression === undefined ? {} : { compression: options.compression }),
      ...(options.compactionBytesPerSecond === undefined ? {} : { compactionBytesPerSecond: options.compactionBytesPerSecond }),
      ...(options.expiry === undefined ? {} : { expiry: options.expiry }),
      ...(options.onFailure === undefined ? {} : { onFailure: options.onFailure }),
      afterClose: () => giveBack(lanes, lock),
    })
  } catch (error) {
    await giveBack(lanes, lock)
    throw error
  }
  if (signal?.aborted) {
    await database.close()
    throw signal.reason
  }
  return database
}

async function giveBack(lanes: JobLanes, lock: FolderLock): Promise<void> {
  try {
    await lanes.close()
  } finally {
    await lock.release()
  }
}

const checks: { readonly [Name in keyof OpenOptions]-?: (value: unknown) => void } = {
  createIfMissing: (value) => mustBeA('boolean', 'createIfMissing', value),
  errorIfExists: (value) => mustBeA('boolean', 'errorIfExists', value),
  // In bounds or not: its budget says.
  memtableBytes: (value) => mustBeA('number', 'memtableBytes', value),
  cacheBytes: (value) => {
    mustBeA('number', 'cacheBytes', value)
    mustBeWithin('cacheBytes', value, 0, maxCacheBytes)
  },
  // In bounds or not: the class says.
  maxOpenTables: (value) => mustBeA('number', 'maxOpenTables', value),
  blockBytes: (value) => {
    mustBeA('number', 'blockBytes', value)
    mustBeInBounds('blockBytes', value)
  },
  bloomBitsPerKey: (value) => {
    mustBeA('number', 'bloomBitsPerKey', value)
    mustBeInBounds('bloomBitsPerKey', value)
  },
  compression: (value) => {
    compressionNumber(value)
  },
  maxCompactions: (value) => {
    mustBeA('number', 'maxCompactions', value)
    mustBeInBounds('maxCompactions', value)
  },
  compactionBytesPerSecond: (value) => {
    mustBeA('number', 'compactionBytesPerSecond', value)
    mustBeARate(value)
  },
  expiry: (value) => {
    mustBeA('object', 'expiry', value)
    const expiry = value as Expiry
    mustBeA('function', 'expiry.horizons', expiry.horizons)
    placesMustBeInBounds(expiry)
  },
  logger: (value) => mustBeA('object', 'logger', value),
  onFailure: (value) => mustBeA('function', 'onFailure', value),
  signal: (value) => {
    if (!(value instanceof AbortSignal)) throw new TypeError('signal must be an AbortSignal')
  },
}

function check(folder: unknown, options: object): void {
  if (typeof folder !== 'string' || folder === '') throw new TypeError('folder must be a string that is not empty')
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(checks, name)) throw new TypeError(`there is no option '${name}'`)
    if (value !== undefined) checks[name as keyof OpenOptions](value)
  }
}

function mustBeA(type: 'boolean' | 'number' | 'object' | 'function', name: string, value: unknown): void {
  if (typeof value !== type || value === null) throw new TypeError(`${name} must be a ${type}`)
}
