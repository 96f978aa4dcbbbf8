import { ByteReader, ByteWriter } from '../base/bytes.ts'
import type { Clock } from '../base/clock.ts'
import { CorruptionError } from '../base/errors.ts'
import { type FileSystem, joinPath, readFile } from '../base/file-system.ts'
import { scanRecords } from '../base/framed-record.ts'
import { kindTombstone, kindValue } from './kind.ts'
import { LogChain } from './log-chain.ts'
import { RecordWriter } from './record-writer.ts'
import { logName } from './table-metadata.ts'
import type { ClosedLog } from './version-edit.ts'

/**
 * The log of one memtable: framed records whose payload begins with a byte that tells what follows.
 *
 *     1 start    number of the log before, varint (0: none that counts)
 *     2 batches  sequence u64 │ length u32 │ operations (`WriteBatch`), again and again
 *     3 end      nothing: the next log begins only after it was written
 *
 * A log becomes durable while the next one is written already; nothing of the next is synced before that. `LogChain` tells what follows.
 */
export const logSalt = 0x574c4f47

const typeStart = 1
const typeBatches = 2
const typeEnd = 3

const batchesByte = Uint8Array.of(typeBatches)

export class WriteAheadLog {
  readonly number: number
  readonly #writer: RecordWriter
  /** Behind its records its file may hold what another log has left. */
  readonly #isReused: boolean
  #holdsBatches = false

  private constructor(number: number, writer: RecordWriter, isReused: boolean) {
    this.number = number
    this.#writer = writer
    this.#isReused = isReused
  }

  /** An empty log, to `begin`. The name is durable when this resolves; no file is left where it rejects, as far as the disk lets it. */
  static async create(fileSystem: FileSystem, folder: string, number: number): Promise<WriteAheadLog> {
    const file = await fileSystem.open(joinPath(folder, logName(number)), 'create')
    try {
      await fileSystem.syncFolder(folder)
    } catch (error) {
      await file.close().catch(() => undefined)
      await fileSystem.unlink(file.path).catch(() => undefined)
      throw error
    }
    return new WriteAheadLog(number, new RecordWriter(file, logSalt + number, 0), false)
  }

  /**
   * The same in the file of log `old`, which nobody needs any more: a sync of what lies in a file's own length takes two thirds of the time and less of everything
   * else's. What the file holds counts for nothing under another number (`framed-record.ts`: the salt). Of one that is longer than `bytesMax` only the name is used.
   */
  static async reuse(fileSystem: FileSystem, folder: string, number: number, old: number, bytesMax: number): Promise<WriteAheadLog> {
    const path = joinPath(folder, logName(number))
    await fileSystem.rename(joinPath(folder, logName(old)), path)
    try {
      await fileSystem.syncFolder(folder)
      const file = await fileSystem.open(path, 'write')
      try {
        if ((await file.size()) > bytesMax) await file.truncate(0)
      } catch (error) {
        await file.close().catch(() => undefined)
        throw error
      }
      return new WriteAheadLog(number, new RecordWriter(file, logSalt + number, 0), true)
    } catch (error) {
      await fileSystem.unlink(path).catch(() => undefined)
      throw error
    }
  }

  /** Up to here it was synced; undefined: nothing would be lost with it. */
  get durableEnd(): number | undefined {
    return this.#holdsBatches ? this.#writer.durableEnd : undefined
  }

  /** `previous`: number of the log before, which was ended; 0: none that counts. */
  async begin(previous: number): Promise<void> {
    const start = new ByteWriter()
    start.u8(typeStart)
    start.varint(previous)
    await this.#writer.append([start.finish()])
  }

  /** Writes batches as one record: all of them survive a crash, or none. */
  async append(batches: readonly { readonly sequence: number; readonly operations: Uint8Array }[]): Promise<void> {
    const chunks: Uint8Array[] = [batchesByte]
    for (const { sequence, operations } of batches) {
      const header = new ByteWriter(12)
      header.u64(sequence)
      header.u32(operations.length)
      chunks.push(header.view(), operations)
    }
    this.#holdsBatches = true
    await this.#writer.append(chunks)
  }

  sync(): Promise<void> {
    return this.#writer.sync()
  }

  /** See `RecordWriter.mark`. */
  mark(): Promise<void> {
    return this.#writer.mark()
  }

  /** Nothing may be appended any more, and the next log may begin. */
  end(): Promise<void> {
    return this.#writer.append([Uint8Array.of(typeEnd)])
  }

  /** Makes a log that was ended durable, and closes it, also where it rejects. */
  async finish(): Promise<void> {
    try {
      await this.#writer.sync()
      await this.#writer.mark()
    } catch (error) {
      await this.#writer.close().catch(() => undefined)
      throw error
    }
    await this.close()
  }

  async close(): Promise<void> {
    // Of use to who looks at the file, and not needed.
    if (this.#isReused) await this.#writer.trim().catch(() => undefined)
    await this.#writer.close()
  }
}

/** How long one turn of a replay takes, ms. */
const sliceMs = 4

/**
 * Reads logs, oldest first, and hands out their batches. A torn tail is passed over, with the logs behind it, where nothing of them was durable;
 * nothing is ever appended behind it, since each open begins a log of its own. Anything else that is missing is a CorruptionError.
 */
export async function replayLogs(
  { fileSystem, clock, folder }: { readonly fileSystem: FileSystem; readonly clock: Clock; readonly folder: string },
  numbers: readonly number[],
  { firstThatCounts, closed }: { readonly firstThatCounts: number; readonly closed: ClosedLog | undefined },
  onBatch: (operations: Uint8Array, sequence: number) => Promise<void> | undefined,
): Promise<void> {
  let untilMs = clock.monotonicMs() + sliceMs
  const orPause = (operations: Uint8Array, sequence: number): Promise<void> | undefined => {
    const waits = onBatch(operations, sequence)
    if (waits !== undefined || clock.monotonicMs() < untilMs) return waits
    return new Promise<void>((resolve) => clock.soon(resolve)).then(() => {
      untilMs = clock.monotonicMs() + sliceMs
    })
  }
  const chain = new LogChain(firstThatCounts, closed && { ...closed, path: joinPath(folder, logName(closed.number)) })
  for (const number of numbers) {
    const path = joinPath(folder, logName(number))
    const { payloads, offsets, end, durable } = scanRecords(await readFile(fileSystem, path), { file: path, salt: logSalt + number })
    checkOrder(payloads, offsets, path)
    const verdict = chain.next({ number, path, end, durable, previous: previousOf(payloads[0]), isEnded: payloads.at(-1)?.[0] === typeEnd })
    if (verdict.kind === 'damage') throw new CorruptionError(verdict.path, verdict.offset, verdict.what)
    if (verdict.kind !== 'counts') continue
    for (let i = 1; i < payloads.length; i++) {
      const payload = payloads[i] as Uint8Array
      if (payload[0] === typeBatches) await replayBatches(payload, path, offsets[i] as number, orPause)
    }
  }
  const verdict = chain.finish()
  if (verdict.kind === 'damage') throw new CorruptionError(verdict.path, verdict.offset, verdict.what)
}

/** A start, batches, and perhaps an end. */
function checkOrder(payloads: readonly Uint8Array[], offsets: readonly number[], path: string): void {
  for (const [i, payload] of payloads.entries()) {
    const type = payload[0] as number
    if (type < typeStart || type > typeEnd) throw new CorruptionError(path, offsets[i], `unknown record type ${type}`)
    const isOutOfPlace = (type === typeStart) !== (i === 0) || (type === typeEnd && i < payloads.length - 1)
    if (isOutOfPlace) throw new CorruptionError(path, offsets[i], 'record out of place')
  }
}

function previousOf(start: Uint8Array | undefined): number | undefined {
  return start && new ByteReader(start, 1).varint()
}

async function replayBatches(
  payload: Uint8Array,
  path: string,
  offset: number,
  onBatch: (operations: Uint8Array, sequence: number) => Promise<void> | undefined,
): Promise<void> {
  const reader = new ByteReader(payload, 1)
  while (!reader.done) {
    let sequence: number
    let operations: Uint8Array
    try {
      sequence = reader.u64()
      operations = reader.raw(reader.u32())
      checkOperations(operations)
    } catch (error) {
      throw new CorruptionError(path, offset, `malformed batch: ${error instanceof Error ? error.message : error}`)
    }
    const waits = onBatch(operations, sequence)
    if (waits !== undefined) await waits
  }
}

function checkOperations(operations: Uint8Array): void {
  const reader = new ByteReader(operations)
  while (!reader.done) {
    const kind = reader.u8()
    if (kind !== kindValue && kind !== kindTombstone) throw new RangeError(`unknown kind ${kind}`)
    const keyLength = reader.varint()
    const valueLength = reader.varint()
    reader.raw(keyLength)
    reader.raw(valueLength)
  }
}
