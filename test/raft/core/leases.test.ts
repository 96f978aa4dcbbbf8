import { describe, expect, it } from 'vitest'
import type { Random } from '../../../base/random.ts'
import { type Message, MessageType } from '../../../raft/core/types.ts'
import { leader, message, ofType } from './messages.ts'
import { Network } from './network.ts'
import { conf, type ReplicaSetup, TestReplica } from './test-replica.ts'

/** Election timeouts are the shortest. */
const firstDraws: Random = { next: () => 0, below: () => 0, bytes: (length) => new Uint8Array(length) }
const leases: ReplicaSetup = { options: { leases: true, random: firstDraws } }

/** Replica 1 with leases, past the time after its start in which it gives no vote. */
function past(setup: ReplicaSetup = leases): TestReplica {
  const replica = new TestReplica(1, setup)
  replica.raft.allowCampaign(false)
  for (let tick = 0; tick < 10; tick++) replica.tick()
  replica.raft.allowCampaign(true)
  return replica
}

function vote(fields: Partial<Message> = {}): Message {
  return message(MessageType.Vote, 3, 5, fields)
}

describe('what a lease rests on: the promise of those who answer heartbeats', () => {
  it('no vote and no pre-vote for an election timeout after a start, unless the leader wants it; none of that without leases', () => {
    for (const type of [MessageType.Vote, MessageType.PreVote]) {
      const replica = new TestReplica(1, leases)
      for (let tick = 0; tick < 9; tick++) expect(replica.step(message(type, 3, 5))).toEqual([])
      expect(replica.raft.term).toBe(0)
      expect(past().step(message(type, 3, 5))).toMatchObject([{ reject: false, term: 5 }])
      expect(new TestReplica(1).step(message(type, 3, 5))).toMatchObject([{ reject: false, term: 5 }])
    }
    expect(new TestReplica(1, leases).step(vote({ context: 1 }))).toMatchObject([{ type: MessageType.VoteResponse, reject: false }])
  })

  it('holds for an election timeout after a leader was heard, also in a newer term in which none is known', () => {
    const replica = past()
    replica.step(message(MessageType.Heartbeat, 2, 3))
    // Some answer of a newer term ends the following of replica 2, not the promise to it.
    replica.step(message(MessageType.AppendResponse, 3, 5, { reject: true }))
    expect(replica.raft).toMatchObject({ term: 5, leader: 0 })
    expect(replica.step(vote())).toEqual([])
    replica.raft.allowCampaign(false)
    for (let tick = 0; tick < 10; tick++) replica.tick()
    expect(replica.step(vote())).toMatchObject([{ reject: false }])
  })

  it('binds whoever gave it too: no campaign, though the stream from the leader broke', () => {
    const replica = past()
    replica.step(message(MessageType.Heartbeat, 2, 3))
    replica.raft.campaign()
    expect(replica.drain()).toEqual([])
    expect(replica.raft.role).toBe('follower')
  })

  it('an older request for votes is told the newer term all the same', () => {
    const replica = past()
    replica.step(message(MessageType.Heartbeat, 2, 7))
    expect(replica.step(vote())).toMatchObject([{ type: MessageType.VoteResponse, term: 7, reject: true }])
  })

  it('every answer to a heartbeat says whether it goes with it', () => {
    for (const [setup, hintIndex] of [
      [leases, 1],
      [{}, 0],
    ] as const) {
      expect(new TestReplica(1, setup).step(message(MessageType.Heartbeat, 2, 1, { context: 4 }))).toMatchObject([
        { context: 4, hintIndex },
      ])
    }
  })
})

describe('a leader with leases', () => {
  function ready(setup: ReplicaSetup = leases): TestReplica {
    const replica = past(setup)
    replica.raft.campaign()
    replica.drain()
    for (const from of [2, 3]) if (replica.raft.role !== 'candidate') replica.step(message(MessageType.PreVoteResponse, from, 1))
    replica.step(message(MessageType.VoteResponse, 2, 1))
    return replica
  }

  it('begins a round with each heartbeat, though nobody reads; without leases it does not', () => {
    const replica = ready()
    replica.step(message(MessageType.AppendResponse, 2, 1, { index: 1 }))
    const contexts = [replica.tick(), replica.tick()].map((sent) => ofType(sent, MessageType.Heartbeat).map(({ context }) => context))
    expect(contexts).toEqual([
      [1, 1],
      [2, 2],
    ])
    const plain = leader()
    plain.step(message(MessageType.AppendResponse, 2, 1, { index: 1 }))
    expect(ofType(plain.tick(), MessageType.Heartbeat).map(({ context }) => context)).toEqual([0, 0])
  })

  it('has nothing that a lease may rest on before an entry of its own term is committed', () => {
    const replica = ready()
    replica.tick()
    expect(replica.raft.office).toMatchObject({ lastRound: 0, promisedRound: 0, safeIndex: undefined })
    replica.step(message(MessageType.AppendResponse, 2, 1, { index: 1 }))
    expect(replica.raft.office).toMatchObject({ promisedRound: 0, safeIndex: 1 })
  })

  it('counts only answers with the promise, of a quorum of voters', () => {
    const replica = ready({ ...leases, conf: conf([1, 2, 3], [4]) })
    replica.step(message(MessageType.AppendResponse, 2, 1, { index: 1 }))
    replica.tick()
    const answer = (from: number, hintIndex: number) => message(MessageType.HeartbeatResponse, from, 1, { context: 1, hintIndex })
    replica.step(answer(4, 1))
    replica.step(answer(2, 0))
    expect(replica.raft.office?.promisedRound).toBe(0)
    replica.step(answer(3, 1))
    expect(replica.raft.office?.promisedRound).toBe(1)
  })

  it('alone in its group needs nobody', () => {
    const replica = past({ ...leases, conf: conf([1]) })
    replica.raft.campaign()
    replica.drain()
    replica.tick()
    expect(replica.raft.office).toMatchObject({ lastRound: 1, promisedRound: 1, safeIndex: 1 })
  })

  it('a rival is not elected within an election timeout of a promised round; where the promise is broken it is', () => {
    for (const breakPromise of [false, true]) {
      const network = Network.of(3, { options: { leases: true, unsafe: { breakPromise } } })
      network.tick(10)
      network.elect()
      const old = network.leader
      network.tick(2)
      expect(old.raft.office?.promisedRound).toBeGreaterThan(0)
      network.isolate(old.id)
      // The streams from the leader broke at both followers, in the moment after they had answered it.
      const others = network.replicas.filter(({ id }) => id !== old.id)
      for (const other of others) {
        other.raft.campaign()
        network.deliver()
      }
      expect(others.some(({ raft }) => raft.role === 'leader')).toBe(breakPromise)
    }
  })
})
