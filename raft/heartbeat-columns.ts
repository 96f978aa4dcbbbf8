import { pb } from '../proto/messages.ts'
import { draftMessage } from './core/message.ts'
import { type Message, MessageType } from './core/types.ts'
import type { Envelope } from './message-codec.ts'

/** About what a heartbeat takes in its columns, bytes. */
export const heartbeatBytes = 32

/** Whether a message is a heartbeat, or the answer to one, with nothing that the columns do not hold. */
export function isHeartbeat({ type, reject }: Message): boolean {
  return !reject && (type === MessageType.Heartbeat || type === MessageType.HeartbeatResponse)
}

/** Heartbeats on their way to one node, of all groups: one small message, where a Raft message each would be 64 for 64 groups. */
export class HeartbeatColumns {
  #columns = new pb.v1.Heartbeats()

  get count(): number {
    return this.#columns.groups.length
  }

  add(message: Message, envelope: Envelope): void {
    const columns = this.#columns
    columns.groups.push(envelope.group)
    columns.answers.push(message.type === MessageType.HeartbeatResponse)
    columns.from.push(message.from)
    columns.to.push(message.to)
    columns.terms.push(message.term)
    columns.commits.push(message.commit)
    columns.contexts.push(message.context)
    columns.hintIndexes.push(message.hintIndex)
    columns.groupTimesMs.push(envelope.groupTimeMs)
    columns.allMatched.push(envelope.allMatched)
  }

  /** All so far, and begins anew. */
  take(): pb.v1.Heartbeats {
    const taken = this.#columns
    this.#columns = new pb.v1.Heartbeats()
    return taken
  }
}

export interface ReceivedHeartbeat {
  readonly message: Message
  readonly envelope: Envelope
}

/** Undefined where the columns are not of one length or hold numbers that are none of ours, which no peer of ours sends. */
export function decodeHeartbeats(columns: pb.v1.Heartbeats): ReceivedHeartbeat[] | undefined {
  const { groups, answers, from, to, terms, commits, contexts, hintIndexes, groupTimesMs, allMatched } = columns
  const count = groups.length
  const numbers = [from, to, terms, commits, contexts, hintIndexes, groupTimesMs, allMatched]
  if (answers.length !== count || numbers.some((column) => column.length !== count)) return undefined
  if (numbers.some((column) => !column.every(Number.isSafeInteger))) return undefined
  if (from.some((replica) => replica < 1) || to.some((replica) => replica < 1)) return undefined
  return groups.map((group, i) => {
    const type = answers[i] === true ? MessageType.HeartbeatResponse : MessageType.Heartbeat
    const message = draftMessage(type, from[i] ?? 0, to[i] ?? 0, terms[i] ?? 0)
    message.commit = commits[i] ?? 0
    message.context = contexts[i] ?? 0
    message.hintIndex = hintIndexes[i] ?? 0
    return { message, envelope: { group, groupTimeMs: groupTimesMs[i] ?? 0, allMatched: allMatched[i] ?? 0 } }
  })
}
