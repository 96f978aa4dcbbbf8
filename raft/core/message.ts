import type { Entry, Message, MessageType, ReplicaNumber } from './types.ts'

export const NO_ENTRIES: readonly Entry[] = []
const NO_MESSAGES: readonly Message[] = []

/** A message while it is being filled in. */
export type Draft = { -readonly [K in keyof Message]: Message[K] }

/** All fields in one order, so that every message has one hidden class. */
export function draftMessage(type: MessageType, from: ReplicaNumber, to: ReplicaNumber, term: number): Draft {
  return {
    type,
    from,
    to,
    term,
    index: 0,
    logTerm: 0,
    commit: 0,
    entries: NO_ENTRIES,
    reject: false,
    hintIndex: 0,
    hintTerm: 0,
    context: 0,
    snapshot: undefined,
    mayWait: false,
  }
}

/** Charged per entry beside its bytes, so that windows also bound the number of small entries. */
export const ENTRY_OVERHEAD_BYTES = 32

export function entryBytes(entry: Entry): number {
  return entry.data.length + ENTRY_OVERHEAD_BYTES
}

/** Messages on their way out, apart by whether they promise something that must be durable first. */
export class Outbox {
  #atOnce: Message[] = []
  #afterAppend: Message[] = []

  get isEmpty(): boolean {
    return this.#atOnce.length === 0 && this.#afterAppend.length === 0
  }

  send(message: Message): void {
    this.#atOnce.push(message)
  }

  sendAfterAppend(message: Message): void {
    this.#afterAppend.push(message)
  }

  takeAtOnce(): readonly Message[] {
    if (this.#atOnce.length === 0) return NO_MESSAGES
    const taken = this.#atOnce
    this.#atOnce = []
    return taken
  }

  takeAfterAppend(): readonly Message[] {
    if (this.#afterAppend.length === 0) return NO_MESSAGES
    const taken = this.#afterAppend
    this.#afterAppend = []
    return taken
  }
}
