import { assert, must } from '../base/assert.ts'
import { compareRanges } from '../base/bytes.ts'
import type { Job, JobContext, JobRegistry } from '../base/executor.ts'
import { type PaceCell, Throttle } from './compaction-pace.ts'
import { type Damage, errorOf } from './damage.ts'
import { ExpiredValues, type ExpiryInput } from './expiry.ts'
import { InputTables } from './input-tables.ts'
import { kindTombstone } from './kind.ts'
import type { MemtableImage } from './memtable.ts'
import { ImageReader } from './memtable-source.ts'
import { Merge, type Source } from './source.ts'
import { TableMemory } from './table-memory.ts'
import type { TableMetadata, WrittenTable } from './table-metadata.ts'
import { TableReader } from './table-reader.ts'
import { RunSource } from './table-source.ts'
import { TableWriter, type TableWriterOptions, tablePath } from './table-writer.ts'
import { verifyTable } from './verify-table.ts'

/** The database's work off the main thread. Jobs open files by name, sync the tables that they write, and leave folders to the caller. */

export interface FlushInput {
  readonly folder: string
  readonly file: number
  readonly image: MemtableImage
  readonly writer: TableWriterOptions
}

export interface CompactionInput {
  readonly folder: string
  /** Where the tables are written. */
  readonly outputFolder: string
  /** As in `CompactionPlan`. */
  readonly inputs: readonly (readonly TableMetadata[])[]
  /** Numbers that the job may give its files. */
  readonly firstFile: number
  readonly fileCount: number
  /** Infinity: all in one. */
  readonly targetTableBytes: number
  /** 0: tables end nowhere in particular. */
  readonly boundaryPrefixBytes: number
  /** `olderRanges` of its plan. */
  readonly deeper: readonly { readonly lower: Uint8Array; readonly upper: Uint8Array }[]
  readonly pace: PaceCell
  /** Which values have expired; undefined: none. */
  readonly expiry: ExpiryInput | undefined
  readonly writer: TableWriterOptions
}

export interface InspectInput {
  readonly files: readonly {
    readonly path: string
    /** The file's checksum where the caller has verified it; undefined: the whole file is read. */
    readonly checksum: number | undefined
  }[]
}

export const inspectJobName = 'lsm.inspect'
export const flushJobName = 'lsm.flush'
export const compactionJobName = 'lsm.compact'

/** The newest version of each key of a memtable becomes a table: older ones are seen only by views that hold the memtable itself. */
const flushJob: Job<FlushInput, WrittenTable> = async (input, context) => {
  const path = tablePath(input.folder, input.file)
  const reader = new ImageReader(input.image)
  const { arena } = reader
  const pacer = new Pacer(context)
  const memory = TableMemory.take()
  const writer = await TableWriter.create(context.fileSystem, path, input.file, input.writer, memory)
  try {
    let lastBuffer: Uint8Array | undefined
    let lastStart = 0
    let lastEnd = 0
    while (reader.advance()) {
      const { buffer, keyStart, keyEnd, valueEnd } = arena
      // Of older versions, too: there may be a million of one key.
      if (pacer.isDue(valueEnd - keyStart)) await pacer.pause()
      if (lastBuffer !== undefined && compareRanges(lastBuffer, lastStart, lastEnd, buffer, keyStart, keyEnd) === 0) continue
      lastBuffer = buffer
      lastStart = keyStart
      lastEnd = keyEnd
      writer.add(buffer, keyStart, keyEnd, arena.kind, reader.sequence, buffer, keyEnd, valueEnd)
      if (writer.wantsFlush) await writer.flush()
    }
    const written = await writer.finish()
    memory.giveBack()
    return written
  } catch (error) {
    await discard(context, writer, [path])
    throw error
  }
}

/** Merges the inputs into tables of the output level. Rejects without leaving files behind, as far as the disk lets it. */
const compactionJob: Job<CompactionInput, WrittenTable[]> = async (input, context) => {
  const outputs = new CompactionOutputs(input, context)
  const tables = new InputTables(context.fileSystem, input.folder)
  try {
    const merge = new Merge(
      input.inputs.map((run) => new RunSource(run, tables.newRun(), false)),
      false,
    )
    const moved = merge.seek(undefined)
    if (moved instanceof Promise) await moved
    await copyAll(merge, input, outputs, context)
    return await outputs.finish()
  } catch (error) {
    await outputs.discard()
    throw error
  } finally {
    await tables.close()
  }
}

/** What tables made elsewhere hold, from their properties; `file` is 0. CorruptionError where any of one is not as it was written. */
const inspectJob: Job<InspectInput, WrittenTable[]> = async ({ files }, context) => {
  const found: WrittenTable[] = []
  for (const { path, checksum } of files) found.push(await inspect(context, path, checksum))
  return found
}

export const lsmJobs: JobRegistry = { [flushJobName]: flushJob, [compactionJobName]: compactionJob, [inspectJobName]: inspectJob }

async function inspect(context: JobContext, path: string, checksum: number | undefined): Promise<WrittenTable> {
  const reader = await TableReader.open(context.fileSystem, path, undefined, undefined)
  try {
    return {
      file: 0,
      size: reader.size,
      checksum: checksum ?? (await verifiedChecksum(context, path)),
      lower: reader.property('lower'),
      upper: reader.property('upper'),
      entries: reader.numberProperty('entries'),
      tombstones: reader.numberProperty('tombstones'),
      maxSequence: reader.numberProperty('maxSequence'),
    }
  } finally {
    await reader.close()
  }
}

/** Of a file that was read whole and found sound. */
async function verifiedChecksum(context: JobContext, path: string): Promise<number> {
  const pacer = new Pacer(context)
  const onDamage = (damage: Damage) => {
    throw errorOf(damage)
  }
  return (await verifyTable(context.fileSystem, path, { onDamage, onBytes: (bytes) => pacer.did(bytes) })).checksum
}

async function copyAll(merge: Merge, input: CompactionInput, outputs: CompactionOutputs, context: JobContext): Promise<void> {
  const pacer = new Pacer(context)
  const deeper = new DeeperRanges(input.deeper)
  const throttle = new Throttle(context.clock, input.pace)
  const expired = input.expiry && new ExpiredValues(input.expiry)
  for (let top = merge.top; top !== undefined; top = merge.top) {
    // An expired value hides what is older just as a tombstone does: where a deeper level may hold its key, one takes its place.
    const kind = expired?.holds(top) ? kindTombstone : top.kind
    if (kind !== kindTombstone || deeper.mayHold(top)) {
      if (outputs.wantsCut(top)) {
        await outputs.cut()
        await throttle.until(outputs.bytes)
      }
      const writer = outputs.current ?? (await outputs.begin())
      const valueEnd = kind === kindTombstone ? top.valueStart : top.valueEnd
      writer.add(top.keyBuffer, top.keyStart, top.keyEnd, kind, top.sequence, top.valueBuffer, top.valueStart, valueEnd)
      if (writer.wantsFlush) {
        await writer.flush()
        await throttle.until(outputs.bytes)
      }
    }
    if (pacer.isDue(top.keyEnd - top.keyStart + top.valueEnd - top.valueStart)) await pacer.pause()
    const moved = merge.advance()
    if (moved instanceof Promise) await moved
  }
}

class CompactionOutputs {
  readonly #input: CompactionInput
  readonly #context: JobContext
  readonly #written: WrittenTable[] = []
  readonly #paths: string[] = []
  readonly #memory = TableMemory.take()
  readonly #lastPrefix: Uint8Array
  #lastPrefixLength = 0
  current: TableWriter | undefined

  constructor(input: CompactionInput, context: JobContext) {
    this.#input = input
    this.#context = context
    this.#lastPrefix = new Uint8Array(input.boundaryPrefixBytes)
  }

  /** Whether the table so far ends before the entry at which `source` stands. */
  wantsCut(source: Source): boolean {
    const { boundaryPrefixBytes } = this.#input
    const target = this.#targetBytes()
    const bytes = this.current?.bytes ?? 0
    const full = bytes >= target
    if (boundaryPrefixBytes === 0) return full
    const end = Math.min(source.keyEnd, source.keyStart + boundaryPrefixBytes)
    const changed = compareRanges(this.#lastPrefix, 0, this.#lastPrefixLength, source.keyBuffer, source.keyStart, end) !== 0
    if (changed) {
      this.#lastPrefixLength = end - source.keyStart
      for (let i = source.keyStart; i < end; i++) this.#lastPrefix[i - source.keyStart] = source.keyBuffer[i] as number
    }
    return full || (changed && bytes >= target / 4)
  }

  /** Twice as much, and ever more, once less than half of the numbers is left: what was compressed may come out many times as large. */
  #targetBytes(): number {
    const { targetTableBytes, fileCount } = this.#input
    const left = fileCount - this.#paths.length
    return targetTableBytes * Math.max(1, fileCount / (2 * left))
  }

  /** Written so far. */
  get bytes(): number {
    return this.#written.reduce((sum, { size }) => sum + size, this.current?.bytes ?? 0)
  }

  async begin(): Promise<TableWriter> {
    const number = this.#input.firstFile + this.#paths.length
    assert(this.#paths.length < this.#input.fileCount, 'a compaction has enough numbers for its files')
    const path = tablePath(this.#input.outputFolder, number)
    this.#paths.push(path)
    this.current = await TableWriter.create(this.#context.fileSystem, path, number, this.#input.writer, this.#memory)
    return this.current
  }

  async cut(): Promise<void> {
    const writer = must(this.current, 'a table is open')
    this.#written.push(await writer.finish())
    this.current = undefined
  }

  async finish(): Promise<WrittenTable[]> {
    if (this.current !== undefined) await this.cut()
    this.#memory.giveBack()
    return this.#written
  }

  discard(): Promise<void> {
    return discard(this.#context, this.current, this.#paths)
  }
}

/** Clean-up after an error, which is the one that counts: what cannot be removed is an orphan that the next open removes. */
async function discard(context: JobContext, writer: TableWriter | undefined, paths: readonly string[]): Promise<void> {
  await writer?.abort().catch(() => undefined)
  for (const path of paths) await context.fileSystem.unlink(path).catch(() => undefined)
}

/** Asks for rising keys whether deeper levels may hold them. */
class DeeperRanges {
  readonly #ranges: CompactionInput['deeper']
  #at = 0

  constructor(ranges: CompactionInput['deeper']) {
    this.#ranges = ranges
  }

  mayHold(source: Source): boolean {
    const { keyBuffer, keyStart, keyEnd } = source
    // Ranges of several levels overlap one another: only those at the front that are passed whole are left behind for good.
    while (isPassed(this.#ranges[this.#at], source)) this.#at++
    for (let i = this.#at; i < this.#ranges.length; i++) {
      const range = this.#ranges[i] as { lower: Uint8Array; upper: Uint8Array }
      if (compareRanges(range.lower, 0, range.lower.length, keyBuffer, keyStart, keyEnd) > 0) return false
      if (compareRanges(range.upper, 0, range.upper.length, keyBuffer, keyStart, keyEnd) > 0) return true
    }
    return false
  }
}

function isPassed(range: { readonly upper: Uint8Array } | undefined, source: Source): boolean {
  return range !== undefined && compareRanges(range.upper, 0, range.upper.length, source.keyBuffer, source.keyStart, source.keyEnd) <= 0
}

/** Keeps a job's turns to the slice that its thread gives, and tells what is done. */
class Pacer {
  readonly #context: JobContext
  #until: number
  #count = 0
  /** Done, and not told yet. */
  #bytes = 0

  constructor(context: JobContext) {
    this.#context = context
    this.#until = context.clock.monotonicMs() + context.sliceMs
  }

  /** One entry more is done, of so many bytes. */
  isDue(bytes: number): boolean {
    this.#bytes += bytes
    if ((++this.#count & 63) !== 0) return false
    this.#context.did(this.#bytes)
    this.#bytes = 0
    return this.#context.clock.monotonicMs() >= this.#until
  }

  did(bytes: number): Promise<void> {
    this.#context.did(bytes)
    return this.pause()
  }

  async pause(): Promise<void> {
    await this.#context.pause()
    this.#until = this.#context.clock.monotonicMs() + this.#context.sliceMs
  }
}
