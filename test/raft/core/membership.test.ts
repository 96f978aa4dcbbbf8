import { describe, expect, it } from 'vitest'
import { initialConf } from '../../../raft/core/membership.ts'
import { type ConfChange, type ConfStep, EntryKind, MessageType } from '../../../raft/core/types.ts'
import { leader, message, ofType } from './messages.ts'
import { Network } from './network.ts'
import { conf, logOf, TestReplica } from './test-replica.ts'

/** Cases named behind `etcd:` are scenarios of that library's unit tests, told anew. */

const T = 10
const NO_CONTEXT = new Uint8Array(0)
const v = (replica: number): ConfStep => ({ type: 'add-voter', replica })
const l = (replica: number): ConfStep => ({ type: 'add-learner', replica })
const r = (replica: number): ConfStep => ({ type: 'remove', replica })
const auto = (...steps: ConfStep[]): ConfChange => ({ transition: 'auto', steps })
const implicit = (...steps: ConfStep[]): ConfChange => ({ transition: 'joint-implicit', steps })
const JOINT = { ...conf([2, 3, 4], [6], [1, 2, 3]), learnersNext: [1] }

function propose(replica: TestReplica, change: ConfChange) {
  return replica.raft.proposeConfChange(change, NO_CONTEXT)
}

/** Replica 1 as the leader of the `setup`'s group; its first entry is committed. */
function settled(setup: ConstructorParameters<typeof TestReplica>[1] = {}): TestReplica {
  const replica = leader(setup)
  for (const from of [2, 3]) replica.step(message(MessageType.AppendResponse, from, replica.raft.term, { index: replica.raft.lastIndex }))
  return replica
}

function acknowledge(replica: TestReplica, ...from: number[]): void {
  for (const peer of from) replica.step(message(MessageType.AppendResponse, peer, replica.raft.term, { index: replica.raft.lastIndex }))
}

function changesIn(replica: TestReplica): number[] {
  return replica.log
    .all()
    .filter(({ kind }) => kind === EntryKind.ConfChange)
    .map(({ index }) => index)
}

describe('a learner', () => {
  // etcd: LearnerPromotion
  it('that was made a voter stands for election and wins', () => {
    const network = Network.of(2, { conf: conf([1], [2]), options: { checkQuorum: false } })
    network.campaign(1)
    for (let i = 0; i < 3 * T; i++) network.tick(1, [2])
    expect(network.get(2).raft.role).toBe('follower')
    propose(network.get(1), auto(v(2)))
    network.deliver()
    expect(network.get(2).raft.membership.conf).toEqual(conf([1, 2]))
    for (let i = 0; i < 3 * T && network.get(2).raft.role !== 'leader'; i++) network.tick(1, [2])
    expect(network.replicas.map(({ raft }) => raft.role)).toEqual(['follower', 'leader'])
  })

  // etcd: LearnerCampaign
  it('does not campaign when it is told to', () => {
    const network = Network.of(2, { conf: conf([1], [2]) })
    network.campaign(2)
    expect(network.get(2).raft.role).toBe('follower')
    network.campaign(1)
    network.get(2).step(message(MessageType.TimeoutNow, 1, 1, { to: 2 }))
    expect(network.get(2).raft).toMatchObject({ role: 'follower', term: 1 })
  })

  // etcd: LearnerReceiveSnapshot
  it('behind the truncated log installs a snapshot, and is committed as far as the leader', () => {
    const network = Network.of(2, { conf: conf([1], [2]) })
    network.isolate(2)
    network.campaign(1)
    network.propose(1, 'a', 'b')
    network.get(1).compact(3)
    network.heal()
    network.tick(2)
    network.get(2).install(network.get(1).applied)
    network.deliver()
    expect(network.get(2).raft.commit).toBe(network.get(1).raft.commit)
    expect(network.get(1).raft.progress()).toMatchObject([{ learner: false }, { learner: true, match: 3 }])
  })

  // etcd: campaign_learner_must_vote, in which a promoted replica does not know it yet.
  it('that does not know yet that it votes is needed, and votes', () => {
    const network = new Network([
      new TestReplica(1, { conf: conf([1, 2, 3]) }),
      new TestReplica(2, { conf: conf([1, 2, 3]) }),
      new TestReplica(3, { conf: conf([1, 2], [3]) }),
    ])
    network.isolate(1)
    network.campaign(2)
    expect(network.get(2).raft.role).toBe('leader')
  })

  it('that was a voter keeps its progress', () => {
    const replica = settled({ conf: conf([1, 2, 3, 4]) })
    propose(replica, auto(l(2)))
    replica.drain()
    acknowledge(replica, 2, 3)
    expect(replica.raft.membership.conf).toEqual(conf([1, 3, 4], [2]))
    expect(replica.raft.progress().find((peer) => peer.replica === 2)).toMatchObject({ learner: true, match: 2, state: 'replicate' })
  })
})

describe('a snapshot', () => {
  // etcd: RestoreWithLearner, RestoreWithVotersOutgoing
  it.each([conf([1, 2], [3]), JOINT, { ...JOINT, autoLeave: true }])('brings the membership as of its index: %j', (installed) => {
    const replica = new TestReplica(3, { conf: initialConf([]) })
    replica.step(message(MessageType.Snapshot, 1, 1, { to: 3, snapshot: { index: 5, term: 1, conf: installed } }))
    replica.install({ index: 5, term: 1, digest: 0, conf: installed })
    replica.drain()
    expect(replica.raft.membership.conf).toEqual(installed)
    replica.raft.campaign()
    expect(replica.raft.role).toBe(installed.learners.includes(3) ? 'follower' : 'preCandidate')
  })

  // etcd: RestoreVoterToLearner
  it('makes a voter a learner, and one that campaigns withdraws', () => {
    const replica = new TestReplica(1)
    replica.raft.campaign()
    expect(replica.raft.role).toBe('preCandidate')
    const learning = conf([2, 3], [1])
    replica.install({ index: 5, term: 1, digest: 0, conf: learning })
    expect(replica.raft).toMatchObject({ role: 'follower' })
    replica.tick(5 * T)
    expect(replica.raft).toMatchObject({ role: 'follower', term: 1 })
  })

  it('is offered with the membership as of what is applied', () => {
    const replica = settled({ conf: conf([1, 2, 3]) })
    propose(replica, auto(l(4)))
    replica.drain()
    acknowledge(replica, 2, 3)
    const asked = message(MessageType.AppendResponse, 4, 1, { reject: true, index: 2, context: 1 })
    const [offer] = ofType(replica.step(asked), MessageType.Snapshot)
    expect(offer?.snapshot).toEqual({ index: 2, term: 1, conf: conf([1, 2, 3], [4]) })
  })

  it('is asked for by a replica that knows nobody, although the log goes back to its beginning', () => {
    const replica = new TestReplica(4, { conf: initialConf([]) })
    const append = message(MessageType.Append, 1, 1, { to: 4, entries: logOf(1), commit: 1 })
    expect(replica.step(append)).toMatchObject([{ type: MessageType.AppendResponse, reject: true, context: 1 }])
    expect(replica.raft.lastIndex).toBe(0)
  })

  it('is not offered again to one that took entries since it asked', () => {
    const replica = settled()
    const late = message(MessageType.AppendResponse, 2, 1, { reject: true, index: 0, context: 1 })
    expect(ofType(replica.step(late), MessageType.Snapshot)).toEqual([])
    expect(replica.raft.progress()[1]).toMatchObject({ state: 'replicate' })
  })
})

describe('a joint configuration', () => {
  // etcd: RawNodeJointAutoLeave
  it('is left also by a leader that lost its office meanwhile and won it again', () => {
    const replica = new TestReplica(1, { conf: conf([1]), lazy: true })
    replica.raft.campaign()
    replica.drain()
    propose(replica, implicit(l(2)))
    while (replica.raft.hasReady()) replica.takeReady()
    while (replica.unpersisted > 0) replica.persistOne()
    replica.takeReady()
    replica.step(message(MessageType.AppendResponse, 2, 5, { reject: true }))
    expect(replica.raft).toMatchObject({ role: 'follower', term: 5 })
    expect(replica.raft.membership.conf).toMatchObject({ votersOutgoing: [1], learners: [2], autoLeave: true })
    expect(changesIn(replica)).toEqual([2])
    replica.raft.campaign()
    replica.drain()
    expect(replica.raft.role).toBe('leader')
    expect(replica.raft.membership.conf).toEqual(conf([1], [2]))
    expect(changesIn(replica)).toEqual([2, 4])
  })

  it('needs a quorum of both halves to commit, and to read', () => {
    const replica = leader({ conf: conf([1, 4, 5], [], [1, 2, 3]) }, [2, 4])
    const { raft } = replica
    acknowledge(replica, 2, 4)
    expect(raft).toMatchObject({ role: 'leader', commit: 1 })
    raft.propose([new Uint8Array(1)])
    replica.drain()
    const before = raft.commit
    acknowledge(replica, 2, 3)
    expect(raft.commit).toBe(before)
    acknowledge(replica, 4)
    expect(raft.commit).toBe(raft.lastIndex)
    raft.readIndex(1)
    const round = ofType(replica.drain(), MessageType.Heartbeat)[0]?.context ?? 0
    const confirm = (from: number) => replica.step(message(MessageType.HeartbeatResponse, from, raft.term, { context: round }))
    confirm(2)
    confirm(3)
    expect(replica.readStates).toEqual([])
    confirm(5)
    expect(replica.readStates).toHaveLength(1)
  })

  it('is not left while the office is being handed over, and is when that was given up', () => {
    const network = Network.of(3)
    network.campaign(1)
    propose(network.get(1), implicit(r(3)))
    const one = network.get(1)
    network.isolate(2)
    expect(one.raft.transferLeadership(2)).toBe('begun')
    network.deliver()
    expect(one.raft.membership.conf).toMatchObject({ votersOutgoing: [1, 2, 3], autoLeave: true })
    network.tick(T - 1)
    expect(one.raft.transferee).toBe(2)
    expect(changesIn(one)).toEqual([2])
    network.tick()
    expect(changesIn(one)).toEqual([2, 3])
    network.heal()
    network.tick(2)
    expect(one.raft).toMatchObject({ role: 'leader', transferee: 0 })
    expect(one.raft.membership.conf).toEqual(conf([1, 2]))
  })
})

describe('a replica with a membership change that is committed and not applied', () => {
  /** Replica 2 of three, which follows 1 and knows of a committed change that it has not applied. */
  function behind(change: ConfChange): { network: Network; slow: TestReplica } {
    const network = Network.of(3, (id) => ({ lazy: id === 2 }))
    network.campaign(1)
    const slow = network.get(2)
    const { apply } = slow
    slow.apply = () => undefined
    propose(network.get(1), change)
    settle(network)
    slow.apply = apply
    return { network, slow }
  }

  /** As `Network.deliver`, but that a lazy replica stays so. */
  function settle(network: Network): void {
    for (let moved = true; moved; ) {
      moved = false
      for (const replica of network.replicas) {
        const sent = replica.raft.hasReady() ? replica.takeReady() : replica.persistOne()
        for (const one of sent) network.get(one.to).raft.step(one)
        moved ||= sent.length > 0 || replica.raft.hasReady() || replica.unpersisted > 0
      }
    }
  }

  // etcd: ConfChangeCheckBeforeCampaign, ConfChangeV2CheckBeforeCampaign
  it.each([auto(r(3)), implicit(r(3))])('does not campaign, not even at the wish of the leader, before it has applied it: %j', (change) => {
    const { network, slow } = behind(change)
    expect(slow.raft.commit).toBeGreaterThan(slow.applied.index)
    for (let i = 0; i < 3 * T; i++) slow.raft.tick()
    expect(slow.raft.role).toBe('follower')
    network.get(1).raft.transferLeadership(2)
    for (const sent of network.get(1).takeReady()) if (sent.type === MessageType.TimeoutNow) slow.raft.step(sent)
    expect(slow.raft).toMatchObject({ role: 'follower', term: 1 })
    // It was told, and is not told again: it takes the office when it has applied the change.
    slow.apply()
    expect(slow.raft).toMatchObject({ role: 'candidate', term: 2 })
  })

  it('forgets what it was told with the next heartbeat: the leader may lead on', () => {
    const { network, slow } = behind(auto(r(3)))
    network.get(1).raft.transferLeadership(2)
    for (const sent of network.get(1).takeReady()) if (sent.type === MessageType.TimeoutNow) slow.raft.step(sent)
    slow.raft.step(message(MessageType.Heartbeat, 1, 1, { to: 2 }))
    slow.apply()
    expect(slow.raft).toMatchObject({ role: 'follower', term: 1 })
  })

  it('refuses the office when the change makes it a learner', () => {
    const { network, slow } = behind(auto(l(2)))
    slow.raft.step(message(MessageType.TimeoutNow, 1, 1, { to: 2 }))
    slow.apply()
    expect(slow.raft.role).toBe('follower')
    expect(ofType(slow.drain(), MessageType.TimeoutNow)).toMatchObject([{ to: 1, reject: true }])
    expect(network.get(1).raft.role).toBe('leader')
  })

  it('after a start campaigns only when it has applied all that its hard state called committed: nobody looks into the log for it', () => {
    const replica = new TestReplica(1, { entries: logOf(1, 1, 1), hardState: { term: 1, vote: 0, commit: 2 }, lazy: true })
    replica.raft.campaign()
    expect(replica.raft.role).toBe('follower')
    replica.takeReady()
    replica.apply()
    replica.raft.campaign()
    expect(replica.raft.role).toBe('preCandidate')
  })

  it('campaigns where the change was never committed and is overwritten', () => {
    const replica = new TestReplica(2)
    const change = { index: 1, term: 1, kind: EntryKind.ConfChange, data: new Uint8Array(0) }
    replica.step(message(MessageType.Append, 1, 1, { to: 2, entries: [change] }))
    replica.step(message(MessageType.Append, 3, 2, { to: 2, entries: logOf(2), commit: 1 }))
    replica.raft.campaign()
    expect(replica.raft.role).toBe('preCandidate')
  })
})

describe('a leader and who comes or goes', () => {
  // etcd: NewLeaderPendingConfig; ours waits also for an entry of its own term.
  it('changes nothing before an entry of its own term is applied', () => {
    const replica = leader({ conf: conf([1, 2, 3]) })
    expect(propose(replica, auto(l(4)))).toEqual({ ok: false, reason: 'conf-change-pending', leader: 1 })
    acknowledge(replica, 2)
    expect(propose(replica, auto(l(4)))).toMatchObject({ ok: true })
  })

  // etcd: StepIgnoreConfig
  it('appends no second change while one is not applied, and the first still counts', () => {
    const replica = settled()
    expect(propose(replica, auto(l(4)))).toMatchObject({ ok: true })
    expect(propose(replica, auto(l(5)))).toMatchObject({ reason: 'conf-change-pending' })
    replica.drain()
    expect(changesIn(replica)).toEqual([2])
    acknowledge(replica, 2)
    expect(replica.raft.membership.conf).toEqual(conf([1, 2, 3], [4]))
    expect(propose(replica, auto(l(5)))).toMatchObject({ ok: true })
  })

  // etcd: CommitAfterRemoveNode
  it('commits, when a change makes the quorum smaller, what that quorum has', () => {
    const network = Network.of(2)
    network.campaign(1)
    const one = network.get(1)
    propose(one, auto(r(2)))
    for (const sent of one.drain()) network.get(2).raft.step(sent)
    const answers = network.get(2).drain()
    one.raft.propose([new TextEncoder().encode('hello')])
    one.drain()
    expect(one.raft.commit).toBe(1)
    for (const answer of answers) one.step(answer)
    expect(one.texts()).toEqual(['hello'])
  })

  it('confirms, when a change makes the quorum smaller, the reads that it has confirmed', () => {
    const replica = settled({ conf: conf([1, 2, 3, 4]) })
    propose(replica, auto(r(4)))
    replica.drain()
    replica.raft.readIndex(1)
    const round = ofType(replica.drain(), MessageType.Heartbeat)[0]?.context ?? 0
    replica.step(message(MessageType.HeartbeatResponse, 2, 1, { context: round }))
    expect(replica.readStates).toEqual([])
    acknowledge(replica, 2, 3)
    expect(replica.raft.membership.conf).toEqual(conf([1, 2, 3]))
    expect(replica.readStates).toMatchObject([{ context: 1 }])
  })

  // etcd: AddNodeCheckQuorum
  it('gives a new replica an election timeout to be heard, and no more', () => {
    const replica = new TestReplica(1, { conf: conf([1]) })
    replica.raft.campaign()
    replica.drain()
    replica.tick(T - 1)
    propose(replica, auto(v(2)))
    replica.drain()
    expect(replica.raft.membership.conf).toEqual(conf([1, 2]))
    replica.tick()
    expect(replica.raft.role).toBe('leader')
    replica.tick(T)
    expect(replica.raft.role).toBe('follower')
  })

  // etcd: AddNode, AddLearner, RemoveNode, RemoveLearner
  it('probes who came and forgets who went', () => {
    const replica = settled()
    propose(replica, auto(v(4), l(5), r(9)))
    replica.drain()
    acknowledge(replica, 2)
    const replicas = () => replica.raft.progress().map((peer) => [peer.replica, peer.learner, peer.state])
    expect(replicas()).toEqual([
      [1, false, 'replicate'],
      [2, false, 'replicate'],
      [3, false, 'replicate'],
      [4, false, 'probe'],
      [5, true, 'probe'],
    ])
    propose(replica, auto(r(4), r(5)))
    replica.drain()
    acknowledge(replica, 2, 3)
    expect(replicas().map(([id]) => id)).toEqual([1, 2, 3])
    // A late answer of one that is gone says nothing.
    expect(replica.step(message(MessageType.AppendResponse, 4, 1, { index: 3 }))).toEqual([])
  })

  // etcd: confchange_v1_remove_leader
  it('that was removed and leads on does not count itself', () => {
    const replica = settled({ options: { stepDownOnRemoval: false } })
    propose(replica, auto(r(1)))
    replica.drain()
    acknowledge(replica, 2)
    expect(replica.raft).toMatchObject({ role: 'leader' })
    expect(replica.raft.membership.conf).toEqual(conf([2, 3]))
    replica.raft.propose([new Uint8Array(1)])
    replica.drain()
    acknowledge(replica, 2)
    expect(replica.raft.commit).toBe(2)
    acknowledge(replica, 3)
    expect(replica.raft.commit).toBe(3)
  })

  // etcd: confchange_v1_remove_leader_stepdown
  it.each([auto(r(1)), auto(l(1))])(
    'that is no voter any more says how far all is committed, steps down, and does not stand again: %j',
    (change) => {
      const replica = settled()
      propose(replica, change)
      replica.drain()
      const sent = replica.step(message(MessageType.AppendResponse, 2, 1, { index: 2 }))
      expect(replica.raft).toMatchObject({ role: 'follower', leader: 0, term: 1 })
      expect(ofType(sent, MessageType.Append)).toMatchObject([
        { to: 2, commit: 2 },
        { to: 3, commit: 2 },
      ])
      expect(replica.raft.propose([new Uint8Array(1)])).toMatchObject({ reason: 'not-leader' })
      expect(replica.tick(5 * T)).toEqual([])
    },
  )
})

describe('a transfer of the office and the membership', () => {
  /** Replica 1 with a change on its way, as it begins to hand its office to 3, which lacks it. */
  function transferring(change: ConfChange): TestReplica {
    const replica = settled()
    propose(replica, change)
    expect(replica.raft.transferLeadership(3)).toBe('begun')
    replica.drain()
    expect(replica.raft.transferee).toBe(3)
    return replica
  }

  // etcd: LeaderTransferRemoveNode, LeaderTransferDemoteNode
  it.each([auto(r(3)), auto(l(3))])('ends when the target is no voter any more: %j', (change) => {
    const replica = transferring(change)
    const sent = replica.step(message(MessageType.AppendResponse, 2, 1, { index: 2 }))
    expect(replica.raft).toMatchObject({ role: 'leader', transferee: 0 })
    expect(ofType(sent, MessageType.TimeoutNow)).toEqual([])
    expect(replica.raft.propose([new Uint8Array(1)])).toMatchObject({ ok: true })
  })

  it('goes on when others come and go', () => {
    const replica = transferring(auto(l(4)))
    acknowledge(replica, 2)
    expect(replica.raft.transferee).toBe(3)
    expect(ofType(replica.step(message(MessageType.AppendResponse, 3, 1, { index: 2 })), MessageType.TimeoutNow)).toMatchObject([{ to: 3 }])
  })

  it('holds changes back as it does proposals', () => {
    const replica = settled()
    replica.raft.transferLeadership(3)
    expect(propose(replica, auto(l(4)))).toEqual({ ok: false, reason: 'transferring', leader: 1 })
  })

  // etcd: TransferNonMember
  it('to a replica that its own configuration does not know comes to nothing', () => {
    const replica = new TestReplica(1, { conf: conf([2, 3, 4]) })
    replica.step(message(MessageType.TimeoutNow, 2, 1))
    for (const from of [2, 3]) replica.step(message(MessageType.VoteResponse, from, 1))
    expect(replica.raft).toMatchObject({ role: 'follower', term: 1 })
  })

  // etcd: LeaderTransferReceiveHigherTermVote
  it('ends when another candidate of a newer term is heard', () => {
    const network = Network.of(3, { options: { checkQuorum: false } })
    network.campaign(1)
    network.isolate(3)
    network.get(1).raft.transferLeadership(3)
    network.deliver()
    network.campaign(2)
    expect(network.get(1).raft).toMatchObject({ role: 'follower', transferee: 0 })
    expect(network.leader.id).toBe(2)
  })
})
