import { describe, expect, it } from 'vitest'
import { type Message, MessageType } from '../../../raft/core/types.ts'
import { accept, candidate, leader, message, ofType } from './messages.ts'
import { Network } from './network.ts'
import { bytes, conf, entry, logOf, type ReplicaSetup, TestReplica } from './test-replica.ts'

/** All that a message could have changed. */
function stateOf({ raft, log }: TestReplica) {
  const { role, leader, term, vote, commit, lastIndex, stableIndex } = raft
  return { role, leader, term, vote, commit, lastIndex, stableIndex, log: [...log.all()], progress: raft.progress() }
}

describe('a message of an older term', () => {
  const types = Object.entries(MessageType)
  const replicas: Readonly<Record<string, () => TestReplica>> = {
    follower: () => new TestReplica(1, { entries: logOf(1, 2), hardState: { term: 5, vote: 2, commit: 1 } }),
    candidate: () => candidate({ entries: logOf(1, 2), hardState: { term: 4, vote: 0, commit: 0 } }).replica,
    leader: () => leader({ entries: logOf(1, 2), hardState: { term: 4, vote: 0, commit: 0 } }),
  }
  for (const [role, make] of Object.entries(replicas)) {
    it.each(types)(`changes nothing at a ${role}: %s`, (_, type) => {
      const replica = make()
      const before = stateOf(replica)
      expect(before).toMatchObject({ role, term: 5 })
      const meta = { index: 9, term: 4, conf: conf([1, 2, 3]) }
      const stale = message(type, 2, 4, { index: 2, logTerm: 2, commit: 2, entries: [entry(3, 4)], snapshot: meta, context: 1 })
      for (const answer of replica.step(stale)) expect(answer).toMatchObject({ to: 2, term: 5, reject: true })
      expect(stateOf(replica)).toEqual(before)
      expect(replica.offered).toBeUndefined()
    })
  }

  it('of a leader that is none any more: its entries are taken by nobody', () => {
    const network = Network.of(3, { options: { preVote: false, checkQuorum: false } })
    for (const id of [1, 2, 1]) network.campaign(id)
    expect(network.leader).toMatchObject({ id: 1, raft: { term: 3 } })
    // What 2 sent in its term comes only now.
    network.deliver([message(MessageType.Append, 2, 2, { to: 1, index: 2, logTerm: 2, entries: [entry(3, 2, 'late')] })])
    network.deliver([message(MessageType.Append, 2, 2, { to: 3, index: 2, logTerm: 2, entries: [entry(3, 2, 'late')] })])
    network.propose(1, 'some')
    for (const { log } of network.replicas) expect(log.all().map(({ term }) => term)).toEqual([1, 2, 3, 3])
    expect(network.get(3).texts()).toEqual(['some'])
  })
})

describe('what a replica said to itself, late', () => {
  it('its own vote of a candidacy that is over elects nobody, in any later role', () => {
    for (const preVote of [true, false]) {
      const replica = new TestReplica(1, { options: { preVote } })
      replica.raft.campaign()
      replica.drain()
      if (preVote) replica.raft.step(message(MessageType.PreVoteResponse, 2, 1))
      // The vote waits for the disk while a leader of the same term is heard.
      if (preVote) replica.takeReady()
      const late = message(MessageType.VoteResponse, 1, 1)
      replica.step(message(MessageType.Append, 2, 1))
      replica.step(late)
      expect(replica.raft).toMatchObject({ role: 'follower', term: 1, leader: 2 })
      replica.raft.campaign()
      replica.step(late)
      expect(replica.raft.role).toBe(preVote ? 'preCandidate' : 'candidate')
    }
  })

  it('a pre-vote that comes when its asker is a candidate already counts for nothing', () => {
    const { replica } = candidate({ conf: conf([1, 2, 3, 4, 5]) }, [2, 3])
    for (const from of [2, 3, 4, 5]) replica.step(message(MessageType.PreVoteResponse, from, 1))
    expect(replica.raft).toMatchObject({ role: 'candidate', term: 1 })
  })

  it('its own entries becoming durable after it lost the office commit nothing, and count when it leads again', () => {
    const replica = leader()
    replica.raft.propose([bytes('mine')])
    replica.takeReady()
    replica.raft.step(message(MessageType.Vote, 2, 2, { index: 9, logTerm: 1, context: 1 }))
    expect(replica.raft).toMatchObject({ role: 'follower', term: 2 })
    replica.persistOne()
    expect(replica.raft).toMatchObject({ commit: 0, stableIndex: 2 })

    replica.drain()
    replica.raft.campaign()
    replica.drain()
    for (const type of [MessageType.PreVoteResponse, MessageType.VoteResponse]) replica.step(message(type, 3, 3))
    expect(replica.raft).toMatchObject({ role: 'leader', term: 3 })
    // 1 acknowledged nothing for others: the entry of its own term needs another replica.
    expect(replica.raft.commit).toBe(0)
    replica.step(message(MessageType.AppendResponse, 3, 3, { index: 3 }))
    expect(replica.raft.commit).toBe(3)
  })
})

describe('messages that overtake each other', () => {
  /** Replica 1 leads, 2 streams and has acknowledged the first entry. */
  function streaming(options: ReplicaSetup['options'] = {}): TestReplica {
    const replica = leader({ options })
    replica.step(message(MessageType.AppendResponse, 2, 1, { index: 1 }))
    return replica
  }

  function appendsTo2(messages: readonly Message[]): Message[] {
    return ofType(messages, MessageType.Append).filter(({ to, entries }) => to === 2 && entries.length > 0)
  }

  it('a rejection that comes behind the acknowledgement of what it rejected moves next no lower than match', () => {
    const replica = streaming()
    const sent = ['a', 'b', 'c'].flatMap((text) => {
      replica.raft.propose([bytes(text)])
      return appendsTo2(replica.drain())
    })
    const follower = new TestReplica(2, { entries: [entry(1, 1)], hardState: { term: 1, vote: 1, commit: 1 } })
    // The second comes first and is rejected; then all is taken.
    const rejections = follower.step(sent[1] as Message)
    expect(rejections).toMatchObject([{ reject: true, index: 2, hintIndex: 1, hintTerm: 1 }])
    const taken = [sent[0], sent[1], sent[2]].flatMap((one) => follower.step(one as Message))
    for (const one of taken) replica.step(one)
    const before = replica.raft.progress()
    expect(before[1]).toMatchObject({ state: 'replicate', match: 4, next: 5 })
    for (const one of rejections) replica.step(one)
    expect(replica.raft.progress()).toEqual(before)
  })

  it('Appends in any order come to the same log', () => {
    const orders = [
      [0, 1, 2],
      [0, 2, 1],
      [1, 0, 2],
      [1, 2, 0],
      [2, 0, 1],
      [2, 1, 0],
    ]
    for (const order of orders) {
      const replica = streaming()
      const sent = ['a', 'b', 'c'].flatMap((text) => {
        replica.raft.propose([bytes(text)])
        return appendsTo2(replica.drain())
      })
      const follower = new TestReplica(2, { entries: [entry(1, 1)], hardState: { term: 1, vote: 1, commit: 1 } })
      const queue = order.map((i) => sent[i] as Message)
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        const to = next.to === 1 ? replica : follower
        queue.push(...to.step(next).filter((one) => one.to !== 3))
      }
      for (const one of appendsTo2(replica.step(message(MessageType.HeartbeatResponse, 2, 1)))) replica.step(accept(one))
      expect(follower.log.all(), `${order}`).toEqual(replica.log.all())
      expect(replica.raft.commit, `${order}`).toBe(4)
    }
  })
})
