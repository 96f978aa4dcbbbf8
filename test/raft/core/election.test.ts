import { describe, expect, it } from 'vitest'
import { MessageType } from '../../../raft/core/types.ts'
import { candidate, leader, message, ofType } from './messages.ts'
import { Network } from './network.ts'
import { conf, logOf, TestReplica } from './test-replica.ts'

const T = 10

describe('what a campaign promises', () => {
  it('requests for votes leave only when the new term, the own vote and the log are durable', () => {
    const replica = new TestReplica(1)
    replica.raft.campaign()
    replica.drain()
    replica.raft.step(message(MessageType.PreVoteResponse, 2, 1))
    expect(replica.raft.role).toBe('candidate')
    expect(replica.takeReady()).toEqual([])
    expect(replica.persistOne()).toMatchObject([{ type: MessageType.Vote }, { type: MessageType.Vote }])
    expect(replica.log.hardState).toEqual({ term: 1, vote: 1, commit: 0 })
  })

  it('a candidate counts its own vote only when that is durable', () => {
    const replica = new TestReplica(1, { conf: conf([1]) })
    replica.raft.campaign()
    replica.takeReady()
    expect(replica.raft.role).toBe('candidate')
    replica.persistOne()
    expect(replica.raft.role).toBe('leader')
  })

  it('a vote leaves only when it is durable, a refusal at once', () => {
    const replica = new TestReplica(1, { entries: logOf(1), hardState: { term: 1, vote: 0, commit: 0 } })
    replica.raft.step(message(MessageType.Vote, 2, 2, { index: 1, logTerm: 1 }))
    expect(replica.takeReady()).toEqual([])
    expect(replica.persistOne()).toMatchObject([{ type: MessageType.VoteResponse, reject: false }])
    replica.raft.step(message(MessageType.Vote, 3, 2, { index: 1, logTerm: 1 }))
    expect(replica.takeReady()).toMatchObject([{ type: MessageType.VoteResponse, reject: true }])
  })

  it('a vote in a term that is durable already is made durable all the same', () => {
    const replica = new TestReplica(1, { entries: logOf(1), hardState: { term: 2, vote: 0, commit: 0 } })
    replica.raft.step(message(MessageType.Vote, 2, 2, { index: 1, logTerm: 1 }))
    expect(replica.raft.ready()).toMatchObject({ messages: [], hardState: { term: 2, vote: 2 }, mustSync: true })
  })

  it('its own vote that comes back after the election was lost is ignored', () => {
    const { replica } = candidate({ conf: conf([1, 2, 3]) })
    replica.step(message(MessageType.Append, 2, 1))
    replica.step(message(MessageType.VoteResponse, 1, 1))
    expect(replica.raft).toMatchObject({ role: 'follower', term: 1, leader: 2 })
  })

  it('a pre-vote for an earlier campaign does not count for a later one', () => {
    const { replica } = candidate()
    replica.tick(15)
    expect(replica.raft).toMatchObject({ role: 'preCandidate', term: 1 })
    replica.step(message(MessageType.PreVoteResponse, 3, 1))
    expect(replica.raft).toMatchObject({ role: 'preCandidate', term: 1 })
  })

  it('votes of learners and strangers do not count', () => {
    const { replica } = candidate({ conf: conf([1, 2, 3], [4]) })
    for (const from of [4, 9]) replica.step(message(MessageType.VoteResponse, from, 1))
    expect(replica.raft.role).toBe('candidate')
  })

  it('a joint configuration needs a majority of both halves', () => {
    const { replica } = candidate({ conf: conf([1, 2, 3], [], [1, 4, 5]) }, [2, 4])
    expect(replica.raft.role).toBe('candidate')
    for (const from of [2, 3]) replica.step(message(MessageType.VoteResponse, from, 1))
    expect(replica.raft.role).toBe('candidate')
    replica.step(message(MessageType.VoteResponse, 5, 1))
    expect(replica.raft.role).toBe('leader')
  })
})

describe('PreVote (thesis, 9.6)', () => {
  it('a replica that cannot win does not raise its term', () => {
    const network = Network.of(3, (id) => (id === 3 ? {} : { entries: logOf(1), hardState: { term: 1, vote: 0, commit: 0 } }))
    network.campaign(3)
    expect(network.replicas.map(({ raft }) => [raft.role, raft.term])).toEqual([
      ['follower', 1],
      ['follower', 1],
      ['follower', 1],
    ])
    network.campaign(1)
    expect(network.get(1).raft).toMatchObject({ role: 'leader', term: 2 })
  })

  it('a follower that was cut off for long does not disturb the leader when it returns', () => {
    const network = Network.of(3)
    network.campaign(1)
    network.isolate(3)
    network.tick(100)
    expect(network.get(3).raft.term).toBe(1)
    network.heal()
    network.tick(30)
    expect(network.replicas.map(({ raft }) => [raft.term, raft.leader])).toEqual([
      [1, 1],
      [1, 1],
      [1, 1],
    ])
  })

  it('a replica of a smaller term can still complete an election', () => {
    const network = Network.of(3, (id) => ({ hardState: { term: id === 2 ? 5 : 2, vote: 0, commit: 0 } }))
    network.isolate(3)
    for (let i = 0; i < 60 && !network.replicas.some(({ raft }) => raft.role === 'leader'); i++) network.tick(1, [1, 2])
    expect(network.leader.raft.term).toBeGreaterThan(5)
  })

  it('two that campaign at once do not block each other for good', () => {
    const network = Network.of(3)
    network.get(1).raft.campaign()
    network.get(2).raft.campaign()
    network.deliver()
    network.elect()
    network.tick(3)
    expect(new Set(network.replicas.map(({ raft }) => raft.leader)).size).toBe(1)
  })
})

describe('CheckQuorum (thesis, 6.2 and 4.2.3)', () => {
  it('a leader that hears no quorum for an election timeout steps down', () => {
    const network = Network.of(3)
    network.campaign(1)
    network.isolate(1)
    network.tick(2 * T, [1])
    expect(network.get(1).raft).toMatchObject({ role: 'follower', leader: 0, term: 1 })
  })

  it('a leader that hears a quorum stays, also with one follower gone for good', () => {
    const network = Network.of(3)
    network.campaign(1)
    network.isolate(3)
    network.tick(10 * T)
    expect(network.get(1).raft).toMatchObject({ role: 'leader', term: 1 })
  })

  it('learners do not count for the quorum', () => {
    const network = new Network([1, 2, 3].map((id) => new TestReplica(id, { conf: conf([1, 2], [3]) })))
    network.campaign(1)
    network.isolate(2)
    network.tick(2 * T)
    expect(network.get(1).raft.role).toBe('follower')
  })

  it('who hears a leader grants neither vote nor pre-vote, and keeps its term, unless the campaign is forced', () => {
    for (const type of [MessageType.Vote, MessageType.PreVote]) {
      const replica = new TestReplica(1)
      replica.step(message(MessageType.Heartbeat, 2, 1))
      expect(replica.step(message(type, 3, 9, { index: 5, logTerm: 5 }))).toEqual([])
      expect(replica.raft.term).toBe(1)
      expect(replica.step(message(type, 3, 9, { index: 5, logTerm: 5, context: 1 }))).toMatchObject([{ reject: false, term: 9 }])
    }
  })

  it('it grants again when the leader was not heard for an election timeout', () => {
    const longest = { next: () => 0.99, below: (bound: number) => bound - 1, bytes: (length: number) => new Uint8Array(length) }
    const replica = new TestReplica(1, { options: { random: longest } })
    replica.step(message(MessageType.Heartbeat, 2, 1))
    for (let i = 0; i < T - 1; i++) replica.raft.tick()
    expect(replica.step(message(MessageType.Vote, 3, 2))).toEqual([])
    replica.raft.tick()
    expect(replica.step(message(MessageType.Vote, 3, 2))).toMatchObject([{ type: MessageType.VoteResponse, reject: false }])
  })

  it('a leader refuses to vote while it leads', () => {
    const replica = leader()
    expect(replica.step(message(MessageType.Vote, 2, 9, { index: 9, logTerm: 9 }))).toEqual([])
    expect(replica.raft).toMatchObject({ role: 'leader', term: 1 })
  })

  it('a candidate of a higher term frees itself: the leader of the lower term steps down at its answer', () => {
    const network = Network.of(3)
    network.campaign(1)
    network.get(3).restart(0, (hardState) => ({ ...hardState, term: 7, vote: 0 }))
    network.tick(1, [1])
    expect(network.get(1).raft.role).toBe('follower')
    network.elect()
    network.tick(2)
    expect(network.replicas.every(({ raft }) => raft.leader === network.leader.id && raft.term > 7)).toBe(true)
  })
})

describe('elections by whom and over what', () => {
  it('from any role a vote goes to a candidate of a newer term with a newer log', () => {
    const roles = [new TestReplica(1), candidate().replica]
    for (const replica of roles) {
      const answers = replica.step(message(MessageType.Vote, 3, 8, { index: 50, logTerm: 7 }))
      expect(answers).toMatchObject([{ reject: false, term: 8 }])
      expect(replica.raft).toMatchObject({ role: 'follower', term: 8, vote: 3 })
    }
  })

  it('a learner does not campaign, but grants a vote', () => {
    const replica = new TestReplica(1, { conf: conf([2, 3], [1]) })
    expect(replica.tick(5 * T)).toEqual([])
    replica.raft.campaign()
    expect(replica.raft.role).toBe('follower')
    expect(replica.step(message(MessageType.Vote, 2, 1))).toMatchObject([{ type: MessageType.VoteResponse, reject: false }])
  })

  it('a replica without a configuration waits', () => {
    expect(new TestReplica(1, { conf: conf([]) }).tick(5 * T)).toEqual([])
  })

  it('a winner overwrites newer entries that were never committed', () => {
    // 1 won in term 1 with 2 and 3; 5 won in term 2 with 3 and 4, and nobody else has its entry.
    const network = Network.of(5, (id) => ({
      entries: id <= 2 ? logOf(1) : id === 5 ? logOf(2) : [],
      hardState: { term: 2, vote: 5, commit: 0 },
    }))
    network.isolate(5)
    network.campaign(1)
    expect(network.get(1).raft).toMatchObject({ role: 'leader', term: 3, commit: 2 })
    network.heal()
    network.tick(3)
    for (const { log } of network.replicas) expect(log.all().map(({ term }) => term)).toEqual([1, 3])
  })

  it('a restart keeps the vote: a second candidate of the term is refused', () => {
    const replica = new TestReplica(1)
    replica.step(message(MessageType.Vote, 2, 1))
    replica.restart()
    expect(replica.step(message(MessageType.Vote, 3, 1))).toMatchObject([{ reject: true }])
    expect(replica.step(message(MessageType.Vote, 2, 1))).toMatchObject([{ reject: false }])
  })

  it('messages for others and doubled self messages do nothing', () => {
    const replica = new TestReplica(1)
    expect(replica.step(message(MessageType.Vote, 2, 3, { to: 2 }))).toEqual([])
    expect(replica.step(message(MessageType.Append, 1, 3))).toEqual([])
    expect(ofType(replica.step(message(MessageType.Heartbeat, 2, 0)), MessageType.HeartbeatResponse)).toEqual([])
    expect(replica.raft.term).toBe(0)
  })

  it('a second leader in one term is a broken invariant', () => {
    const replica = leader()
    expect(() => replica.raft.step(message(MessageType.Append, 2, 1))).toThrow(/leads term 1/)
    const follower = new TestReplica(1)
    follower.step(message(MessageType.Heartbeat, 2, 1))
    expect(() => follower.raft.step(message(MessageType.Heartbeat, 3, 1))).toThrow(/both lead/)
  })
})
