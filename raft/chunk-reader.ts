import { crc32 } from '../base/checksum.ts'
import { type Clock, sleepUnless } from '../base/clock.ts'
import { type Channel, TransportError } from '../base/transport.ts'
import { decodeError } from '../proto/error-codec.ts'
import { OstrakaError } from '../proto/errors.ts'
import { pb } from '../proto/messages.ts'
import { fileMethods } from '../proto/methods.ts'
import type { Pace } from './pace.ts'

/** Making a snapshot waits for a flush. */
const openTimeoutMs = 60_000
const readTimeoutMs = 10_000
/** Who has been silent for so long is asked no more: another peer has the files too. */
const patienceMs = 10_000
const pieceBytesMax = 1024 * 1024
const waitMsMax = 2000
/** A call that failed on its way, or whose bytes came damaged, is made again after these waits; one that was told how long to wait, as often as it takes. */
const retryWaitsMs = [50, 200, 800, 2000] as const

export interface ChunkReaderOptions {
  readonly channel: Pick<Channel, 'unary'>
  readonly clock: Clock
  clusterId(): Uint8Array
  /** As `Open` named it. */
  readonly set: string
  readonly pace?: Pace
  readonly signal?: AbortSignal
}

/** Asks a peer for pieces of the files of a set: checks them, asks again for those that did not come, keeps to a rate. */
export class ChunkReader {
  readonly #options: ChunkReaderOptions

  constructor(options: ChunkReaderOptions) {
    this.#options = options
  }

  /** Rejects with OstrakaError. */
  static async open(
    channel: Pick<Channel, 'unary'>,
    request: pb.v1.OpenFilesRequest,
    { signal, openTimeoutMs: timeoutMs = openTimeoutMs }: { readonly signal?: AbortSignal; readonly openTimeoutMs?: number },
  ): Promise<pb.v1.OpenFilesReply> {
    const reply = await call(signal, () => channel.unary(fileMethods.open, request, { timeoutMs, ...signalOf(signal) }))
    if (reply.error) throw decodeError(reply.error)
    return reply
  }

  /** Bytes of one piece. */
  get pieceBytes(): number {
    return this.#options.pace?.pieceBytes ?? pieceBytesMax
  }

  /** `length` bytes from `offset` on. Rejects with OstrakaError: NOT_FOUND where the peer holds the set no more. */
  async read(file: string, offset: number, length: number): Promise<Uint8Array> {
    await this.#options.pace?.wait(length)
    const first = await this.#readSome(file, offset, length)
    if (first.length === length) return first
    const whole = new Uint8Array(length)
    whole.set(first)
    for (let filled = first.length; filled < length; ) {
      const more = await this.#readSome(file, offset + filled, length - filled)
      whole.set(more, filled)
      filled += more.length
    }
    return whole
  }

  /** At least one byte. */
  async #readSome(file: string, offset: number, length: number): Promise<Uint8Array> {
    const { channel, clock, set, signal } = this.#options
    let beganMs = clock.monotonicMs()
    for (let attempt = 0; ; attempt++) {
      try {
        const request = new pb.v1.ReadFileRequest({ clusterId: this.#options.clusterId(), set, file, offset, length })
        const options = { timeoutMs: readTimeoutMs, ...signalOf(signal) }
        const reply = await call(signal, () => channel.unary(fileMethods.read, request, options))
        if (reply.error) throw decodeError(reply.error)
        const { data } = reply
        if (data.length === 0 || data.length > length || crc32(data) !== reply.checksum) {
          throw new OstrakaError('UNAVAILABLE', `a piece of ${file} at ${offset} came damaged`, true)
        }
        return data
      } catch (error) {
        if (!(error instanceof OstrakaError) || error.code !== 'UNAVAILABLE') throw error
        const askedMs = Math.min(error.details.waitMs ?? 0, waitMsMax)
        if (askedMs > 0) {
          // It is there, and keeps its pace: another peer's files may be others, and what is here already would be pulled in vain.
          attempt = -1
          await sleepUnless(clock, askedMs, signal)
          beganMs = clock.monotonicMs()
          continue
        }
        const waitMs = retryWaitsMs[attempt]
        if (waitMs === undefined || clock.monotonicMs() - beganMs >= patienceMs) throw error
        await sleepUnless(clock, waitMs, signal)
      }
    }
  }
}

function signalOf(signal: AbortSignal | undefined): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal }
}

/** Makes OstrakaErrors of what fails on the way. */
async function call<T>(signal: AbortSignal | undefined, send: () => Promise<T>): Promise<T> {
  if (signal?.aborted) throw cancelled()
  try {
    return await send()
  } catch (error) {
    if (signal?.aborted) throw cancelled()
    if (error instanceof TransportError) throw new OstrakaError('UNAVAILABLE', error.message, true)
    throw error
  }
}

function cancelled(): OstrakaError {
  return new OstrakaError('CANCELLED', 'the fetch was cancelled', true)
}
