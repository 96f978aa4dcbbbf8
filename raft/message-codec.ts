import { assert } from '../base/assert.ts'
import { pb } from '../proto/messages.ts'
import { type Entry, type Message, MessageType } from './core/types.ts'

/** What travels with a Raft message beside the core's fields; the driver's business. */
export interface Envelope {
  /** Uid of the group. */
  readonly group: string
  /** The group's time as the sender knows it, milliseconds. */
  readonly groupTimeMs: number
  /** From a leader: every voter's log holds the leader's log up to here. */
  readonly allMatched: number
}

const typeMax = Math.max(...Object.values(MessageType))
const noEntries: readonly Entry[] = []

export function encodeMessage(message: Message, envelope: Envelope): pb.v1.RaftMessage {
  const { snapshot } = message
  return new pb.v1.RaftMessage({
    group: envelope.group,
    type: message.type,
    from: message.from,
    to: message.to,
    term: message.term,
    index: message.index,
    logTerm: message.logTerm,
    commit: message.commit,
    entries: message.entries as Entry[],
    reject: message.reject,
    hintIndex: message.hintIndex,
    hintTerm: message.hintTerm,
    context: message.context,
    groupTimeMs: envelope.groupTimeMs,
    allMatched: envelope.allMatched,
    snapshotIndex: snapshot?.index ?? 0,
    snapshotTerm: snapshot?.term ?? 0,
    snapshotVoters: [...(snapshot?.conf.voters ?? [])],
    snapshotVotersOutgoing: [...(snapshot?.conf.votersOutgoing ?? [])],
    snapshotLearners: [...(snapshot?.conf.learners ?? [])],
    snapshotLearnersNext: [...(snapshot?.conf.learnersNext ?? [])],
    snapshotAutoLeave: snapshot?.conf.autoLeave ?? false,
  })
}

/** Undefined for a message that no peer of ours would send: the caller drops it. */
export function decodeMessage(wire: pb.v1.RaftMessage): Message | undefined {
  if (wire.type < 1 || wire.type > typeMax || wire.from < 1 || wire.to < 1 || !holdsCounts(wire)) return undefined
  let entries = noEntries
  if (wire.entries.length > 0) {
    const decoded: Entry[] = []
    for (const entry of wire.entries) {
      if (!isCount(entry.term ?? 0)) return undefined
      decoded.push({
        term: entry.term ?? 0,
        index: wire.index + decoded.length + 1,
        kind: entry.kind ?? 0,
        data: entry.data ?? new Uint8Array(0),
      })
    }
    entries = decoded
  }
  return {
    type: wire.type as MessageType,
    from: wire.from,
    to: wire.to,
    term: wire.term,
    index: wire.index,
    logTerm: wire.logTerm,
    commit: wire.commit,
    entries,
    reject: wire.reject,
    hintIndex: wire.hintIndex,
    hintTerm: wire.hintTerm,
    context: wire.context,
    snapshot:
      wire.snapshotIndex === 0
        ? undefined
        : {
            index: wire.snapshotIndex,
            term: wire.snapshotTerm,
            conf: {
              voters: wire.snapshotVoters,
              votersOutgoing: wire.snapshotVotersOutgoing,
              learners: wire.snapshotLearners,
              learnersNext: wire.snapshotLearnersNext,
              autoLeave: wire.snapshotAutoLeave,
            },
          },
    mayWait: false,
  }
}

/** Bytes that a message takes on the wire, about. */
export function messageBytes(message: Message): number {
  let bytes = 96
  for (const entry of message.entries) bytes += entryWireBytes(entry)
  return bytes
}

export function entryWireBytes(entry: Entry): number {
  return entry.data.length + 16
}

/** True for messages that carry entries and so go by the entries' lane. */
export function isBulk(message: Message): boolean {
  return message.type === MessageType.Append && message.entries.length > 0
}

/** The wire leaves an entry's index out: it must follow from the entry's place. */
export function assertConsecutive(message: Message): void {
  for (let i = 0; i < message.entries.length; i++) {
    assert(message.entries[i]?.index === message.index + i + 1, 'the entries of an append follow its index without a gap')
  }
}

/** The envelope's too: a time or an index that is none would be believed for good. */
function holdsCounts(wire: pb.v1.RaftMessage): boolean {
  return (
    isCount(wire.term) &&
    isCount(wire.index) &&
    isCount(wire.logTerm) &&
    isCount(wire.commit) &&
    isCount(wire.hintIndex) &&
    isCount(wire.hintTerm) &&
    isCount(wire.context) &&
    isCount(wire.groupTimeMs) &&
    isCount(wire.allMatched) &&
    isCount(wire.snapshotIndex) &&
    isCount(wire.snapshotTerm)
  )
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}
