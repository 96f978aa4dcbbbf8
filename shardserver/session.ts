import { ByteReader, ByteWriter, copyBytes } from '../base/bytes.ts'
import { encoded } from '../proto/encode.ts'
import { limits } from '../proto/limits.ts'
import { pb } from '../proto/messages.ts'

/**
 * Exactly once: the sessions of one shard, one for each client that has written here.
 *
 * A command carries its number (`sequence`), the lowest number whose outcome its client does not know yet (`lowestOutstanding`), and
 * `first` (the client never had an answer from this shard). `begin` decides, `finish` keeps the reply. Everything here follows from the
 * entries and the shard's time alone, so all replicas hold the same sessions.
 *
 * Memory is bounded without a clock: a session takes at most 1,024 replies of about 1 KiB; a shard at most `sessionsMax` sessions, and a
 * new one only while its replies stay below `replyBytesMax`. In a full table a new session takes the place of the one that was used least
 * recently, if that is older than any write that may still be on its way; else the command is refused as OVERLOADED, which leaves no trace.
 */
export const sessionsMax = 4096
export const replyBytesMax = 16 * 1024 * 1024
/** No write is proposed more than ten minutes after it was issued; twice that, for time that stands while a group has no leader. */
const replaceableMs = 2 * limits.writeAgeMsMax
/** How often ended sessions are looked for, in shard time. */
const sweepMs = 600_000
const sessionFormat = 1

export type WriteResult = pb.v1.WriteResult.$Properties

export type Admission =
  | { readonly kind: 'execute'; readonly session: Session }
  | { readonly kind: 'known'; readonly result: WriteResult }
  | { readonly kind: 'refused'; readonly reason: SessionRefusal }
/** `expired`: no session, and not `first`. `forgotten`: below the lowest outstanding number. Neither is ever executed. */
export type SessionRefusal = 'expired' | 'forgotten' | 'window' | 'full'

const refusedExpired: Admission = { kind: 'refused', reason: 'expired' }
const refusedForgotten: Admission = { kind: 'refused', reason: 'forgotten' }
const refusedWindow: Admission = { kind: 'refused', reason: 'window' }
const refusedFull: Admission = { kind: 'refused', reason: 'full' }

interface StoredReply {
  readonly result: WriteResult
  readonly bytes: number
}

export class Session {
  readonly client: string
  /** Lowest outstanding number; only rises. Replies are kept from here on. */
  lowest: number
  /** Shard time of the newest command, ms. */
  usedAtMs: number
  /** By number; none below `lowest`. */
  readonly replies = new Map<number, StoredReply>()

  constructor(client: string, lowest: number, usedAtMs: number) {
    this.client = client
    this.lowest = lowest
    this.usedAtMs = usedAtMs
  }
}

export class SessionTable {
  readonly #sessions = new Map<string, Session>()
  /** Clients whose session differs from what was written last; a client without session here was ended. */
  readonly #dirty = new Set<string>()
  #replyBytes = 0
  #sweptAtMs: number
  /** No session has been idle for long enough before this shard time: spares a full table the search. Follows from the sessions. */
  #noneReplaceableBeforeMs = 0

  constructor(sweptAtMs = 0) {
    this.#sweptAtMs = sweptAtMs
  }

  get size(): number {
    return this.#sessions.size
  }

  /** Bytes of kept replies. */
  get replyBytes(): number {
    return this.#replyBytes
  }

  /** Shard time of the last search for ended sessions, ms; part of the shard's small state. */
  get sweptAtMs(): number {
    return this.#sweptAtMs
  }

  /** What is to be done with a command. With 'execute' the caller must call `finish` in the same turn. `client`: see `clientText`. */
  begin(client: string, sequence: number, lowestOutstanding: number, first: boolean, timeMs: number): Admission {
    this.#maybeSweep(timeMs)
    let session = this.#sessions.get(client)
    if (session !== undefined && isEnded(session, timeMs)) {
      this.#end(session)
      session = undefined
    }
    if (session === undefined) {
      if (!first) return refusedExpired
      if (sequence < lowestOutstanding) return refusedForgotten
      if (sequence >= lowestOutstanding + limits.sessionWindow) return refusedWindow
      if (!this.#makeRoom(timeMs)) return refusedFull
      session = new Session(client, lowestOutstanding, timeMs)
      this.#sessions.set(client, session)
    }
    this.#dirty.add(client)
    session.usedAtMs = timeMs
    this.#raise(session, lowestOutstanding)
    if (sequence < session.lowest) return refusedForgotten
    const known = session.replies.get(sequence)
    if (known !== undefined) return { kind: 'known', result: known.result }
    if (sequence >= session.lowest + limits.sessionWindow) return refusedWindow
    return { kind: 'execute', session }
  }

  /** Keeps the reply, a success or a refusal decided while executing. */
  finish(session: Session, sequence: number, result: WriteResult): void {
    const bytes = replyBytes(result)
    session.replies.set(sequence, { result, bytes })
    this.#replyBytes += bytes
  }

  /**
   * Hands out what changed since it was handed out last, encoded (undefined: ended), and forgets that it did; stops where `isOver`, which is asked behind each session.
   * True: nothing is left.
   */
  takeDirty(receive: (client: string, bytes: Uint8Array | undefined) => void, isOver: () => boolean): boolean {
    for (const client of this.#dirty) {
      const session = this.#sessions.get(client)
      this.#dirty.delete(client)
      receive(client, session === undefined ? undefined : encodeSession(session))
      if (isOver()) break
    }
    return this.#dirty.size === 0
  }

  get isDirty(): boolean {
    return this.#dirty.size > 0
  }

  /** Takes in a session as `takeDirty` gave it. RangeError on anything else. */
  load(client: string, bytes: Uint8Array): void {
    const session = decodeSession(client, bytes)
    for (const reply of session.replies.values()) this.#replyBytes += reply.bytes
    this.#sessions.set(client, session)
    this.#noneReplaceableBeforeMs = 0
  }

  endAll(): void {
    for (const session of this.#sessions.values()) this.#end(session)
  }

  #raise(session: Session, lowest: number): void {
    if (lowest <= session.lowest) return
    if (lowest - session.lowest <= session.replies.size) {
      for (let sequence = session.lowest; sequence < lowest; sequence++) this.#drop(session, sequence)
    } else {
      for (const sequence of session.replies.keys()) if (sequence < lowest) this.#drop(session, sequence)
    }
    session.lowest = lowest
  }

  #drop(session: Session, sequence: number): void {
    const reply = session.replies.get(sequence)
    if (reply === undefined) return
    this.#replyBytes -= reply.bytes
    session.replies.delete(sequence)
  }

  #end(session: Session): void {
    for (const reply of session.replies.values()) this.#replyBytes -= reply.bytes
    this.#sessions.delete(session.client)
    this.#dirty.add(session.client)
  }

  #maybeSweep(timeMs: number): void {
    if (timeMs < this.#sweptAtMs + sweepMs) return
    this.#sweptAtMs = timeMs
    for (const session of this.#sessions.values()) if (isEnded(session, timeMs)) this.#end(session)
  }

  #makeRoom(timeMs: number): boolean {
    if (this.#sessions.size < sessionsMax && this.#replyBytes < replyBytesMax) return true
    if (timeMs < this.#noneReplaceableBeforeMs) return false
    let leastMs = timeMs
    const replaceable: Session[] = []
    for (const session of this.#sessions.values()) {
      leastMs = Math.min(leastMs, session.usedAtMs)
      if (timeMs - session.usedAtMs >= replaceableMs) replaceable.push(session)
    }
    if (replaceable.length === 0) this.#noneReplaceableBeforeMs = leastMs + replaceableMs
    // All that it takes, at once: were one ended now and another by the next command, that one would overtake this one.
    for (const session of replaceable.sort(byAge)) {
      this.#end(session)
      if (this.#sessions.size < sessionsMax && this.#replyBytes < replyBytesMax) return true
    }
    return false
  }
}

/** By time, then by client: the order in which a map holds them differs after a restart. */
function byAge(a: Session, b: Session): number {
  return a.usedAtMs - b.usedAtMs || (a.client < b.client ? -1 : 1)
}

function isEnded(session: Session, timeMs: number): boolean {
  return timeMs - session.usedAtMs >= limits.sessionMs
}

/** About what a kept reply takes when it is written down. */
function replyBytes(result: WriteResult): number {
  return 32 + (result.value?.length ?? 0) + (result.current?.value?.length ?? 0) + (result.error?.message?.length ?? 0)
}

/** A client id as a map's key: one character a byte. */
export function clientText(clientId: Uint8Array): string {
  let text = ''
  for (let i = 0; i < clientId.length; i++) text += String.fromCharCode(clientId[i] as number)
  return text
}

export function clientBytes(client: string): Uint8Array {
  const bytes = new Uint8Array(client.length)
  for (let i = 0; i < client.length; i++) bytes[i] = client.charCodeAt(i)
  return bytes
}

/** [format u8 = 1][lowest][used at][count], then for each reply, ascending: [number - lowest][length][ostraka.v1.WriteResult]; numbers as varints. */
export function encodeSession(session: Session): Uint8Array {
  const writer = new ByteWriter(32 + 16 * session.replies.size)
  writer.u8(sessionFormat)
  writer.varint(session.lowest)
  writer.varint(session.usedAtMs)
  writer.varint(session.replies.size)
  const sequences = [...session.replies.keys()].sort((a, b) => a - b)
  for (const sequence of sequences) {
    writer.varint(sequence - session.lowest)
    writer.bytes(encoded(pb.v1.WriteResult, session.replies.get(sequence)?.result ?? {}))
  }
  return writer.finish()
}

/** RangeError on what is no session. */
export function decodeSession(client: string, bytes: Uint8Array): Session {
  const reader = new ByteReader(bytes)
  const format = reader.u8()
  if (format !== sessionFormat) throw new RangeError(`unknown format ${format} of a session`)
  const session = new Session(client, reader.varint(), reader.varint())
  const count = reader.varint()
  for (let i = 0; i < count; i++) {
    const sequence = session.lowest + reader.varint()
    const result = pb.v1.WriteResult.decode(copyBytes(reader.bytes()))
    session.replies.set(sequence, { result, bytes: replyBytes(result) })
  }
  return session
}
