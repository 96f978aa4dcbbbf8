import type { Clock } from '../../base/clock.ts'
import type { pb } from '../../proto/messages.ts'
import { bytesOfDeltas } from '../delta.ts'

/** What is held at the most, as `deltaBytes` counts it. */
const heldBytesMax = 8 * 1024 * 1024
/** A piece brings no more, unless a single record does. */
const pieceBytesMax = 1024 * 1024
/** A smaller rest is not worth an entry of its own: asked for after the ingest, it comes with what is new. */
const restBytesMin = 256 * 1024
/** When to ask again where there was too little to fill a piece, or no answer. */
const againMs = 1000

interface Piece {
  readonly after: number
  readonly bytes: number
  readonly reply: pb.v1.DeltaReply
}

/**
 * What the source did behind one cut, fetched while the files of that are still on their way and kept in memory, so that replaying begins as soon as they are ingested. The
 * pieces follow one another without a gap; all but the last are full, since each becomes an entry of the log. Nothing rests on them: what is not here is asked for then.
 */
export class DeltaAhead {
  /** Index of the cut in the source's log. */
  readonly cut: number
  readonly #clock: Clock
  readonly #ask: (after: number) => Promise<pb.v1.DeltaReply>
  #full: Piece[] = []
  #fullBytes = 0
  /** Behind the full ones, and less than full: asked for anew until it is. */
  #tail: Piece | undefined
  #isAsking = false
  #againAtMs = Number.NEGATIVE_INFINITY
  #isOver = false

  constructor(clock: Clock, cut: number, ask: (after: number) => Promise<pb.v1.DeltaReply>) {
    this.#clock = clock
    this.cut = cut
    this.#ask = ask
  }

  /** That are held. */
  get bytes(): number {
    return this.#fullBytes + (this.#tail?.bytes ?? 0)
  }

  /** Asks for the next piece, unless it waits for one, asked a moment ago, or holds what it may. */
  maybeFetch(): void {
    if (this.#isOver || this.#isAsking || this.#clock.monotonicMs() < this.#againAtMs) return
    if (this.#fullBytes + pieceBytesMax > heldBytesMax) return
    this.#isAsking = true
    const after = this.#full.at(-1)?.reply.upTo ?? this.cut
    this.#ask(after)
      .then(
        (reply) => this.#hold(after, reply),
        // Who asks behind the ingest is told, too.
        () => {
          this.#againAtMs = this.#clock.monotonicMs() + againMs
        },
      )
      .finally(() => {
        this.#isAsking = false
        this.maybeFetch()
      })
  }

  /** The piece behind `after`, which is the replayer's from now on. With the first one that is asked for nothing more is fetched. */
  take(after: number): pb.v1.DeltaReply | undefined {
    this.#isOver = true
    if (!this.has(after)) {
      this.close()
      return undefined
    }
    const full = this.#full.shift()
    this.#fullBytes -= full?.bytes ?? 0
    const next = full ?? this.#tail
    if (full === undefined) this.#tail = undefined
    return next?.reply
  }

  /** `take` will bring it. */
  has(after: number): boolean {
    const [next] = this.#full
    if (next !== undefined) return next.after === after
    return this.#tail !== undefined && this.#tail.bytes >= restBytesMin && this.#tail.after === after
  }

  /** Holds and fetches nothing any more. */
  close(): void {
    this.#isOver = true
    this.#full = []
    this.#fullBytes = 0
    this.#tail = undefined
  }

  #hold(after: number, reply: pb.v1.DeltaReply): void {
    if (this.#isOver) return
    const piece = { after, bytes: bytesOfDeltas(reply.shards), reply }
    const isFull = reply.lag > 0
    this.#againAtMs = isFull ? Number.NEGATIVE_INFINITY : this.#clock.monotonicMs() + againMs
    this.#tail = undefined
    if (this.#fullBytes + piece.bytes > heldBytesMax) this.#isOver = true
    else if (isFull) {
      this.#full.push(piece)
      this.#fullBytes += piece.bytes
    } else if (piece.bytes > 0) this.#tail = piece
  }
}
