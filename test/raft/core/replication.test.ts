import { describe, expect, it } from 'vitest'
import { type Message, MessageType, type ProgressStatus } from '../../../raft/core/types.ts'
import { accept, leader, message, ofType } from './messages.ts'
import { Network } from './network.ts'
import { bytes, conf, entry, logOf, type ReplicaSetup, TestReplica } from './test-replica.ts'

/** Replica 1 leads term 1; 2 streams, 3 is probed and silent. */
function streaming(options: ReplicaSetup['options'] = {}): TestReplica {
  const replica = leader({ options })
  replica.step(message(MessageType.AppendResponse, 2, 1, { index: 1 }))
  return replica
}

function progressOf(replica: TestReplica, id: number): ProgressStatus | undefined {
  return replica.raft.progress().find((status) => status.replica === id)
}

function appendsTo(messages: readonly Message[], to: number): Message[] {
  return ofType(messages, MessageType.Append).filter((one) => one.to === to)
}

function propose(replica: TestReplica, ...texts: string[]): Message[] {
  replica.raft.propose(texts.map(bytes))
  return replica.drain()
}

describe('the three pipelines', () => {
  it("a leader's entries leave before its own disk has them, and count for it only then", () => {
    const replica = streaming()
    replica.raft.propose([bytes('a')])
    expect(appendsTo(replica.takeReady(), 2)).toHaveLength(1)
    expect(replica.unpersisted).toBe(1)
    replica.raft.step(message(MessageType.AppendResponse, 2, 1, { index: 2 }))
    expect(replica.raft.commit).toBe(1)
    replica.persistOne()
    expect(replica.raft.commit).toBe(2)
  })

  it('two followers commit an entry that the leader itself has not on its disk yet', () => {
    const replica = streaming()
    replica.step(message(MessageType.AppendResponse, 3, 1, { index: 1 }))
    replica.raft.propose([bytes('a')])
    replica.takeReady()
    for (const from of [2, 3]) replica.raft.step(message(MessageType.AppendResponse, from, 1, { index: 2 }))
    replica.takeReady()
    expect(replica.texts()).toEqual(['a'])
    expect(replica.raft.stableIndex).toBe(1)
  })

  it('a follower acknowledges only what is durable', () => {
    const replica = new TestReplica(1)
    replica.raft.step(message(MessageType.Append, 2, 1, { entries: [entry(1, 1)] }))
    expect(replica.takeReady()).toEqual([])
    expect(replica.persistOne()).toMatchObject([{ type: MessageType.AppendResponse, index: 1, reject: false }])
  })

  it('several Readys are outstanding at once, and each acknowledges its own part', () => {
    const replica = streaming()
    for (const value of ['a', 'b', 'c']) {
      replica.raft.propose([bytes(value)])
      replica.takeReady()
    }
    replica.raft.step(message(MessageType.AppendResponse, 2, 1, { index: 4 }))
    const commits = [0, 1, 2].map(() => {
      replica.persistOne()
      return replica.raft.commit
    })
    expect(commits).toEqual([2, 3, 4])
  })

  it('what is proposed in one turn leaves as one Append for each follower', () => {
    const replica = streaming()
    for (const value of ['a', 'b', 'c']) replica.raft.propose([bytes(value)])
    const appends = appendsTo(replica.drain(), 2)
    expect(appends).toHaveLength(1)
    expect(appends[0]?.entries).toHaveLength(3)
  })

  it('only the commit index moving needs no sync', () => {
    const replica = new TestReplica(1)
    replica.step(message(MessageType.Append, 2, 1, { entries: [entry(1, 1)] }))
    replica.raft.step(message(MessageType.Heartbeat, 2, 1, { commit: 1 }))
    expect(replica.raft.ready()).toMatchObject({ hardState: { term: 1, vote: 0, commit: 1 }, mustSync: false, entries: [] })
    expect(replica.raft.hasReady()).toBe(false)
  })
})

describe('fast back-up after a conflict (Raft, 5.3)', () => {
  it('steps back over whole terms: few rejections, however long the conflict', () => {
    const table: [leader: number[], follower: number[]][] = [
      [Array(100).fill(1), [1, ...Array(80).fill(2)]],
      [
        [1, ...Array(90).fill(5)],
        [1, ...Array(90).fill(2)],
      ],
      [
        [1, 1, ...Array(50).fill(3), ...Array(50).fill(5)],
        [1, 1, ...Array(50).fill(2), ...Array(40).fill(4)],
      ],
      [Array(60).fill(1), []],
      [Array(60).fill(4), [1, 1, 2, 2, 3, 3]],
    ]
    for (const [own, other] of table) {
      const network = Network.of(3, (id) => ({
        entries: logOf(...(id === 2 ? other : own)),
        hardState: { term: 8, vote: 0, commit: 0 },
        options: { maxAppendBytes: 1 << 20 },
      }))
      network.isolate(2)
      network.campaign(1)
      network.heal()
      network.delivered.length = 0
      network.tick(3)
      const rejections = network.delivered.filter(({ type, from, reject }) => type === MessageType.AppendResponse && from === 2 && reject)
      expect(rejections.length).toBeLessThanOrEqual(4)
      expect(network.get(2).log.all()).toEqual(network.get(1).log.all())
    }
  })

  it('a late or doubled rejection moves nothing at or below what is acknowledged', () => {
    const replica = streaming()
    propose(replica, 'a', 'b')
    replica.step(message(MessageType.AppendResponse, 2, 1, { index: 3 }))
    for (const index of [1, 2, 3]) replica.step(message(MessageType.AppendResponse, 2, 1, { index, reject: true, hintIndex: 0 }))
    expect(progressOf(replica, 2)).toMatchObject({ match: 3, next: 4, state: 'replicate' })
  })

  it('acknowledgements that come out of order only ever raise match', () => {
    const replica = streaming()
    propose(replica, 'a', 'b', 'c')
    for (const index of [4, 2, 3]) replica.step(message(MessageType.AppendResponse, 2, 1, { index }))
    expect(progressOf(replica, 2)).toMatchObject({ match: 4, next: 5, inflightBytes: 0 })
  })

  it('an acknowledgement of entries that the leader does not have is ignored', () => {
    const replica = streaming()
    replica.step(message(MessageType.AppendResponse, 3, 1, { index: 99 }))
    expect(progressOf(replica, 3)).toMatchObject({ match: 0 })
  })

  it('a committed entry is never truncated', () => {
    const replica = new TestReplica(1, { entries: logOf(1, 1), hardState: { term: 1, vote: 0, commit: 2 } })
    expect(() => replica.raft.step(message(MessageType.Append, 2, 3, { index: 2, logTerm: 3, commit: 2 }))).not.toThrow()
    replica.drain()
    expect(replica.log.all().map(({ term }) => term)).toEqual([1, 1])
    expect(() => replica.raft.step(message(MessageType.Heartbeat, 2, 3, { commit: 3 }))).toThrow(/lost a part/)
  })

  it('an Append whose entries are no run is dropped', () => {
    const replica = new TestReplica(1)
    for (const entries of [[entry(2, 1)], [entry(1, 1), entry(3, 1)], [entry(1, 2)]]) {
      expect(replica.step(message(MessageType.Append, 2, 1, { entries }))).toEqual([])
    }
    expect(replica.raft.lastIndex).toBe(0)
  })
})

describe('flow control', () => {
  it('a probe sends one Append and waits for an answer, or for that of a heartbeat', () => {
    const replica = streaming()
    expect(appendsTo(propose(replica, 'a'), 3)).toEqual([])
    expect(appendsTo(propose(replica, 'b'), 3)).toEqual([])
    const again = replica.step(message(MessageType.HeartbeatResponse, 3, 1))
    expect(appendsTo(again, 3)).toHaveLength(1)
    expect(appendsTo(replica.step(message(MessageType.HeartbeatResponse, 3, 1)), 3)).toHaveLength(1)
  })

  it('a full window stops entries; an acknowledgement frees it', () => {
    const replica = streaming({ maxInflightBytes: 300, maxAppendBytes: 100 })
    const sent = [1, 2, 3, 4, 5, 6].flatMap((i) => appendsTo(propose(replica, `${i}`.repeat(70)), 2))
    expect(sent.map(({ entries }) => entries.length)).toEqual([1, 1, 1])
    expect(progressOf(replica, 2)?.inflightBytes).toBeGreaterThanOrEqual(300)
    const freed = appendsTo(replica.step(accept(sent[0] as Message)), 2).filter(({ entries }) => entries.length > 0)
    expect(freed).toHaveLength(1)
    expect(freed[0]?.entries[0]?.index).toBe(5)
  })

  it('a window always admits one entry, however large', () => {
    const replica = streaming({ maxInflightBytes: 10, maxAppendBytes: 10 })
    const sent = appendsTo(propose(replica, 'x'.repeat(5000), 'y'), 2)
    expect(sent.map(({ entries }) => entries.length)).toEqual([1])
    expect(appendsTo(replica.step(accept(sent[0] as Message)), 2)[0]?.entries[0]?.data).toEqual(bytes('y'))
  })

  it('lost Appends are found out by the answer to a heartbeat, and sent again', () => {
    const network = Network.of(3, { options: { maxInflightBytes: 100 } })
    network.campaign(1)
    network.ignore(MessageType.Append)
    for (let i = 0; i < 10; i++) network.propose(1, `lost ${i}`.repeat(10))
    network.heal()
    network.tick(4)
    expect(network.get(1).raft.commit).toBe(11)
    for (const { log } of network.replicas) expect(log.all()).toEqual(network.get(1).log.all())
  })

  it('a peer reported unreachable is probed from what it acknowledged', () => {
    const replica = streaming()
    propose(replica, 'a', 'b')
    expect(progressOf(replica, 2)).toMatchObject({ state: 'replicate', match: 1, next: 4 })
    replica.raft.reportUnreachable(2)
    expect(progressOf(replica, 2)).toMatchObject({ state: 'probe', match: 1, next: 2 })
    expect(appendsTo(replica.drain(), 2)[0]?.entries).toHaveLength(2)
  })

  it('a follower that has everything leaves the probe on the answer to a heartbeat', () => {
    const replica = streaming()
    replica.raft.reportUnreachable(2)
    replica.drain()
    const probe = appendsTo(replica.step(message(MessageType.HeartbeatResponse, 2, 1)), 2)
    expect(probe).toHaveLength(1)
    replica.step(accept(probe[0] as Message))
    expect(progressOf(replica, 2)).toMatchObject({ state: 'replicate', match: 1 })
  })

  it('entries that are not in memory are sent when they have been loaded', () => {
    const replica = new TestReplica(1, { entries: logOf(1, 1, 1), hardState: { term: 1, vote: 0, commit: 0 } })
    const network = new Network([replica, new TestReplica(2), new TestReplica(3)])
    replica.log.coldBelow = 4
    network.campaign(1)
    expect(replica.raft.role).toBe('leader')
    expect(replica.log.wanted).toBe(true)
    expect(network.get(2).raft.lastIndex).toBe(0)
    replica.log.load()
    replica.raft.entriesLoaded()
    network.deliver()
    expect(network.get(2).raft.lastIndex).toBe(4)
    expect(replica.raft.commit).toBe(4)
  })

  it('the commit index reaches followers without a heartbeat, and never beyond what they hold', () => {
    const network = Network.of(3)
    network.campaign(1)
    network.propose(1, 'a')
    expect(network.replicas.map(({ raft }) => raft.commit)).toEqual([2, 2, 2])
    const replica = streaming()
    propose(replica, 'a')
    const heartbeats = ofType(replica.tick(), MessageType.Heartbeat)
    expect(heartbeats.map(({ to, commit }) => [to, commit])).toEqual([
      [2, 1],
      [3, 0],
    ])
  })

  it('an Append commits no entry behind its own: what follows there may be of another leader (Raft, 5.3)', () => {
    for (const entries of [[], [entry(2, 2)]]) {
      const replica = new TestReplica(1, { entries: logOf(1, 2, 2, 2), hardState: { term: 2, vote: 0, commit: 0 } })
      replica.step(message(MessageType.Append, 2, 3, { index: 1, logTerm: 1, entries, commit: 4 }))
      expect(replica.raft).toMatchObject({ commit: 1 + entries.length, lastIndex: 4 })
    }
  })

  it('learners receive everything and count for nothing', () => {
    const network = new Network([1, 2, 3].map((id) => new TestReplica(id, { conf: conf([1, 2], [3]) })))
    network.campaign(1)
    network.propose(1, 'a')
    expect(network.get(3).texts()).toEqual(['a'])
    network.isolate(2)
    network.propose(1, 'b')
    expect(network.get(1).raft.commit).toBe(2)
    expect(
      network
        .get(1)
        .raft.progress()
        .map(({ replica, match }) => [replica, match]),
    ).toEqual([
      [1, 3],
      [2, 2],
      [3, 3],
    ])
    expect(network.get(1).raft.matchedByAll()).toBe(2)
    expect(network.get(3).raft.matchedByAll()).toBe(0)
  })
})

describe('proposals', () => {
  it('are refused with the leader named where this replica does not lead', () => {
    const replica = new TestReplica(1)
    replica.step(message(MessageType.Heartbeat, 3, 1))
    expect(replica.raft.propose([bytes('a')])).toEqual({ ok: false, reason: 'not-leader', leader: 3 })
  })

  it('are refused when too much is committed and not applied here, and accepted again once it is', () => {
    const network = Network.of(3, { options: { maxUnappliedBytes: 1000 } })
    network.campaign(1)
    const { leader } = network
    const apply = leader.apply.bind(leader)
    leader.apply = () => {}
    const propose = () => network.propose(1, 'x'.repeat(200))
    expect(Array.from({ length: 6 }, propose)).toEqual([true, true, true, true, false, false])
    expect(leader.raft.commit).toBe(leader.raft.lastIndex)
    leader.apply = apply
    leader.apply()
    expect(propose()).toBe(true)
  })

  it('are refused when too much is uncommitted, except without bytes, and accepted again after a commit', () => {
    const replica = streaming({ maxUncommittedBytes: 5 * (200 + 32) })
    const accepted = Array.from({ length: 10 }, () => replica.raft.propose([new Uint8Array(200)]).ok)
    expect(accepted).toEqual([true, true, true, true, true, false, false, false, false, false])
    expect(replica.raft.propose([new Uint8Array(200)])).toEqual({ ok: false, reason: 'overloaded', leader: 1 })
    expect(replica.raft.propose([new Uint8Array(0)]).ok).toBe(true)
    replica.drain()
    replica.step(message(MessageType.AppendResponse, 2, 1, { index: 2 }))
    expect(replica.raft.propose([new Uint8Array(200)]).ok).toBe(true)
    expect(replica.raft.propose([new Uint8Array(200)]).ok).toBe(false)
  })

  it('one alone is accepted, however large', () => {
    const replica = streaming({ maxUncommittedBytes: 1024 })
    expect(replica.raft.propose([new Uint8Array(5000)]).ok).toBe(true)
    expect(replica.raft.propose([new Uint8Array(1)]).ok).toBe(false)
  })

  it('a leader without followers keeps a bounded log', () => {
    const network = Network.of(3, { options: { maxUncommittedBytes: 4096 } })
    network.campaign(1)
    network.isolate(1)
    for (let i = 0; i < 100; i++) network.propose(1, 'x'.repeat(1000))
    expect(network.get(1).raft.lastIndex).toBeLessThanOrEqual(6)
    network.heal()
    network.tick(3)
    expect(network.get(1).raft.commit).toBe(network.get(1).raft.lastIndex)
  })

  it('each entry crosses to each peer once when nothing is lost', () => {
    const network = Network.of(3)
    network.campaign(1)
    network.delivered.length = 0
    for (let i = 0; i < 10; i++) network.propose(1, `${i}`.repeat(5000))
    const sent = network.delivered.flatMap(({ entries }) => entries).reduce((sum, { data }) => sum + data.length, 0)
    expect(sent).toBe(2 * 10 * 5000)
  })
})
