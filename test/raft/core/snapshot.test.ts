import { describe, expect, it } from 'vitest'
import { MessageType } from '../../../raft/core/types.ts'
import { leader, message, ofType } from './messages.ts'
import { Network } from './network.ts'
import { conf, entry, logOf, TestReplica } from './test-replica.ts'

/** Replica 3 misses ten entries, which the leader, 1, then drops from its log. */
function lagging(): Network {
  const network = Network.of(3)
  network.campaign(1)
  network.isolate(3)
  for (let i = 0; i < 10; i++) network.propose(1, `${i}`)
  network.get(1).compact(11)
  expect(network.get(1).log.firstIndex).toBe(12)
  network.heal()
  network.tick(2)
  return network
}

function stateOf(network: Network, id: number) {
  return network
    .get(1)
    .raft.progress()
    .find(({ replica }) => replica === id)
}

describe('a follower behind the truncated log', () => {
  it('is offered what the leader has applied, and sent nothing else until it has that', () => {
    const network = lagging()
    expect(network.get(3).offered).toEqual({ index: 11, term: 1, conf: conf([1, 2, 3]) })
    expect(stateOf(network, 3)).toMatchObject({ state: 'snapshot', pendingSnapshot: 11 })
    network.delivered.length = 0
    network.propose(1, 'more')
    expect(network.delivered.filter(({ to, type }) => to === 3 && type === MessageType.Append)).toEqual([])
  })

  it('streams again once it has installed, also a newer snapshot than was offered', () => {
    for (const more of [0, 3]) {
      const network = lagging()
      for (let i = 0; i < more; i++) network.propose(1, `more ${i}`)
      network.get(3).install(network.get(1).applied)
      network.deliver()
      expect(stateOf(network, 3)).toMatchObject({ state: 'replicate', match: 11 + more, pendingSnapshot: 0 })
      expect(network.get(3).log.firstIndex).toBe(12 + more)
      network.propose(1, 'last')
      expect(network.get(3).texts()).toEqual(['last'])
      expect(network.get(3).applied.digest).toBe(network.get(1).applied.digest)
    }
  })

  it('that got it from one in a newer term is in that term, too, and tells the leader of the older one nothing', () => {
    const network = lagging()
    network.delivered.length = 0
    const { applied } = network.get(1)
    network.get(3).install({ ...applied, index: applied.index + 1, term: 2 })
    network.deliver()
    expect(network.get(3).raft.term).toBe(2)
    expect(ofType(network.delivered, MessageType.AppendResponse).filter(({ from, term }) => from === 3 && term === 1)).toEqual([])
  })

  it('is offered it once per fetch, though the offer is repeated with each heartbeat', () => {
    const network = lagging()
    network.get(3).offered = undefined
    network.delivered.length = 0
    network.tick(5)
    expect(ofType(network.delivered, MessageType.Snapshot).length).toBeGreaterThanOrEqual(4)
    expect(network.get(3).offered).toBeUndefined()
  })

  it('hears of a lost offer again', () => {
    const network = Network.of(3)
    network.campaign(1)
    network.isolate(3)
    for (let i = 0; i < 10; i++) network.propose(1, `${i}`)
    network.get(1).compact(11)
    network.heal()
    network.ignore(MessageType.Snapshot)
    network.tick(3)
    expect(network.get(3).offered).toBeUndefined()
    network.heal()
    network.tick()
    expect(network.get(3).offered).toMatchObject({ index: 11 })
  })

  it('is offered again after a failure, but not before the next heartbeat', () => {
    const network = lagging()
    network.get(3).offered = undefined
    network.get(3).raft.snapshotFailed()
    network.deliver()
    expect(stateOf(network, 3)).toMatchObject({ state: 'probe' })
    expect(network.get(3).offered).toBeUndefined()
    network.tick()
    expect(network.get(3).offered).toMatchObject({ index: 11 })
  })

  it('is offered a newer one when the log was truncated beyond the first', () => {
    const network = lagging()
    for (let i = 0; i < 5; i++) network.propose(1, `${i}`)
    network.get(1).compact(16)
    network.tick()
    expect(stateOf(network, 3)).toMatchObject({ state: 'snapshot', pendingSnapshot: 16 })
  })

  it('does not campaign while it installs, but votes', () => {
    const network = lagging()
    const replica = network.get(3)
    expect(ofType(replica.tick(50), MessageType.PreVote)).toEqual([])
    expect(replica.step(message(MessageType.Vote, 2, 5, { to: 3, index: 99, logTerm: 1 }))).toMatchObject([{ reject: false }])
  })

  it('starts again behind the snapshot after a crash, whether or not the reset of its log was durable', () => {
    for (const written of [0, 9]) {
      const network = lagging()
      const replica = network.get(3)
      replica.install(network.get(1).applied)
      replica.restart(written)
      expect(replica.raft).toMatchObject({ commit: 11, lastIndex: 11 })
      network.tick(3)
      network.propose(1, 'last')
      expect(replica.texts().at(-1)).toBe('last')
    }
  })
})

describe('a replica that is not fit to lead', () => {
  it('steps down, does not campaign, and votes and appends as before', () => {
    const network = Network.of(3)
    network.campaign(1)
    const replica = network.get(1)
    replica.raft.setFit(false)
    expect(replica.raft.role).toBe('follower')
    expect(ofType(replica.tick(50), MessageType.PreVote)).toEqual([])
    network.campaign(2)
    network.propose(2, 'more')
    expect(replica.texts()).toEqual(['more'])
  })

  it('takes a snapshot that was not offered, keeps the log where it holds the entry, and may lead again', () => {
    const network = Network.of(3)
    network.campaign(1)
    network.propose(1, 'a')
    const replica = network.get(3)
    replica.raft.setFit(false)
    network.propose(1, 'b')
    network.campaign(3)
    expect(replica.raft.role).toBe('follower')
    replica.applied = replica.store
    replica.install(network.get(1).applied)
    replica.raft.setFit(true)
    expect(replica.log.firstIndex).toBe(1)
    network.campaign(3)
    expect(replica.raft.role).toBe('preCandidate')
  })
})

describe('the lowest pending snapshot', () => {
  it('is that of a follower which fetches one, until it is silent for long', () => {
    const network = lagging()
    const { raft } = network.get(1)
    expect(raft.lowestPendingSnapshot()).toBe(11)
    expect(network.get(2).raft.lowestPendingSnapshot()).toBeUndefined()
    network.isolate(3)
    network.tick(200)
    expect(raft.lowestPendingSnapshot()).toBe(11)
    network.tick(400)
    expect(raft.lowestPendingSnapshot()).toBeUndefined()
  })
})

describe('an offered snapshot', () => {
  it('that the log already holds only moves the commit index', () => {
    const replica = new TestReplica(1, { entries: logOf(1, 1, 1) })
    const answers = replica.step(message(MessageType.Snapshot, 2, 2, { snapshot: { index: 2, term: 1, conf: conf([1, 2, 3]) } }))
    expect(answers).toMatchObject([{ type: MessageType.AppendResponse, index: 2, reject: false }])
    expect(replica.raft).toMatchObject({ commit: 2, lastIndex: 3 })
    expect(replica.offered).toBeUndefined()
  })

  it('older than what is committed is answered with the commit index', () => {
    const replica = new TestReplica(1, { entries: logOf(1, 1, 1), hardState: { term: 1, vote: 0, commit: 3 } })
    const answers = replica.step(message(MessageType.Snapshot, 2, 2, { snapshot: { index: 2, term: 1, conf: conf([1, 2, 3]) } }))
    expect(answers).toMatchObject([{ index: 3, reject: false }])
  })

  it('that arrives late, when the log has gone on, keeps the log', () => {
    const replica = new TestReplica(1)
    replica.step(message(MessageType.Snapshot, 2, 1, { snapshot: { index: 2, term: 1, conf: conf([1, 2, 3]) } }))
    expect(replica.offered).toMatchObject({ index: 2 })
    replica.step(message(MessageType.Append, 2, 1, { entries: logOf(1, 1, 1) }))
    replica.install({ index: 2, term: 1, digest: 7, conf: conf([1, 2, 3]) })
    replica.drain()
    expect(replica.raft).toMatchObject({ commit: 2, lastIndex: 3 })
    expect(replica.log.firstIndex).toBe(1)
  })

  it('with another entry at its index than the log has discards the log', () => {
    const replica = new TestReplica(1, { entries: logOf(1, 2, 2, 2, 2), hardState: { term: 2, vote: 0, commit: 1 } })
    const store = { index: 3, term: 3, digest: 7, conf: conf([1, 2, 3]) }
    replica.step(message(MessageType.Snapshot, 2, 3, { snapshot: store }))
    expect(replica.offered).toMatchObject({ index: 3 })
    replica.install(store)
    replica.drain()
    expect(replica.raft).toMatchObject({ commit: 3, lastIndex: 3, stableIndex: 3 })
    expect(replica.log.firstIndex).toBe(4)
    // And goes on behind it, as the leader has it.
    expect(replica.step(message(MessageType.Append, 2, 3, { index: 3, logTerm: 3, entries: [entry(4, 3)] }))).toMatchObject([
      { index: 4, reject: false },
    ])
  })

  it('brings the membership: a learner that becomes a voter by it may campaign', () => {
    const replica = new TestReplica(1, { conf: conf([2, 3], [1]) })
    replica.step(message(MessageType.Snapshot, 2, 1, { snapshot: { index: 5, term: 1, conf: conf([1, 2, 3]) } }))
    replica.install({ index: 5, term: 1, digest: 0, conf: conf([1, 2, 3]) })
    replica.drain()
    replica.raft.campaign()
    expect(replica.raft.role).toBe('preCandidate')
  })

  it('is not made for a follower that was not heard: it would pin the log for nothing', () => {
    const setup = { base: { index: 10, term: 1 }, hardState: { term: 1, vote: 0, commit: 10 } }
    const replica = leader(setup)
    replica.raft.reportUnreachable(3)
    const rejected = message(MessageType.AppendResponse, 2, 2, { index: 10, reject: true, hintIndex: 3, hintTerm: 1 })
    expect(ofType(replica.step(rejected), MessageType.Snapshot).map(({ to }) => to)).toEqual([2])
    expect(replica.raft.progress().map(({ state }) => state)).toEqual(['replicate', 'snapshot', 'probe'])
  })
})
