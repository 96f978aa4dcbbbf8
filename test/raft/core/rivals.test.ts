import { describe, expect, it } from 'vitest'
import { MessageType, type ReplicaNumber } from '../../../raft/core/types.ts'
import { candidate, leader, message, ofType } from './messages.ts'
import { Network } from './network.ts'
import { conf, logOf, type ReplicaSetup, TestReplica } from './test-replica.ts'

const T = 10
/** Always T + T/2 - 1 ticks, so that a tick count says who has timed out. */
const longest = { next: () => 0, below: (bound: number) => bound - 1, bytes: (length: number) => new Uint8Array(length) }

function view(network: Network): [role: string, term: number][] {
  return network.replicas.map(({ raft }) => [raft.role, raft.term])
}

/** `replica` campaigns as the leader's chosen one: no lease holds its votes back. */
function campaignByForce(network: Network, replica: ReplicaNumber): void {
  const { raft } = network.get(replica)
  raft.step(message(MessageType.TimeoutNow, replica === 1 ? 2 : 1, raft.term, { to: replica }))
  network.deliver()
}

describe('two candidates', () => {
  for (const preVote of [true, false]) {
    it(`that cannot hear each other: the one with the quorum wins, the other falls back (${preVote ? 'with' : 'without'} PreVote)`, () => {
      const network = Network.of(3, { options: { preVote, checkQuorum: false } })
      network.cut(1, 3)
      network.get(1).raft.campaign()
      network.get(3).raft.campaign()
      network.deliver()
      // 2 gave its vote to 1 first.
      expect(network.get(1).raft).toMatchObject({ role: 'leader', term: 1 })
      expect(network.get(3).raft).toMatchObject({ role: 'candidate', term: 1 })
      network.heal()
      network.get(3).raft.campaign()
      network.deliver()
      // The log of 3 lacks the leader's entry. Its pre-vote disturbs nobody; its vote makes the leader step down, and elects nobody.
      expect(network.get(3).raft.role).toBe('follower')
      const roles = view(network).map(([role]) => role)
      expect(roles).toEqual(preVote ? ['leader', 'follower', 'follower'] : ['follower', 'follower', 'follower'])
      expect(network.get(1).raft.term).toBe(preVote ? 1 : 2)
      network.elect()
      network.tick(3)
      for (const { log } of network.replicas) expect(log.all()).toEqual(network.leader.log.all())
    })
  }

  it('that split the votes in one term: neither wins it, one of them wins a later one', () => {
    const network = Network.of(3)
    network.elect()
    network.isolate(network.leader.id)
    const old = network.leader.id
    const [a, b] = [1, 2, 3].filter((id) => id !== old) as [number, number]
    const { term } = network.leader.raft
    for (const id of [a, b]) campaignOnly(network, id)
    // Each has its own vote and refuses the other.
    network.deliver()
    for (const id of [a, b]) expect(network.get(id).raft).toMatchObject({ role: 'candidate', term: term + 1, vote: id })
    for (let i = 0; i < 100 && network.leader.id === old; i++) network.tick(1, [a, b])
    expect(network.leader.id).not.toBe(old)
    expect(network.leader.raft.term).toBeGreaterThan(term + 1)
  })
})

/** Makes `id` a candidate whose requests nobody has got yet. */
function campaignOnly(network: Network, id: number): void {
  const replica = network.get(id)
  replica.raft.campaign()
  replica.drain()
  const other = network.replicas.find((one) => one.id !== id)?.id ?? 0
  replica.raft.step(message(MessageType.PreVoteResponse, other, replica.raft.term + 1, { to: id }))
}

describe('a vote, whoever is asked', () => {
  const roles = ['follower', 'preCandidate', 'candidate', 'leader'] as const

  const setup = { entries: logOf(1, 1), hardState: { term: 1, vote: 0, commit: 0 } }

  function inRole(role: (typeof roles)[number]): TestReplica {
    if (role === 'leader') return leader(setup)
    if (role === 'candidate') return candidate(setup).replica
    const replica = new TestReplica(1, setup)
    if (role === 'preCandidate') replica.raft.campaign()
    replica.drain()
    expect(replica.raft.role).toBe(role)
    return replica
  }

  it.each(roles)('by force: a %s grants it to a newer term and log, and is a follower of that term', (role) => {
    const replica = inRole(role)
    const answers = replica.step(message(MessageType.Vote, 3, 7, { index: 50, logTerm: 6, context: 1 }))
    expect(ofType(answers, MessageType.VoteResponse)).toMatchObject([{ to: 3, term: 7, reject: false }])
    expect(replica.raft).toMatchObject({ role: 'follower', term: 7, vote: 3 })
    expect(replica.log.hardState).toMatchObject({ term: 7, vote: 3 })
  })

  it.each(roles)('a pre-vote by force: a %s grants it and stays what it is', (role) => {
    const replica = inRole(role)
    const { term, vote } = replica.raft
    const answers = replica.step(message(MessageType.PreVote, 3, 7, { index: 50, logTerm: 6, context: 1 }))
    expect(ofType(answers, MessageType.PreVoteResponse)).toMatchObject([{ to: 3, term: 7, reject: false }])
    expect(replica.raft).toMatchObject({ role, term, vote })
  })

  it.each(roles)('of an old log: a %s refuses it, in whatever term', (role) => {
    const replica = inRole(role)
    const answers = replica.step(message(MessageType.Vote, 3, 9, { index: 1, logTerm: 1, context: 1 }))
    expect(ofType(answers, MessageType.VoteResponse)).toMatchObject([{ to: 3, term: 9, reject: true }])
    expect(replica.raft).toMatchObject({ role: 'follower', term: 9, vote: 0 })
  })
})

describe('a winner with an older log end', () => {
  for (const preVote of [true, false]) {
    it(`overwrites newer entries that no quorum has (${preVote ? 'with' : 'without'} PreVote)`, () => {
      // 1 led term 1 and reached 2; 3 won term 2 by the votes of 4 and 5 and reached nobody.
      const network = Network.of(5, (id) => ({
        entries: id <= 2 ? logOf(1) : id === 3 ? logOf(2) : [],
        hardState: { term: id === 1 ? 1 : 2, vote: id >= 3 ? 3 : 0, commit: 0 },
        options: { preVote },
      }))
      // Its first campaign is in term 2, of which 3, 4 and 5 have given their votes: it is told so, and wins the next.
      network.isolate(3)
      network.campaign(1)
      if (network.get(1).raft.role !== 'leader') network.campaign(1)
      expect(network.get(1).raft).toMatchObject({ role: 'leader', term: 3 })
      network.heal()
      network.tick(3)
      for (const { log } of network.replicas) expect(log.all().map(({ term }) => term)).toEqual([1, 3])
    })
  }
})

describe('entries of earlier terms (Raft, 5.4.2)', () => {
  it('are not committed by a new leader that has none of its own committed, though a quorum holds them', () => {
    const setup = { conf: conf([1, 2, 3, 4, 5]), entries: logOf(1, 1, 1), hardState: { term: 1, vote: 0, commit: 0 } }
    const replica = leader(setup, [2, 3])
    for (const from of [2, 3, 4, 5]) replica.step(message(MessageType.AppendResponse, from, replica.raft.term, { index: 3 }))
    expect(replica.raft.commit).toBe(0)
    for (const from of [2, 3]) replica.step(message(MessageType.AppendResponse, from, replica.raft.term, { index: 4 }))
    expect(replica.raft.commit).toBe(4)
  })

  it('are committed with its own first entry, without a proposal', () => {
    const network = Network.of(5)
    network.campaign(1)
    for (const id of [3, 4, 5]) network.cut(1, id)
    network.propose(1, 'a')
    network.propose(1, 'b')
    expect(network.get(1).raft.commit).toBe(1)
    network.heal()
    campaignByForce(network, 2)
    expect(network.get(2).raft).toMatchObject({ role: 'leader', term: 2, commit: 4 })
    expect(network.get(5).texts()).toEqual(['a', 'b'])
  })
})

describe('CheckQuorum and rivals (thesis, 4.2.3)', () => {
  it('nobody supersedes a leader that is heard; once it is silent for an election timeout, one does', () => {
    const network = Network.of(3, { options: { preVote: false, random: longest } })
    network.campaign(1)
    expect(network.get(1).raft.role).toBe('leader')
    network.tick(1, [1])
    // 3 asks in a newer term; both others have heard the leader.
    network.campaign(3)
    expect(network.get(3).raft).toMatchObject({ role: 'candidate', term: 2 })
    expect(network.get(2).raft).toMatchObject({ leader: 1, term: 1 })
    // 2 hears nothing for T ticks and grants the next.
    for (let i = 0; i < T; i++) network.get(2).raft.tick()
    network.campaign(3)
    expect(network.get(3).raft).toMatchObject({ role: 'leader', term: 3 })
    network.tick(1, [3])
    expect(network.get(1).raft).toMatchObject({ role: 'follower', leader: 3 })
  })

  it('a rival that was cut off raises no term with PreVote; without, the leader learns of its term and steps down', () => {
    for (const preVote of [true, false]) {
      const network = Network.of(3, { options: { preVote } })
      network.campaign(1)
      network.isolate(3)
      network.tick(5 * T)
      network.heal()
      const before = network.get(3).raft.term
      expect(before > 1).toBe(!preVote)
      network.tick(1, [1])
      expect(network.get(1).raft.role).toBe(preVote ? 'leader' : 'follower')
      network.elect()
      network.tick(3)
      const { id, raft } = network.leader
      expect(raft.term > 1).toBe(!preVote)
      expect(network.replicas.map((replica) => replica.raft.leader)).toEqual([id, id, id])
    }
  })

  it('a pre-candidate has forgotten its leader and grants pre-votes: two that think it dead replace it, though it is heard', () => {
    const network = Network.of(3, { options: { random: longest } })
    network.campaign(1)
    network.tick(1, [1])
    network.campaign(2)
    expect(network.get(2).raft).toMatchObject({ role: 'preCandidate', term: 1 })
    network.campaign(3)
    expect(network.get(3).raft).toMatchObject({ role: 'leader', term: 2 })
  })

  it('a replica that is not in its own configuration yet votes and follows, and does not stand', () => {
    const network = new Network([new TestReplica(1, { conf: conf([1, 2]) }), new TestReplica(2, { conf: conf([1]) })])
    for (let i = 0; i < 3 * T; i++) network.tick(1, [2])
    expect(network.get(2).raft).toMatchObject({ role: 'follower', term: 0 })
    network.campaign(1)
    expect(view(network)).toEqual([
      ['leader', 1],
      ['follower', 1],
    ])
    expect(network.get(2).raft.leader).toBe(1)
  })

  it('elections end also where every voter has heard a leader just now', () => {
    const network = Network.of(3)
    network.campaign(1)
    network.tick(1, [1])
    network.isolate(1)
    for (let i = 0; i < 3 * T && !network.replicas.some(({ id, raft }) => id !== 1 && raft.role === 'leader'); i++) network.tick(1, [2, 3])
    expect(network.leader).toMatchObject({ raft: { term: 2 } })
  })
})

describe('PreVote beside replicas that do not ask first', () => {
  const mixed = (id: number): ReplicaSetup => ({ options: { preVote: id !== 3 } })

  /** Two that ask first, and 3, which does not and has come to a later term with an older log. */
  function migrating(): Network {
    const network = Network.of(3, mixed)
    network.campaign(1)
    network.isolate(3)
    network.propose(1, 'a')
    network.campaign(3)
    network.campaign(3)
    expect(view(network)).toEqual([
      ['leader', 1],
      ['follower', 1],
      ['candidate', 3],
    ])
    return network
  }

  it('an election comes to its end', () => {
    const network = migrating()
    // The leader is gone for good: 2 and 3 must do.
    network.heal()
    network.isolate(1)
    for (let i = 0; i < 20 * T && !network.get(2).raft.leader; i++) network.tick(1, [2, 3])
    for (let i = 0; i < 20 * T && network.get(2).raft.role !== 'leader'; i++) network.tick(1, [2, 3])
    expect(network.get(2).raft.role).toBe('leader')
    expect(network.get(3).texts()).toEqual(['a'])
  })

  it('one that is stuck in a later term is freed by the leader, which steps down and is elected again', () => {
    const network = migrating()
    network.heal()
    network.tick(1, [1])
    network.elect()
    network.tick(3)
    expect(network.leader.raft.term).toBeGreaterThan(3)
    expect(new Set(network.replicas.map(({ raft }) => raft.leader)).size).toBe(1)
    expect(network.get(3).texts()).toEqual(['a'])
  })
})
