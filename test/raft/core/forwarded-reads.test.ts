import { describe, expect, it } from 'vitest'
import type { SeededRandom } from '../../../base/random.ts'
import { type Message, MessageType } from '../../../raft/core/types.ts'
import { leader, message, ofType } from './messages.ts'
import { Network } from './network.ts'
import { conf, TestReplica } from './test-replica.ts'

/** Replica 1, which follows replica 2 in term 1. */
function follower(): TestReplica {
  const replica = new TestReplica(1)
  replica.step(message(MessageType.Heartbeat, 2, 1))
  return replica
}

function answerTo(asked: Message | undefined, index: number, fields: Partial<Message> = {}): Message {
  return message(MessageType.ReadIndexResponse, 2, 1, { context: asked?.context ?? 0, index, ...fields })
}

describe("a follower's reads, by its leader's read index (thesis, 6.4)", () => {
  it('are answered with the index of a round that the leader began after it was asked', () => {
    const network = Network.of(3)
    network.campaign(1)
    network.propose(1, 'a', 'b')
    expect(network.get(2).raft.forwardReadIndex(7)).toBe(true)
    network.deliver()
    expect(network.get(2).readStates).toEqual([{ context: 7, index: 3 }])
    expect(network.get(1).readStates).toEqual([])
  })

  it('of a learner too', () => {
    const network = Network.of(4, { conf: conf([1, 2, 3], [4]) })
    network.campaign(1)
    network.get(4).raft.forwardReadIndex(1)
    network.deliver()
    expect(network.get(4).readStates).toEqual([{ context: 1, index: 1 }])
  })

  it('a leader that was cut off answers none, whatever others have committed', () => {
    const network = Network.of(5)
    network.campaign(1)
    for (const other of [3, 4, 5]) for (const old of [1, 2]) network.cut(old, other)
    network.tick(30, [3, 4, 5])
    network.propose(network.leader.id, 'new')
    expect(network.get(2).raft.leader).toBe(1)
    network.get(2).raft.forwardReadIndex(1)
    network.deliver()
    expect(network.get(2).readStates).toEqual([])
  })

  it('wait at a new leader until an entry of its term is committed', () => {
    const replica = leader()
    replica.step(message(MessageType.ReadIndex, 2, 1, { context: 5 }))
    const [round] = ofType(replica.step(message(MessageType.AppendResponse, 3, 1, { index: 1 })), MessageType.Heartbeat)
    expect(round).toBeDefined()
    const answers = replica.step(message(MessageType.HeartbeatResponse, 3, 1, { context: round?.context ?? 0 }))
    expect(ofType(answers, MessageType.ReadIndexResponse)).toMatchObject([{ to: 2, context: 5, index: 1 }])
  })

  it('asked twice while the first waits is answered once; a stranger is not answered', () => {
    const replica = leader()
    for (const from of [2, 2, 9]) replica.step(message(MessageType.ReadIndex, from, 1, { context: 5 }))
    const [round] = ofType(replica.step(message(MessageType.AppendResponse, 3, 1, { index: 1 })), MessageType.Heartbeat)
    const answers = replica.step(message(MessageType.HeartbeatResponse, 3, 1, { context: round?.context ?? 0 }))
    expect(ofType(answers, MessageType.ReadIndexResponse)).toHaveLength(1)
  })

  it('are asked again while no answer comes, and lost after an election timeout', () => {
    const replica = follower()
    replica.raft.forwardReadIndex(3)
    const [asked] = ofType(replica.drain(), MessageType.ReadIndex)
    let again = 0
    for (let tick = 1; tick < 10; tick++) {
      replica.step(message(MessageType.Heartbeat, 2, 1))
      for (const repeated of ofType(replica.tick(), MessageType.ReadIndex)) {
        expect(repeated.context).toBe(asked?.context)
        again++
      }
    }
    expect(again).toBe(4)
    expect(replica.lostReads).toEqual([])
    replica.tick()
    expect(replica.lostReads).toEqual([3])
    replica.step(answerTo(asked, 9))
    expect(replica.readStates).toEqual([])
  })

  it('are lost when another leads, each once; a late answer of the old one counts for nothing', () => {
    const replica = follower()
    replica.raft.forwardReadIndex(1)
    const [asked] = ofType(replica.drain(), MessageType.ReadIndex)
    replica.raft.forwardReadIndex(2)
    replica.step(message(MessageType.Heartbeat, 3, 2))
    expect(replica.lostReads).toEqual([1, 2])
    replica.step(answerTo(asked, 9))
    replica.step(answerTo(asked, 9, { term: 2 }))
    expect(replica.readStates).toEqual([])
  })

  it('an answer to the life before a restart answers no read of this one', () => {
    // The driver's numbers begin anew with each life.
    let draws = 0
    const random = { next: () => ++draws / 1000, below: () => 0, fork: () => random } as unknown as SeededRandom
    const network = Network.of(3, { options: { random } })
    network.campaign(1)
    const replica = network.get(2)
    replica.raft.forwardReadIndex(1)
    const [before] = ofType(replica.drain(), MessageType.ReadIndex)
    replica.restart(0)
    replica.step(message(MessageType.Heartbeat, 1, 1, { to: 2 }))
    replica.raft.forwardReadIndex(1)
    replica.drain()
    replica.step(message(MessageType.ReadIndexResponse, 1, 1, { to: 2, context: before?.context ?? 0, index: 1 }))
    expect(replica.readStates).toEqual([])
  })

  it('are not taken where no leader is known, and by no leader or candidate', () => {
    expect(new TestReplica(1).raft.forwardReadIndex(1)).toBe(false)
    expect(leader().raft.forwardReadIndex(1)).toBe(false)
  })
})
