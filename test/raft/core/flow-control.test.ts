import { describe, expect, it } from 'vitest'
import { ENTRY_OVERHEAD_BYTES } from '../../../raft/core/message.ts'
import { type Message, MessageType, type ProgressStatus } from '../../../raft/core/types.ts'
import { leader, message, ofType } from './messages.ts'
import { bytes, type TestReplica } from './test-replica.ts'

/** One entry of these tests as the window counts it. */
const entryBytes = 10 + ENTRY_OVERHEAD_BYTES
const windowEntries = 4

function statusOf2({ raft }: TestReplica): ProgressStatus | undefined {
  return raft.progress().find(({ replica }) => replica === 2)
}

function appendsTo(messages: readonly Message[], to: number): Message[] {
  return ofType(messages, MessageType.Append).filter((one) => one.to === to)
}

function propose(replica: TestReplica): Message[] {
  replica.raft.propose([bytes('0123456789')])
  return replica.drain()
}

function acknowledge(replica: TestReplica, index: number, from = 2): Message[] {
  return replica.step(message(MessageType.AppendResponse, from, 1, { index }))
}

/** Replica 1 leads and streams to 2, four entries at most. Its first entry is acknowledged. */
function streaming(): TestReplica {
  const replica = leader({ options: { maxInflightBytes: windowEntries * entryBytes, maxAppendBytes: entryBytes } })
  acknowledge(replica, 1)
  return replica
}

function full(): TestReplica {
  const replica = streaming()
  for (let i = 0; i < windowEntries; i++) propose(replica)
  expect(statusOf2(replica)).toMatchObject({ state: 'replicate', match: 1, next: 6, inflightBytes: windowEntries * entryBytes })
  return replica
}

describe('a window to one follower', () => {
  it('is filled by one Append for each proposal, then by none', () => {
    const replica = streaming()
    const sent = Array.from({ length: 10 }, () => appendsTo(propose(replica), 2).length)
    expect(sent).toEqual([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    expect(replica.raft.lastIndex).toBe(11)
  })

  it('moves by as much as each acknowledgement covers, in order', () => {
    for (let index = 2; index <= 5; index++) {
      const replica = full()
      for (let i = 0; i < windowEntries; i++) propose(replica)
      // A commit may go with them, or alone.
      const sent = appendsTo(acknowledge(replica, index), 2).flatMap(({ entries }) => entries.map((one) => one.index))
      expect(sent).toEqual([6, 7, 8, 9].slice(0, index - 1))
      expect(statusOf2(replica)).toMatchObject({ match: index, inflightBytes: windowEntries * entryBytes })
    }
  })

  it('is not moved by acknowledgements that were counted already', () => {
    const replica = full()
    acknowledge(replica, 4)
    for (let i = 0; i < windowEntries; i++) propose(replica)
    const before = statusOf2(replica)
    for (const index of [0, 1, 2, 3, 4]) expect(appendsTo(acknowledge(replica, index), 2)).toEqual([])
    expect(statusOf2(replica)).toEqual(before)
  })

  it('is not opened by an answer to a heartbeat, which asks once where the follower stands', () => {
    const replica = full()
    propose(replica)
    for (let i = 0; i < 5; i++) {
      const asked = appendsTo(replica.step(message(MessageType.HeartbeatResponse, 2, 1)), 2)
      expect(asked.map(({ index, entries }) => [index, entries.length])).toEqual([[5, 0]])
    }
    expect(statusOf2(replica)).toMatchObject({ match: 1, next: 6 })
    // It stands at 5: the Appends had arrived, and their acknowledgements were lost.
    expect(appendsTo(acknowledge(replica, 5), 2).map((one) => one.entries.length)).toEqual([1])
  })

  it('begins anew with a probe when the follower was unreachable, and is empty after it', () => {
    const replica = full()
    replica.raft.reportUnreachable(2)
    expect(statusOf2(replica)).toMatchObject({ state: 'probe', next: 2, inflightBytes: 0 })
    expect(appendsTo(replica.drain(), 2).map(({ index, entries }) => [index, entries.length])).toEqual([[1, 1]])
    acknowledge(replica, 5)
    expect(statusOf2(replica)).toMatchObject({ state: 'replicate', match: 5, next: 6, inflightBytes: 0 })
  })
})

describe('a probe', () => {
  it('ends with its acknowledgement: what was proposed meanwhile follows at once, to this follower only', () => {
    const replica = leader()
    for (const from of [2, 3]) expect(appendsTo(propose(replica), from)).toEqual([])
    const freed = acknowledge(replica, 1, 2)
    expect(appendsTo(freed, 2).flatMap(({ entries }) => entries.map(({ index }) => index))).toEqual([2, 3])
    expect(appendsTo(freed, 3)).toEqual([])
    expect(appendsTo(propose(replica), 2)).toHaveLength(1)
    expect(appendsTo(acknowledge(replica, 1, 3), 3).flatMap(({ entries }) => entries.map(({ index }) => index))).toEqual([2, 3, 4])
  })

  it('that is lost is sent again for each answer to a heartbeat, and not more often', () => {
    const replica = leader()
    for (let i = 0; i < 3; i++) {
      expect(appendsTo(propose(replica), 2)).toEqual([])
      expect(appendsTo(replica.tick(), 2)).toEqual([])
      expect(appendsTo(replica.step(message(MessageType.HeartbeatResponse, 2, 1)), 2)).toHaveLength(1)
    }
  })
})

describe('a follower that takes a snapshot', () => {
  /** The leader's log begins behind 10; 2 has nothing. */
  function offering(): TestReplica {
    const replica = leader({ base: { index: 10, term: 1 }, hardState: { term: 1, vote: 0, commit: 10 } })
    replica.step(message(MessageType.AppendResponse, 2, 2, { index: 10, reject: true }))
    expect(statusOf2(replica)).toMatchObject({ state: 'snapshot', pendingSnapshot: 10 })
    return replica
  }

  it('is sent no entries meanwhile', () => {
    const replica = offering()
    expect(appendsTo(propose(replica), 2)).toEqual([])
    expect(statusOf2(replica)).toMatchObject({ next: 1, match: 0 })
  })

  it.each([
    ['has taken it', true, 11],
    ['could not take it', false, 1],
  ])('is probed again when its driver says that it %s, from the next heartbeat on', (_, ok, next) => {
    const replica = offering()
    replica.raft.reportSnapshot(2, ok)
    expect(statusOf2(replica)).toMatchObject({ state: 'probe', pendingSnapshot: 0, next })
    expect(appendsTo(replica.drain(), 2)).toEqual([])
    const asked = replica.step(message(MessageType.HeartbeatResponse, 2, 2))
    if (ok) expect(appendsTo(asked, 2).map(({ index }) => index)).toEqual([10])
    else expect(ofType(asked, MessageType.Snapshot)).toHaveLength(1)
  })

  it('is sent entries at once when it says itself that it stands where the log begins, or behind', () => {
    for (const index of [10, 11]) {
      const replica = offering()
      const sent = appendsTo(replica.step(message(MessageType.AppendResponse, 2, 2, { index })), 2)
      expect(sent[0]).toMatchObject({ index })
      expect(statusOf2(replica)).toMatchObject({ state: 'replicate', match: index, pendingSnapshot: 0 })
    }
  })
})
