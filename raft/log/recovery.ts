import type { Clock } from '../../base/clock.ts'
import { DiskError } from '../../base/errors.ts'
import { type File, type FileSystem, joinPath } from '../../base/file-system.ts'
import type { Logger } from '../../base/logger.ts'
import { BatchRewriter } from './batch-rewriter.ts'
import type { EntryCache } from './entry-cache.ts'
import { batchHeaderBytes, comparePositions, formatVersion, type GroupKey, type LogPosition, segmentName, segmentNumber } from './format.ts'
import { RecoveredGroups } from './recovered-group.ts'
import { type ScannedBatch, SegmentScanner } from './segment-scanner.ts'
import type { Segment, Segments } from './segments.ts'

/** A turn of recovery is not longer than about this. */
const sliceMs = 2

/** Something before the durable end is not what was written. `group` undefined: every replica of the node is lost. */
export interface LogDamage {
  readonly group: GroupKey | undefined
  readonly file: string
  readonly offset: number
  readonly what: string
  /** No damage: a newer release wrote what this one cannot read. */
  readonly isNewer: boolean
}

export interface RecoveryOptions {
  readonly fileSystem: FileSystem
  readonly clock: Clock
  readonly logger: Logger
  readonly folder: string
  readonly noSync: boolean
}

export interface Recovered {
  readonly groups: RecoveredGroups
  readonly damage: readonly LogDamage[]
  /** Every replica is lost: the log was left as it is and takes nothing. */
  readonly lost: boolean
  readonly active: Segment | undefined
  readonly batch: number
  readonly synced: LogPosition
  /** The newest batch holds records and no mark covers it. */
  readonly unmarked: boolean
}

/** Bad bytes of which it is not yet known on which side of the durable end they lie. */
interface Pending {
  readonly at: LogPosition
  readonly what: string
  /** Undefined: not even the batch's header is whole. */
  readonly batch: ScannedBatch | undefined
}

interface Found {
  readonly number: number
  readonly path: string
  readonly file: File
  readonly size: number
}

/**
 * Reads the log once from its oldest segment to its end. Bad bytes wait until a later valid header tells, by its `syncedUpTo`, that they
 * lie before the durable end (damage); those of which none does are the torn tail. Repeating it changes nothing.
 */
export class Recovery {
  readonly #options: RecoveryOptions
  readonly #segments: Segments
  readonly #groups: RecoveredGroups
  readonly #damage: (Omit<LogDamage, 'group'> & { readonly group: number | undefined })[] = []
  #pending: Pending | undefined
  #lost = false
  #lastBatch = 0
  /** End of the last batch that was taken. */
  #end: LogPosition = { segment: 1, offset: 0 }
  #unmarked = false
  /** All below it was durable: the highest `syncedUpTo` of a valid header. */
  #durable: LogPosition = { segment: 1, offset: 0 }
  #sliceStart = 0

  constructor(options: RecoveryOptions, segments: Segments, cache: EntryCache) {
    this.#options = options
    this.#segments = segments
    this.#groups = new RecoveredGroups(segments, cache)
  }

  async run(): Promise<Recovered> {
    const found = await this.#open()
    this.#sliceStart = this.#options.clock.monotonicMs()
    for (const [i, segment] of found.entries()) {
      this.#segments.add(segment.number, segment.path, segment.file, segment.size)
      const next = found[i + 1]
      if (next !== undefined && next.number !== segment.number + 1) this.#loseAll(next.path, 0, `segment ${segment.number + 1} is missing`)
      if (this.#lost) continue
      await this.#scan(segment, next)
    }
    if (this.#lost) return this.#result(undefined)
    this.#checkMissing(found)
    const active = await this.#mend(found)
    return this.#result(active)
  }

  async #open(): Promise<Found[]> {
    const { fileSystem, folder } = this.#options
    const names = await fileSystem.list(folder)
    const numbers = names.map(segmentNumber).filter((number) => number !== undefined)
    numbers.sort((a, b) => a - b)
    const found: Found[] = []
    for (const number of numbers) {
      const path = joinPath(folder, segmentName(number))
      const file = await fileSystem.open(path, 'write')
      found.push({ number, path, file, size: await file.size() })
    }
    return found
  }

  async #scan(segment: Found, next: Found | undefined): Promise<void> {
    const breathe = () => this.#breathe()
    const end = await this.#sealedEnd(segment, next)
    const scanner = new SegmentScanner(segment.number, segment.file, Math.min(end, segment.size), breathe)
    let offset = 0
    while (offset < scanner.end && !this.#lost) {
      const header = await scanner.header(offset)
      if (header !== undefined && header.version !== formatVersion) {
        // Never a torn tail: cutting what a newer release wrote would lose it.
        this.#loseAll(segment.path, offset, `format version ${header.version}, this release reads ${formatVersion}`, true)
        return
      }
      if (header === undefined || header.batch <= this.#lastBatch) {
        this.#suspect({ segment: segment.number, offset }, 'damaged batch header', undefined)
        const later = await scanner.nextHeader(offset + 8)
        if (later === undefined) break
        offset = later
        continue
      }
      this.#learn(header.syncedUpTo)
      if (this.#lost) return
      const batch = await scanner.batch(header)
      const { unknown } = batch
      if (unknown !== undefined) {
        const what = `a record of kind ${unknown.kind}, which this release does not know (group ${unknown.group})`
        this.#loseAll(segment.path, unknown.offset, what, true)
        return
      }
      offset = header.offset + batchHeaderBytes + header.bodyLength
      if (this.#pending !== undefined) continue
      this.#lastBatch = header.batch
      const bad = batch.bad[0]
      if (bad !== undefined) this.#suspect({ segment: segment.number, offset: header.offset }, bad.what, batch)
      else this.#take(batch, segment.path)
    }
    if (segment.size < end && this.#pending === undefined && !this.#lost) {
      this.#suspect({ segment: segment.number, offset: segment.size }, 'the file ends too early', undefined)
    }
  }

  /** Where the segment ends: what the first batch of the next one says, else its file's end. */
  async #sealedEnd(segment: Found, next: Found | undefined): Promise<number> {
    if (next === undefined) return segment.size
    const header = await new SegmentScanner(next.number, next.file, next.size, () => this.#breathe()).header(0)
    if (header === undefined || header.version !== formatVersion) return segment.size
    // Not even its first batch was written whole, and the next segment has it.
    if (header.syncedUpTo.segment < segment.number) return 0
    return header.syncedUpTo.segment === segment.number ? header.syncedUpTo.offset : segment.size
  }

  #suspect(at: LogPosition, what: string, batch: ScannedBatch | undefined): void {
    this.#pending ??= { at, what, batch }
  }

  /** All below `durable` was durable. */
  #learn(durable: LogPosition): void {
    if (comparePositions(durable, this.#durable) > 0) this.#durable = durable
    const pending = this.#pending
    if (pending === undefined || comparePositions(pending.at, durable) >= 0) return
    this.#pending = undefined
    const file = joinPath(this.#options.folder, segmentName(pending.at.segment))
    const { batch } = pending
    if (batch === undefined) {
      this.#loseAll(file, pending.at.offset, pending.what)
      return
    }
    for (const bad of batch.bad) {
      if (bad.group === undefined) {
        this.#loseAll(file, bad.offset, bad.what)
        return
      }
      this.#addDamage(bad.group, file, bad.offset, bad.what)
    }
    this.#take(batch, file)
  }

  #take(batch: ScannedBatch, file: string): void {
    const { header } = batch
    for (const { group, offset, what } of this.#groups.apply(batch, header.segment)) this.#addDamage(group, file, offset, what)
    for (const bad of batch.bad) if (bad.group !== undefined) this.#groups.markDamaged(bad.group)
    this.#end = { segment: header.segment, offset: header.offset + batchHeaderBytes + header.bodyLength }
    this.#unmarked = header.records > 0
  }

  #addDamage(group: number, file: string, offset: number, what: string): void {
    this.#damage.push({ group, file, offset, what, isNewer: false })
    this.#groups.markDamaged(group)
  }

  #loseAll(file: string, offset: number, what: string, isNewer = false): void {
    this.#lost = true
    this.#damage.push({ group: undefined, file, offset, what, isNewer })
  }

  /** Entries that no segment holds, and groups that an older start already found damaged. */
  #checkMissing(found: readonly Found[]): void {
    const file = found[0]?.path ?? this.#options.folder
    for (const group of this.#groups.all()) {
      const missing = group.damaged ? undefined : group.index.firstMissing()
      if (missing !== undefined) {
        const what = `entry ${missing} of group ${group.number} is in no segment`
        this.#addDamage(group.number, file, 0, what)
      } else if (group.damaged && !this.#damage.some((damage) => damage.group === group.number)) {
        const what = `group ${group.number} was damaged before`
        this.#damage.push({ group: group.number, file, offset: 0, what, isNewer: false })
      }
    }
  }

  /** Cuts the torn tail and makes all that was read durable: a crash of the process alone leaves bytes that were never synced. */
  async #mend(found: readonly Found[]): Promise<Segment | undefined> {
    const { fileSystem, folder, logger } = this.#options
    const newest = found.at(-1)
    if (newest === undefined) return undefined
    const torn = this.#pending?.at
    const keep = torn?.segment ?? newest.number
    try {
      for (const late of found.filter((segment) => segment.number > keep).reverse()) {
        await this.#segments.removeNewest()
        await fileSystem.unlink(late.path)
        await this.#syncFolder()
      }
      const active = this.#segments.get(keep)
      if (active === undefined) return undefined
      if (torn !== undefined) {
        logger.warn({ file: active.path, offset: torn.offset, what: this.#pending?.what }, 'cut the torn tail of the log')
        await active.file.truncate(torn.offset)
        active.length = torn.offset
      }
      if (!this.#options.noSync) await this.#makeDurable(keep)
      await this.#syncFolder()
      return active
    } catch (error) {
      throw new DiskError(`cannot mend the log in ${folder}`, { cause: error })
    }
  }

  /**
   * Writes the batches behind the durable end again, in place, and syncs them. The sync alone would not do: after one that failed under an
   * earlier process the system takes pages that were never written for clean, and a power loss later takes them away
   * (Rebello et al., "Can Applications Recover from fsync Failures?", 2020). What reads otherwise than before is damage: the scan has taken it
   * for whole, so it may have been acknowledged.
   */
  async #makeDurable(newest: number): Promise<void> {
    for (let number = this.#durable.segment; number <= newest; number++) {
      const segment = this.#segments.get(number)
      if (segment === undefined) continue
      // The first batch of a segment says that all in older ones was durable: what is not lies in the one in which the log ends.
      if (number === this.#end.segment) await this.#rewrite(segment, number === this.#durable.segment ? this.#durable.offset : 0)
      await segment.file.sync()
    }
  }

  async #rewrite(segment: Segment, from: number): Promise<void> {
    for (const { group, offset, what } of await new BatchRewriter(segment, from, this.#end.offset).run()) {
      if (group === undefined) this.#loseAll(segment.path, offset, what)
      else this.#addDamage(group, segment.path, offset, what)
    }
  }

  async #syncFolder(): Promise<void> {
    if (!this.#options.noSync) await this.#options.fileSystem.syncFolder(this.#options.folder)
  }

  #result(active: Segment | undefined): Recovered {
    const keyOf = (group: number | undefined) => (group === undefined ? undefined : this.#groups.keyOf(group))
    return {
      groups: this.#groups,
      damage: this.#damage.map((damage) => ({ ...damage, group: keyOf(damage.group) })),
      lost: this.#lost || this.#damage.some((damage) => keyOf(damage.group) === undefined),
      active,
      batch: this.#lastBatch,
      synced: this.#end,
      unmarked: this.#unmarked,
    }
  }

  async #breathe(): Promise<void> {
    const { clock } = this.#options
    if (clock.monotonicMs() - this.#sliceStart < sliceMs) return
    await new Promise<void>((resolve) => clock.soon(resolve))
    this.#sliceStart = clock.monotonicMs()
  }
}
