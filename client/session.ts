/**
 * Exactly once, the client's side (DESIGN §10). A command is numbered per client id and shard when it is first sent, and keeps its number
 * over all retries, so that the shard executes it once and answers a repetition from its memory. `lowest` tells the shard which answers it
 * may forget; what it has not seen below it will never be executed.
 */
import { assert } from '../base/assert.ts'
import type { Random } from '../base/random.ts'
import { limits } from '../proto/limits.ts'

const WINDOW = limits.sessionWindow

/** One client id in one shard. */
export class ShardSession {
  readonly shard: number
  readonly clientId: Uint8Array
  /** True until one answer has come from the shard's state: only then may the shard make a session. */
  first = true
  /** The shard told that it does not know this session (any more). */
  expired = false
  /** The next number to hand out. */
  #next = 1
  /** The lowest number whose outcome is awaited; `next` if there is none. Never falls. */
  #lowest = 1
  /**
   * The highest number that was given up with its outcome open. A delayed copy of it may still arrive, and would be executed as long as the
   * shard knows no `lowest` above it: so nothing newer is sent before `lowest` has passed it. Without this a later call on the same key could
   * take effect before an earlier one.
   */
  #fence = 0
  /** Bit n mod WINDOW: number n is settled, for numbers in [lowest, next). */
  readonly #settled = new Uint32Array(WINDOW / 32)

  constructor(shard: number, clientId: Uint8Array) {
    this.shard = shard
    this.clientId = clientId
  }

  get lowest(): number {
    return this.#lowest
  }

  get next(): number {
    return this.#next
  }

  /** How many new numbers may be handed out now. */
  get room(): number {
    return this.#lowest > this.#fence ? this.#lowest + WINDOW - this.#next : 0
  }

  /** Whether a command with this number (0: none yet) may be sent now. */
  maySend(sequence: number): boolean {
    if (sequence === 0) return this.room > 0
    return sequence < this.#fence || this.#lowest > this.#fence
  }

  /** A new number. */
  take(): number {
    assert(this.room > 0, 'a number outside the session window')
    return this.#next++
  }

  /** The outcome of `sequence` is known, or (`abandoned`) no longer waited for. Returns whether `lowest` has moved. */
  settle(sequence: number, abandoned: boolean): boolean {
    assert(sequence >= this.#lowest && sequence < this.#next, `number ${sequence} is not outstanding`)
    if (abandoned && sequence > this.#fence) this.#fence = sequence
    const bit = sequence % WINDOW
    this.#settled[bit >>> 5] = (this.#settled[bit >>> 5] as number) | (1 << (bit & 31))
    const before = this.#lowest
    while (this.#lowest < this.#next && this.#clearSettled(this.#lowest % WINDOW)) this.#lowest++
    return this.#lowest > before
  }

  #clearSettled(bit: number): boolean {
    const word = this.#settled[bit >>> 5] as number
    const mask = 1 << (bit & 31)
    if ((word & mask) === 0) return false
    this.#settled[bit >>> 5] = word & ~mask
    return true
  }
}

/** All sessions of one client. One client id serves every shard until some shard has lost it; from then on a new one does. */
export class Sessions {
  readonly #random: Random
  readonly #byShard = new Map<number, ShardSession>()
  #clientId: Uint8Array

  constructor(random: Random) {
    this.#random = random
    this.#clientId = random.bytes(limits.clientIdBytes)
  }

  /** The session under which new commands of `shard` are numbered. */
  of(shard: number): ShardSession {
    let session = this.#byShard.get(shard)
    if (session === undefined) {
      session = new ShardSession(shard, this.#clientId)
      this.#byShard.set(shard, session)
    }
    return session
  }

  /** The shard does not know `session`: the next command of the shard begins one under another client id. */
  expire(session: ShardSession): void {
    session.expired = true
    if (this.#byShard.get(session.shard) !== session) return
    if (session.clientId === this.#clientId) this.#clientId = this.#random.bytes(limits.clientIdBytes)
    this.#byShard.delete(session.shard)
  }
}
