import { describe, expect, it } from 'vitest'
import { pb } from '../../proto/messages.ts'
import { draftMessage } from '../../raft/core/message.ts'
import { EntryKind, type Message, MessageType } from '../../raft/core/types.ts'
import { decodeHeartbeats, HeartbeatColumns } from '../../raft/heartbeat-columns.ts'
import { decodeMessage, encodeMessage } from '../../raft/message-codec.ts'

const envelope = { group: 'g1@1', groupTimeMs: 77, allMatched: 3 }
/** More than a number of ours can hold exactly. */
const tooLarge = 2 ** 60

/** With every field that the wire has. */
function fullMessage(type: MessageType): Message {
  const message = draftMessage(type, 1, 2, 7)
  message.index = 10
  message.logTerm = 6
  message.commit = 9
  message.entries = [
    { term: 6, index: 11, kind: EntryKind.Normal, data: Uint8Array.of(1, 2) },
    { term: 7, index: 12, kind: EntryKind.ConfChange, data: new Uint8Array(0) },
  ]
  message.reject = true
  message.hintIndex = 8
  message.hintTerm = 5
  message.context = 2 ** 52
  message.snapshot = {
    index: 9,
    term: 6,
    conf: { voters: [1, 2], votersOutgoing: [2, 3], learners: [4], learnersNext: [3], autoLeave: true },
  }
  return message
}

function overTheWire(message: Message, change: (wire: pb.v1.RaftMessage) => void = () => undefined): Message | undefined {
  const wire = encodeMessage(message, envelope)
  change(wire)
  return decodeMessage(pb.v1.RaftMessage.decode(pb.v1.RaftMessage.encode(wire).finish()))
}

describe('a Raft message on the wire', () => {
  it.each(Object.entries(MessageType))('comes as it went: %s', (_, type) => {
    const message = fullMessage(type)
    const received = overTheWire(message)
    expect({ ...received, entries: received?.entries.map((entry) => ({ ...entry, data: Uint8Array.from(entry.data) })) }).toEqual(message)
  })

  const numbers = [
    'term',
    'index',
    'logTerm',
    'commit',
    'hintIndex',
    'hintTerm',
    'context',
    'groupTimeMs',
    'allMatched',
    'snapshotIndex',
    'snapshotTerm',
  ] as const
  it.each(numbers)('is dropped where %s is no number of ours', (field) => {
    const received = overTheWire(fullMessage(MessageType.Append), (wire) => {
      wire[field] = tooLarge
    })
    expect(received).toBeUndefined()
  })

  it.each([
    ['type', 0],
    ['type', Math.max(...Object.values(MessageType)) + 1],
    ['from', 0],
    ['to', 0],
  ] as const)('is dropped where its %s is %i', (field, value) => {
    const received = overTheWire(fullMessage(MessageType.Append), (wire) => {
      wire[field] = value
    })
    expect(received).toBeUndefined()
  })

  it('is dropped where an entry has no term of ours', () => {
    const received = overTheWire(fullMessage(MessageType.Append), (wire) => {
      wire.entries = [new pb.v1.RaftEntry({ term: tooLarge })]
    })
    expect(received).toBeUndefined()
  })
})

describe('heartbeats of many groups on the wire', () => {
  function columns(change: (wire: pb.v1.Heartbeats) => void = () => undefined) {
    const heartbeats = new HeartbeatColumns()
    for (const type of [MessageType.Heartbeat, MessageType.HeartbeatResponse]) {
      const message = draftMessage(type, 1, 2, 7)
      message.commit = 9
      message.context = 4
      message.hintIndex = 1
      heartbeats.add(message, envelope)
    }
    const wire = heartbeats.take()
    change(wire)
    return decodeHeartbeats(pb.v1.Heartbeats.decode(pb.v1.Heartbeats.encode(wire).finish()))
  }

  it('come as they went', () => {
    expect(columns()?.map(({ message, envelope: told }) => [message.type, message.from, message.to, message.commit, told])).toEqual([
      [MessageType.Heartbeat, 1, 2, 9, envelope],
      [MessageType.HeartbeatResponse, 1, 2, 9, envelope],
    ])
  })

  it.each(['from', 'to'] as const)('are dropped where a number in %s is none', (column) => {
    expect(columns((wire) => (wire[column][1] = 0))).toBeUndefined()
  })

  it.each(['terms', 'commits', 'contexts', 'hintIndexes', 'groupTimesMs', 'allMatched'] as const)(
    'are dropped where %s holds more than a number of ours, or is too short',
    (column) => {
      expect(columns((wire) => (wire[column][0] = tooLarge))).toBeUndefined()
      expect(columns((wire) => void wire[column].pop())).toBeUndefined()
    },
  )
})
