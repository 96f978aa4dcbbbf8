import { describe, expect, it } from 'vitest'
import { MessageType, NONE } from '../../../raft/core/types.ts'
import { leader, message, ofType } from './messages.ts'
import { Network } from './network.ts'
import { conf, logOf, TestReplica } from './test-replica.ts'

const T = 10

/** Three replicas (or more), led by replica 1, all heard within the lease. */
function ledByOne(count = 3): Network {
  const network = Network.of(count)
  network.campaign(1)
  network.tick()
  return network
}

function transfer(network: Network, to: number) {
  const result = network.leader.raft.transferLeadership(to)
  network.deliver()
  return result
}

describe('leadership transfer (thesis, 3.10)', () => {
  it('to a follower that has everything takes no tick, although all hear the leader', () => {
    const network = ledByOne()
    expect(transfer(network, 2)).toBe('begun')
    expect(network.replicas.map(({ raft }) => [raft.role, raft.term, raft.leader])).toEqual([
      ['follower', 2, 2],
      ['leader', 2, 2],
      ['follower', 2, 2],
    ])
    expect(ofType(network.delivered, MessageType.TimeoutNow)).toHaveLength(1)
  })

  it('begins no pre-vote', () => {
    const network = ledByOne()
    network.delivered.length = 0
    transfer(network, 3)
    expect(ofType(network.delivered, MessageType.PreVote)).toEqual([])
    expect(ofType(network.delivered, MessageType.Vote)).toMatchObject([{ context: 1 }, { context: 1 }])
  })

  it('and back again', () => {
    const network = ledByOne()
    transfer(network, 2)
    transfer(network, 1)
    expect(network.leader).toBe(network.get(1))
    expect(network.propose(1, 'x')).toBe(true)
  })

  it('a target that lags gets the log first, and loses nothing of it', () => {
    const network = ledByOne()
    network.isolate(3)
    network.propose(1, 'a', 'b')
    network.heal()
    transfer(network, 3)
    network.tick(2)
    expect(network.leader).toBe(network.get(3))
    network.tick(2)
    expect(network.replicas.map((replica) => replica.texts())).toEqual([
      ['a', 'b'],
      ['a', 'b'],
      ['a', 'b'],
    ])
  })

  it('a target whose log is no longer there takes a snapshot first', () => {
    const network = ledByOne()
    network.isolate(3)
    network.propose(1, 'a')
    network.propose(1, 'b')
    network.get(1).compact(100)
    expect(network.get(1).log.firstIndex).toBeGreaterThan(2)
    network.heal()
    network.tick(2)
    expect(network.get(3).offered).toBeDefined()
    transfer(network, 3)
    expect(network.leader).toBe(network.get(1))
    network.get(3).install(network.get(1).applied)
    network.deliver()
    network.tick(3)
    expect(network.leader).toBe(network.get(3))
  })

  it('the target is told only when the whole log is committed', () => {
    const replica = leader()
    const term = replica.raft.term
    replica.step(message(MessageType.AppendResponse, 2, term, { index: 1 }))
    replica.raft.propose([new Uint8Array(1)])
    replica.takeReady()
    replica.raft.transferLeadership(2)
    // The target has entry 2; the leader's own disk does not have it yet, so that it is not committed.
    replica.raft.step(message(MessageType.AppendResponse, 2, term, { index: 2 }))
    expect(ofType(replica.takeReady(), MessageType.TimeoutNow)).toEqual([])
    expect(replica.raft.commit).toBe(1)
    const sent = replica.drain()
    expect(replica.raft.commit).toBe(2)
    expect(ofType(sent, MessageType.TimeoutNow)).toMatchObject([{ to: 2, term }])
  })

  it('nothing is proposed meanwhile, and again when it is given up', () => {
    const network = ledByOne()
    network.isolate(3)
    transfer(network, 3)
    expect(network.get(1).raft.propose([new Uint8Array(1)])).toEqual({ ok: false, reason: 'transferring', leader: 1 })
    network.tick(T)
    expect(network.get(1).raft.transferee).toBe(NONE)
    expect(network.propose(1, 'x')).toBe(true)
    expect(network.get(2).texts()).toEqual(['x'])
  })

  it('to a dead target is given up after an election timeout, not before', () => {
    const network = ledByOne()
    network.isolate(3)
    transfer(network, 3)
    network.tick(T - 1)
    expect(network.get(1).raft.transferee).toBe(3)
    network.tick()
    expect(network.get(1).raft).toMatchObject({ role: 'leader', transferee: NONE, term: 1 })
  })

  it('a lost TimeoutNow is sent again with the next heartbeat that the target answers', () => {
    const network = ledByOne()
    network.ignore(MessageType.TimeoutNow)
    transfer(network, 2)
    expect(network.leader).toBe(network.get(1))
    network.heal()
    network.tick()
    expect(network.leader).toBe(network.get(2))
  })

  it('a doubled TimeoutNow elects once', () => {
    const network = ledByOne()
    const replica = network.get(2)
    const now = message(MessageType.TimeoutNow, 1, 1, { to: 2 })
    replica.raft.step(now)
    replica.raft.step(now)
    network.deliver()
    replica.raft.step(now)
    network.deliver()
    expect(replica.raft).toMatchObject({ role: 'leader', term: 2 })
  })

  it('to a learner, to a stranger, and by one that does not lead is refused', () => {
    const network = Network.of(4, { conf: conf([1, 2, 3], [4]) })
    network.campaign(1)
    expect(transfer(network, 4)).toBe('not-a-voter')
    expect(transfer(network, 9)).toBe('not-a-voter')
    expect(network.get(2).raft.transferLeadership(3)).toBe('not-leader')
    expect(network.get(1).raft.transferee).toBe(NONE)
  })

  it('to a voter that leaves with the joint configuration is refused', () => {
    const network = Network.of(4, { conf: conf([1, 2, 3], [], [1, 2, 4]) })
    network.campaign(1)
    expect(transfer(network, 4)).toBe('not-a-voter')
    expect(transfer(network, 3)).toBe('begun')
    expect(network.leader).toBe(network.get(3))
  })

  it('to itself changes nothing, and ends one that is under way', () => {
    const network = ledByOne()
    expect(transfer(network, 1)).toBe('leading')
    expect(network.leader.raft.term).toBe(1)
    network.isolate(3)
    transfer(network, 3)
    transfer(network, 1)
    expect(network.get(1).raft.transferee).toBe(NONE)
    expect(network.propose(1, 'x')).toBe(true)
  })

  it('a second one to the same target does not lengthen the first', () => {
    const network = ledByOne()
    network.isolate(3)
    transfer(network, 3)
    network.tick(T - 1)
    transfer(network, 3)
    network.tick()
    expect(network.get(1).raft.transferee).toBe(NONE)
  })

  it('one to another target replaces the first', () => {
    const network = ledByOne()
    network.isolate(3)
    transfer(network, 3)
    transfer(network, 2)
    expect(network.leader).toBe(network.get(2))
  })

  it('ends when another leader is elected', () => {
    const network = ledByOne()
    network.isolate(3)
    transfer(network, 3)
    network.get(1).step(message(MessageType.Heartbeat, 2, 5))
    expect(network.get(1).raft).toMatchObject({ role: 'follower', term: 5, transferee: NONE })
  })

  it('a target that may not campaign says so, and the leader leads on at once', () => {
    const network = ledByOne()
    network.get(2).raft.allowCampaign(false)
    transfer(network, 2)
    expect(network.get(1).raft).toMatchObject({ role: 'leader', term: 1, transferee: NONE })
    expect(network.propose(1, 'x')).toBe(true)
    network.get(2).raft.allowCampaign(true)
    transfer(network, 2)
    expect(network.leader).toBe(network.get(2))
  })

  it('a learner does not campaign on a TimeoutNow', () => {
    const replica = new TestReplica(1, { conf: conf([2, 3], [1]) })
    const answers = replica.step(message(MessageType.TimeoutNow, 2, 1))
    expect(replica.raft.role).toBe('follower')
    expect(answers).toMatchObject([{ type: MessageType.TimeoutNow, reject: true, to: 2 }])
  })

  it('the refusal of one that is no longer the target ends nothing', () => {
    const network = ledByOne()
    network.isolate(3)
    transfer(network, 3)
    network.get(1).step(message(MessageType.TimeoutNow, 2, 1, { reject: true }))
    expect(network.get(1).raft.transferee).toBe(3)
  })

  it('a target with an older log is not elected by force either', () => {
    const ahead = { entries: logOf(1, 1), hardState: { term: 1, vote: 0, commit: 0 } }
    const network = Network.of(3, (id) => (id === 3 ? { hardState: { term: 1, vote: 0, commit: 0 } } : ahead))
    network.get(3).raft.step(message(MessageType.TimeoutNow, 2, 1, { to: 3 }))
    network.deliver()
    expect(network.get(3).raft.role).not.toBe('leader')
  })

  it('reads that were not confirmed are lost, not left open', () => {
    const network = ledByOne()
    const replica = network.get(1)
    network.ignore(MessageType.HeartbeatResponse)
    replica.raft.readIndex(7)
    network.deliver()
    transfer(network, 2)
    expect(replica.lostReads).toEqual([7])
  })
})

describe('a replica that may not campaign', () => {
  it('does not stand for election, votes, and stands again once it may', () => {
    const network = Network.of(3)
    network.get(1).raft.allowCampaign(false)
    network.tick(50, [1])
    network.get(1).raft.campaign()
    expect(network.get(1).raft).toMatchObject({ role: 'follower', term: 0 })
    network.isolate(3)
    network.campaign(2)
    expect(network.leader).toBe(network.get(2))
    network.get(1).raft.allowCampaign(true)
    network.heal()
    network.isolate(2)
    for (let i = 0; i < 60 && network.get(1).raft.role !== 'leader'; i++) network.tick(1, [1])
    expect(network.get(1).raft.role).toBe('leader')
  })

  it('withdraws from an election under way', () => {
    const replica = new TestReplica(1)
    replica.raft.campaign()
    replica.raft.allowCampaign(false)
    replica.drain()
    replica.step(message(MessageType.PreVoteResponse, 2, 1))
    replica.step(message(MessageType.PreVoteResponse, 3, 1))
    expect(replica.raft).toMatchObject({ role: 'follower', term: 0 })
  })

  it('leads on until the office is handed over', () => {
    const network = ledByOne()
    network.get(1).raft.allowCampaign(false)
    network.tick(3 * T)
    expect(network.leader).toBe(network.get(1))
    transfer(network, 2)
    expect(network.leader).toBe(network.get(2))
  })
})
