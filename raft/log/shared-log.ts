import { assert } from '../../base/assert.ts'
import type { Clock } from '../../base/clock.ts'
import type { Space } from '../../base/disk-space.ts'
import { CorruptionError, DiskError } from '../../base/errors.ts'
import { type FileSystem, makeFolderDurably, parentFolder } from '../../base/file-system.ts'
import type { Logger } from '../../base/logger.ts'
import type { Batch } from './batch.ts'
import { EntryCache } from './entry-cache.ts'
import { EntryIndex } from './entry-index.ts'
import type { GroupKey } from './format.ts'
import { GroupLog, type GroupStart, type LogParts } from './group-log.ts'
import { LogWriter } from './log-writer.ts'
import { initialHardState } from './recovered-group.ts'
import { type LogDamage, type Recovered, Recovery } from './recovery.ts'
import { Segments } from './segments.ts'

const defaultSegmentBytes = 64 * 1024 * 1024
const defaultCacheBytes = 64 * 1024 * 1024
const defaultIdleMarkMs = 20
/** The rest of the oldest segment is written again when it is at most this part of a segment. */
const rewriteShare = 0.25

export interface SharedLogOptions {
  readonly fileSystem: FileSystem
  readonly clock: Clock
  /** Calls back when a turn's records are in. Default: the clock's. */
  readonly soon?: (callback: () => void) => void
  readonly logger: Logger
  readonly folder: string
  /** A segment ends when the next batch would make it longer than this. At most 1 GiB. */
  readonly segmentBytes?: number
  /** Bytes of entries kept in memory, for the whole node. */
  readonly cacheBytes?: number
  /** After this long without a batch an empty one is written, whose mark covers what was acknowledged. */
  readonly idleMarkMs?: number
  /** Final: nothing further is acknowledged, the process ends. A DiskError (74); a CorruptionError (65) where nobody takes `onDamage`. */
  readonly onFailure: (error: Error) => void
  /** An entry that was read back is not what was written: this group's log is to be removed, its replica's number retired. The others go on. */
  readonly onDamage?: ((key: GroupKey, error: CorruptionError) => void) | undefined
  /** A full disk is waited for: what is queued stays queued. Not given: it is a failed write as any other. */
  readonly space?: Space
  /** For proving that tests catch it. Never set otherwise. */
  readonly unsafe?: { readonly noSync?: boolean }
}

export interface LogStats {
  readonly segments: number
  readonly bytes: number
  readonly queuedBytes: number
  readonly cachedBytes: number
  /** Batches written since open, empty ones (marks) included. */
  readonly batches: number
  readonly marks: number
  readonly syncs: number
  readonly bytesWritten: number
  /** Segments that a failed write sealed. */
  readonly sealed: number
  /** Segments freed. */
  readonly freed: number
}

/**
 * The only write-ahead log of a node, for all its Raft groups (`raft/log/README.md` has the duties, `docs/formats-log.md` the bytes).
 * One process at a time may have a folder open: the caller sees to that.
 */
export class SharedLog {
  /** Found at open, before the durable end. Not empty: exit 65, unless the lost replicas are replaced. */
  readonly damage: readonly LogDamage[]
  readonly #options: SharedLogOptions
  readonly #segments: Segments
  readonly #cache: EntryCache
  readonly #writer: LogWriter
  readonly #parts: LogParts
  readonly #lost: boolean
  readonly #byKey = new Map<string, GroupLog>()
  /** Groups with records in the log; a removed one until its tombstone is durable. */
  readonly #named = new Set<GroupLog>()
  readonly #dirty = new Set<GroupLog>()
  #nextNumber: number
  #freeing: Promise<void> | undefined
  #reclaiming: Promise<void> | undefined
  #freed = 0

  private constructor(options: SharedLogOptions, segments: Segments, cache: EntryCache, recovered: Recovered) {
    this.#options = options
    this.#segments = segments
    this.#cache = cache
    this.damage = recovered.damage
    this.#lost = recovered.lost
    this.#nextNumber = recovered.groups.highest + 1
    this.#writer = new LogWriter(
      {
        ...options,
        soon: options.soon ?? ((callback) => options.clock.soon(callback)),
        segmentBytes: options.segmentBytes ?? defaultSegmentBytes,
        idleMarkMs: options.idleMarkMs ?? defaultIdleMarkMs,
        noSync: options.unsafe?.noSync ?? false,
      },
      segments,
      {
        addWaiting: (batch) => this.#addWaiting(batch),
        addStates: (batch) => {
          for (const log of this.#named) log.addState(batch)
        },
        batchDurable: () => this.#maybeFree(),
      },
      { ...recovered, unmarked: recovered.unmarked && !recovered.lost },
    )
    this.#parts = {
      segments,
      cache,
      writer: this.#writer,
      hardStateChanged: (log) => this.#dirty.add(log),
      named: (log) => this.#named.add(log),
      damageRead: ({ key }, error) => (options.onDamage === undefined ? this.#writer.fail(error) : options.onDamage(key, error)),
      removed: (log, durably) => this.#removed(log, durably),
    }
    for (const group of recovered.groups.all()) {
      if (group.key !== undefined) this.#add({ ...group, key: group.key, named: true, damaged: group.damaged || this.#lost })
    }
    if (!this.#lost) this.#recordDamage()
  }

  /** Reads the folder's log, made if it is not there, in slices. Rejects with DiskError, or with the file system's error. */
  static async open(options: SharedLogOptions): Promise<SharedLog> {
    const { fileSystem, folder, segmentBytes } = options
    assert(segmentBytes === undefined || segmentBytes <= 2 ** 30, 'segments hold at most 1 GiB')
    await makeFolderDurably(fileSystem, folder)
    // A start that was killed may have made the folder and not synced its name. (That of the parent is its owner's to sync.)
    if (options.unsafe?.noSync !== true) await fileSystem.syncFolder(parentFolder(folder))
    const segments = new Segments()
    const cache = new EntryCache(options.cacheBytes ?? defaultCacheBytes)
    const recovery = new Recovery({ ...options, noSync: options.unsafe?.noSync ?? false }, segments, cache)
    const recovered = await recovery.run()
    for (const damage of recovered.damage) options.logger.error(damage, 'the log is damaged before its durable end')
    const log = new SharedLog(options, segments, cache, recovered)
    log.#maybeFree()
    return log
  }

  /** The log of a group, made if unknown. */
  group(key: GroupKey): GroupLog {
    const known = this.#byKey.get(keyText(key))
    if (known !== undefined) return known
    assert(!this.#lost, 'the log is damaged: no replica of this node is whole')
    const index = new EntryIndex(this.#segments, this.#cache)
    return this.#add({ number: this.#nextNumber++, key, index, hardState: initialHardState, named: false, damaged: false })
  }

  /** Groups with live records. */
  groups(): readonly GroupKey[] {
    return [...this.#byKey.values()].filter((log) => log.named).map((log) => log.key)
  }

  /** Groups that hold the oldest segment, and with how many bytes, most first: let them flush and truncate. Empty where nothing can be freed. */
  pinned(): readonly { key: GroupKey; bytes: number }[] {
    const oldest = this.#segments.oldest
    if (oldest === undefined || oldest === this.#segments.newest) return []
    const pins = [...this.#byKey.values()].map((log) => ({ key: log.key, bytes: log.pinnedIn(oldest.number) }))
    return pins.filter((pin) => pin.bytes > 0).sort((a, b) => b.bytes - a.bytes)
  }

  /**
   * Frees what can be freed: writes the rest of the oldest segment again where that is small (at most a quarter of a segment), syncs it and
   * unlinks the segment; then the next. Rejects when the log fails.
   */
  reclaim(): Promise<void> {
    this.#reclaiming ??= this.#reclaim().finally(() => {
      this.#reclaiming = undefined
    })
    return this.#reclaiming
  }

  /** Bytes of all segments. */
  get bytes(): number {
    return this.#segments.bytes
  }

  /** Bytes that wait to be written or synced: refuse work beyond a bound of your own. */
  get queuedBytes(): number {
    return this.#writer.queuedBytes
  }

  stats(): LogStats {
    const { batches, marks, syncs, bytesWritten, sealed } = this.#writer.stats
    const { count, bytes } = this.#segments
    const [queuedBytes, cachedBytes, freed] = [this.queuedBytes, this.#cache.bytes, this.#freed]
    return { segments: count, bytes, queuedBytes, cachedBytes, batches, marks, syncs, bytesWritten, sealed, freed }
  }

  /** Writes what is queued and the last mark, and closes the files. Nothing may be called afterwards. */
  async close(): Promise<void> {
    await this.#reclaiming?.catch(() => undefined)
    await this.#writer.close()
    await this.#freeing
    await this.#segments.closeAll()
  }

  #add(start: GroupStart): GroupLog {
    const log = new GroupLog(start, this.#parts)
    this.#byKey.set(keyText(log.key), log)
    if (log.named) this.#named.add(log)
    return log
  }

  /** Damage found once is known from then on, also when the segment that it lies in is freed. */
  #recordDamage(): void {
    const damaged = [...this.#byKey.values()].filter((log) => log.damaged)
    if (damaged.length === 0) return
    for (const log of damaged) log.addState(this.#writer.batch)
    for (const segment of this.#segments.all()) segment.lastDrop = this.#segments.batch
    this.#writer.lazily()
  }

  #removed(log: GroupLog, durably: boolean): void {
    this.#dirty.delete(log)
    if (durably) this.#named.delete(log)
    else if (this.#byKey.get(keyText(log.key)) === log) this.#byKey.delete(keyText(log.key))
  }

  #addWaiting(batch: Batch): void {
    for (const log of this.#dirty) log.addHardState(batch)
    this.#dirty.clear()
  }

  async #reclaim(): Promise<void> {
    const limit = rewriteShare * (this.#options.segmentBytes ?? defaultSegmentBytes)
    for (;;) {
      await this.#maybeFree()
      if (this.#writer.failure !== undefined) throw this.#writer.failure
      const oldest = this.#segments.oldest
      // Looked at first: where nothing can be freed no batch is forced.
      if (oldest === undefined || oldest === this.#segments.newest || oldest.live > limit) return
      await this.#writer.flush()
      await this.#maybeFree()
      if (this.#segments.oldest !== oldest) continue
      if (!(await this.#rewrite(oldest.number))) return
      await this.#writer.flush()
      await this.#maybeFree()
      if (this.#segments.oldest === oldest) return
    }
  }

  /** Writes all that lies in segment `number` again. False: some of it is damaged, and goes with the log that it is of. */
  async #rewrite(number: number): Promise<boolean> {
    try {
      for (const log of [...this.#byKey.values()]) if (log.pinnedIn(number) > 0) await log.rewrite(number)
      return true
    } catch (error) {
      if (!(error instanceof CorruptionError) || this.#writer.failure !== undefined) throw error
      return false
    }
  }

  /** Unlinks segments, oldest first, that nobody needs and whose successors, with all that made them needless, are durable. */
  #maybeFree(): Promise<void> {
    if (this.#freeing === undefined && this.#mayFree()) {
      this.#freeing = this.#free().finally(() => {
        this.#freeing = undefined
      })
    }
    return this.#freeing ?? Promise.resolve()
  }

  #mayFree(): boolean {
    const oldest = this.#segments.oldest
    if (oldest === undefined || this.#lost || this.#writer.failure !== undefined) return false
    const { segment, offset } = this.#writer.synced
    return oldest.live === 0 && oldest.number < segment && offset > 0 && oldest.lastDrop <= this.#writer.durableBatch
  }

  async #free(): Promise<void> {
    try {
      while (this.#mayFree()) {
        const path = this.#segments.oldest?.path ?? ''
        await this.#segments.removeOldest()
        await this.#options.fileSystem.unlink(path)
        // Before the next one: a crash must not leave a younger segment gone and an older one there.
        if (this.#options.unsafe?.noSync !== true) await this.#options.fileSystem.syncFolder(this.#options.folder)
        this.#freed++
      }
    } catch (error) {
      this.#writer.fail(new DiskError('cannot free a segment of the log', { cause: error }))
    }
  }
}

function keyText(key: GroupKey): string {
  return `${key.uid}/${key.replica}`
}
