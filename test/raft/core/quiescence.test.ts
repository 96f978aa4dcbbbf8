import { describe, expect, it } from 'vitest'
import { MessageType, NONE } from '../../../raft/core/types.ts'
import { message, ofType } from './messages.ts'
import { Network } from './network.ts'
import { bytes, conf } from './test-replica.ts'

const T = 10

/** Three replicas that go quiet, led by replica 1, with one entry of a client's. */
function ledByOne(): Network {
  const network = Network.of(3, { options: { quiesce: true } })
  network.campaign(1)
  network.propose(1, 'a')
  network.tick()
  return network
}

function quiet(network: Network): boolean[] {
  return network.replicas.map(({ raft }) => raft.quiet)
}

function ledQuietly(): Network {
  const network = ledByOne()
  network.tick(2 * T)
  expect(quiet(network)).toEqual([true, true, true])
  network.delivered.length = 0
  return network
}

/** Wakes the followers as a node does that has not heard the leader's for an election timeout. */
function fallSilent(network: Network, ...ids: number[]): void {
  for (const id of ids) network.get(id).raft.wake(T)
}

describe('going quiet', () => {
  it('a group with nothing to do stops ticking and sending', () => {
    const network = ledQuietly()
    network.tick(100)
    expect(network.delivered).toEqual([])
    expect(network.replicas.map(({ raft }) => [raft.role, raft.term, raft.leader])).toEqual([
      ['leader', 1, 1],
      ['follower', 1, 1],
      ['follower', 1, 1],
    ])
  })

  it('does not before it has rested for an election timeout, counted from the last proposal and the last read', () => {
    const network = ledByOne()
    network.tick(T - 2)
    network.propose(1, 'b')
    network.tick(T - 1)
    expect(quiet(network)).toEqual([false, false, false])
    network.leader.raft.readIndex(1)
    network.tick(T - 1)
    expect(quiet(network)).toEqual([false, false, false])
    network.tick(3)
    expect(quiet(network)).toEqual([true, true, true])
  })

  it('is not asked for where it is not wanted', () => {
    const network = Network.of(3)
    network.campaign(1)
    network.tick(5 * T)
    expect(quiet(network)).toEqual([false, false, false])
    expect(ofType(network.delivered, MessageType.Quiesce)).toEqual([])
  })

  it('a group of one goes quiet by itself', () => {
    const network = Network.of(1, { options: { quiesce: true } })
    network.campaign(1)
    network.tick(2 * T)
    expect(quiet(network)).toEqual([true])
    expect(network.propose(1, 'a')).toBe(true)
    expect(network.get(1).texts()).toEqual(['a'])
  })

  it('waits for a follower that is not there, and does not leave the others without heartbeats', () => {
    const network = ledByOne()
    network.isolate(3)
    network.tick(6 * T)
    expect(network.get(1).raft.quiet).toBe(false)
    expect(network.get(2).raft.leader).toBe(1)
    network.heal()
    network.tick(3 * T)
    expect(quiet(network)).toEqual([true, true, true])
    expect(network.leader.raft.term).toBe(1)
  })

  it('waits for a follower that lacks an entry', () => {
    const network = ledByOne()
    network.cut(1, 3)
    network.propose(1, 'b')
    network.ignore(MessageType.PreVote)
    network.tick(3 * T)
    expect(ofType(network.delivered, MessageType.Quiesce)).toEqual([])
  })

  it('waits for an entry that the state machine has not taken', () => {
    const network = ledByOne()
    const follower = network.get(2)
    follower.apply = () => {}
    network.propose(1, 'b')
    network.tick(3 * T)
    expect(quiet(network)).not.toContain(true)
  })

  it.each([
    ['learners', conf([1, 2], [3])],
    ['a joint configuration', conf([1, 2], [], [1, 2, 3])],
  ])('never happens with %s', (_, members) => {
    const network = Network.of(3, { options: { quiesce: true }, conf: members })
    network.campaign(1)
    network.tick(5 * T)
    expect(network.get(1).raft.role).toBe('leader')
    expect(quiet(network)).toEqual([false, false, false])
  })

  it('ends with a transfer that is asked for, and the new leader goes quiet again', () => {
    const network = ledQuietly()
    expect(network.get(1).raft.transferLeadership(2)).toBe('begun')
    network.deliver()
    expect(network.leader.id).toBe(2)
    network.tick(2 * T + 1)
    expect(quiet(network)).toEqual([true, true, true])
  })

  it.each([
    ['ends elsewhere', { index: 1 }],
    ['ends with another term', { logTerm: 2 }],
  ])('a follower whose log %s refuses', (_, difference) => {
    const network = ledByOne()
    const { lastIndex, commit } = network.get(2).raft
    const asked = { index: lastIndex, logTerm: 1, commit, context: 4 }
    const answers = network.get(2).step(message(MessageType.Quiesce, 1, 1, { to: 2, ...asked, ...difference }))
    expect(answers).toMatchObject([{ type: MessageType.QuiesceResponse, reject: true, context: 4 }])
    expect(network.get(2).raft.quiet).toBe(false)
  })

  it('an agreement to an earlier attempt counts for nothing', () => {
    const network = ledByOne()
    network.ignore(MessageType.QuiesceResponse)
    network.tick(T)
    expect(ofType(network.delivered, MessageType.Quiesce)[0]).toMatchObject({ context: 1 })
    network.propose(1, 'b')
    network.tick(T + 1)
    expect(ofType(network.delivered, MessageType.Quiesce).at(-1)).toMatchObject({ context: 2 })
    const leader = network.get(1)
    for (const [context, isQuiet] of [
      [1, false],
      [2, true],
    ] as const) {
      for (const from of [2, 3]) leader.step(message(MessageType.QuiesceResponse, from, 1, { context }))
      leader.raft.tick()
      expect(leader.raft.quiet).toBe(isQuiet)
    }
  })

  it('traffic that comes while followers agree ends the attempt, and those that agreed wake', () => {
    const network = ledByOne()
    network.ignore(MessageType.QuiesceResponse)
    network.tick(T + 1)
    expect(quiet(network)).toEqual([false, true, true])
    network.heal()
    network.propose(1, 'b')
    expect(quiet(network)).toEqual([false, false, false])
    expect(network.get(3).texts()).toEqual(['a', 'b'])
  })

  it('where not all agree in time those that did hear heartbeats again', () => {
    const network = ledByOne()
    network.get(3).raft.setFit(false)
    network.tick(T)
    expect(quiet(network)).toEqual([false, true, false])
    network.tick(T / 2)
    expect(quiet(network)).toEqual([false, false, false])
    expect(network.leader.id).toBe(1)
  })
})

describe('waking', () => {
  it('the first write is committed without a tick', () => {
    const network = ledQuietly()
    expect(network.propose(1, 'b')).toBe(true)
    expect(network.get(1).texts()).toEqual(['a', 'b'])
    expect(quiet(network)).toEqual([false, false, false])
  })

  it('the first read is confirmed by a round of its own, without a tick', () => {
    const network = ledQuietly()
    network.leader.raft.readIndex(7)
    expect(network.leader.readStates).toEqual([])
    network.deliver()
    expect(network.leader.readStates).toMatchObject([{ context: 7 }])
  })

  it('a follower that wakes asks the leader, whose heartbeats come at once', () => {
    const network = ledQuietly()
    network.get(3).raft.wake()
    network.deliver()
    expect(quiet(network)).toEqual([false, false, false])
    expect(ofType(network.delivered, MessageType.Heartbeat)).toHaveLength(2)
  })

  it('a follower that restarts wakes the group when it asks for pre-votes, and gets none', () => {
    const network = ledQuietly()
    network.get(2).restart()
    expect(network.get(2).raft.leader).toBe(NONE)
    network.tick(2 * T)
    expect(network.replicas.map(({ raft }) => [raft.term, raft.leader])).toEqual([
      [1, 1],
      [1, 1],
      [1, 1],
    ])
    network.tick(2 * T)
    expect(quiet(network)).toEqual([true, true, true])
  })

  it('an old leader that comes back wakes the group, which keeps its leader', () => {
    const network = ledQuietly()
    network.deliver([
      message(MessageType.PreVote, 3, 2, { index: 2, logTerm: 1 }),
      message(MessageType.PreVote, 3, 2, { to: 2, index: 2, logTerm: 1 }),
    ])
    expect(quiet(network)).toEqual([false, false, false])
    expect(network.leader.raft.term).toBe(1)
  })

  it('what only repeats that the group is quiet wakes nobody', () => {
    const network = ledQuietly()
    const { lastIndex, commit } = network.leader.raft
    network.deliver([
      message(MessageType.Quiesce, 1, 1, { to: 2, index: lastIndex, logTerm: 1, commit, context: 1 }),
      message(MessageType.QuiesceResponse, 2, 1, { context: 1 }),
    ])
    expect(quiet(network)).toEqual([true, true, true])
  })

  it('a request for quiet that comes late does not leave a follower quiet under a leader that is not', () => {
    const network = ledQuietly()
    const { lastIndex, commit } = network.leader.raft
    network.get(1).raft.wake()
    network.deliver()
    network.deliver([message(MessageType.Quiesce, 1, 1, { to: 2, index: lastIndex, logTerm: 1, commit, context: 1 })])
    expect(network.get(2).raft.quiet).toBe(true)
    network.tick()
    expect(network.get(2).raft.quiet).toBe(false)
  })
})

describe('a leader that is gone', () => {
  it('followers whose node has not heard its node for T elect within another half', () => {
    const network = ledQuietly()
    network.isolate(1)
    fallSilent(network, 2, 3)
    network.tick(T / 2 + 1, [2, 3])
    expect([2, 3]).toContain(network.leader.id)
    expect(network.leader.raft.term).toBe(2)
  })

  it('a follower that was woken after less keeps its promise to the leader for the rest', () => {
    const network = ledQuietly()
    network.get(2).raft.wake(T - 3)
    const asks = message(MessageType.PreVote, 3, 2, { to: 2, index: 5, logTerm: 1 })
    network.get(2).raft.tick()
    expect(ofType(network.get(2).step(asks), MessageType.PreVoteResponse)).toEqual([])
    for (let i = 0; i < 2; i++) network.get(2).raft.tick()
    expect(ofType(network.get(2).step(asks), MessageType.PreVoteResponse)).toMatchObject([{ reject: false }])
  })

  it('a quiet leader that was cut off steps down within T of being woken', () => {
    const network = ledQuietly()
    network.isolate(1)
    network.get(1).raft.wake()
    network.tick(T, [1])
    expect(network.get(1).raft.role).toBe('follower')
  })

  it('followers that both lost it elect the first to campaign, long before T', () => {
    const network = ledByOne()
    network.isolate(1)
    network.get(2).raft.leaderLost(1, 1)
    network.get(3).raft.leaderLost(1, 4)
    network.tick(1, [2, 3])
    expect(network.leader.id).toBe(2)
    expect(network.leader.raft.term).toBe(2)
  })

  it('the second campaigns where the first is refused, since its log is shorter', () => {
    const network = ledByOne()
    network.cut(1, 2)
    network.propose(1, 'b')
    network.isolate(1)
    network.get(2).raft.leaderLost(1, 1)
    network.get(3).raft.leaderLost(1, 4)
    network.tick(4, [2, 3])
    expect(network.leader.id).toBe(3)
    expect(network.get(3).texts()).toEqual(['a', 'b'])
  })

  it('one that lost it alone disturbs nobody', () => {
    const network = ledByOne()
    network.cut(1, 2)
    network.get(2).raft.leaderLost(1, 1)
    network.tick(T - 1)
    expect(network.leader.id).toBe(1)
    expect(network.get(3).raft.term).toBe(1)
    expect(network.get(2).raft.term).toBe(1)
  })

  it('is not taken for lost by one that follows another by now, nor by a leader', () => {
    const network = ledByOne()
    network.get(2).raft.leaderLost(3, 1)
    network.get(1).raft.leaderLost(1, 1)
    network.tick(2)
    expect(network.leader.id).toBe(1)
    expect(network.get(2).raft.leader).toBe(1)
  })

  it('is lost for a quiet follower too', () => {
    const network = ledQuietly()
    network.isolate(1)
    for (const id of [2, 3]) network.get(id).raft.leaderLost(1, 2 * id - 3)
    network.tick(1, [2, 3])
    expect(network.leader.id).toBe(2)
    expect(network.leader.raft.propose([bytes('b')]).ok).toBe(true)
  })
})
