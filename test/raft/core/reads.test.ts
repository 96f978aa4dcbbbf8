import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../../base/random.ts'
import { type Message, MessageType } from '../../../raft/core/types.ts'
import { leader, message, ofType } from './messages.ts'
import { Network } from './network.ts'
import { bytes, conf, TestReplica } from './test-replica.ts'

/** Replica 1 leads; its own entry is committed. */
function ready() {
  const replica = leader()
  replica.step(message(MessageType.AppendResponse, 2, 1, { index: 1 }))
  return replica
}

function confirm(heartbeat: Message | undefined): Message {
  return message(MessageType.HeartbeatResponse, heartbeat?.to ?? 0, heartbeat?.term ?? 0, { context: heartbeat?.context ?? 0 })
}

describe('ReadIndex (thesis, 6.4)', () => {
  it('answers a read with the commit index, when a quorum has confirmed a round sent after it', () => {
    const replica = ready()
    expect(replica.raft.readIndex(7)).toBe(true)
    const round = ofType(replica.drain(), MessageType.Heartbeat)
    expect(round.map(({ to }) => to)).toEqual([2, 3])
    expect(replica.readStates).toEqual([])
    replica.step(confirm(round[0]))
    expect(replica.readStates).toEqual([{ context: 7, index: 1 }])
  })

  it('a round that was sent before a read came does not confirm it', () => {
    const replica = ready()
    replica.raft.readIndex(1)
    const first = ofType(replica.drain(), MessageType.Heartbeat)
    replica.raft.readIndex(2)
    const second = ofType(replica.drain(), MessageType.Heartbeat)
    replica.step(confirm(first[0]))
    expect(replica.readStates.map(({ context }) => context)).toEqual([1])
    replica.step(confirm(second[1]))
    expect(replica.readStates.map(({ context }) => context)).toEqual([1, 2])
  })

  it('reads of one turn share a round, and a later round confirms the earlier ones', () => {
    const replica = ready()
    for (const context of [1, 2, 3]) replica.raft.readIndex(context)
    expect(ofType(replica.drain(), MessageType.Heartbeat)).toHaveLength(2)
    replica.raft.readIndex(4)
    const second = ofType(replica.drain(), MessageType.Heartbeat)
    replica.step(confirm(second[0]))
    expect(replica.readStates.map(({ context }) => context)).toEqual([1, 2, 3, 4])
  })

  it('a context that is used again is another read: each is answered by a round sent after it came', () => {
    const replica = ready()
    replica.raft.readIndex(7)
    const first = ofType(replica.drain(), MessageType.Heartbeat)
    replica.raft.readIndex(7)
    const second = ofType(replica.drain(), MessageType.Heartbeat)
    for (const from of [0, 1]) replica.step(confirm(first[from]))
    expect(replica.readStates).toEqual([{ context: 7, index: 1 }])
    replica.step(confirm(second[0]))
    expect(replica.readStates).toHaveLength(2)
  })

  it('what was answered is not remembered: a leader that loses its office afterwards has nothing to report', () => {
    const replica = ready()
    for (let context = 1; context <= 100; context++) {
      replica.raft.readIndex(context)
      replica.step(confirm(ofType(replica.drain(), MessageType.Heartbeat)[0]))
    }
    expect(replica.readStates).toHaveLength(100)
    replica.step(message(MessageType.Append, 2, 2))
    expect(replica.lostReads).toEqual([])
    expect(replica.readStates).toHaveLength(100)
  })

  it('a lost round is tried again by the next heartbeat', () => {
    const replica = ready()
    replica.raft.readIndex(1)
    replica.drain()
    const again = ofType(replica.tick(), MessageType.Heartbeat)
    replica.step(confirm(again[0]))
    expect(replica.readStates).toEqual([{ context: 1, index: 1 }])
  })

  it('a doubled confirmation of one follower is no quorum of five', () => {
    const replica = leader({ conf: conf([1, 2, 3, 4, 5]) }, [2, 3])
    for (const from of [2, 3]) replica.step(message(MessageType.AppendResponse, from, 1, { index: 1 }))
    replica.raft.readIndex(1)
    const round = ofType(replica.drain(), MessageType.Heartbeat)
    replica.step(confirm(round[0]))
    replica.step(confirm(round[0]))
    expect(replica.readStates).toEqual([])
    replica.step(confirm(round[3]))
    expect(replica.readStates).toHaveLength(1)
  })

  it('learners and older terms confirm nothing', () => {
    const replica = leader({ conf: conf([1, 2, 3], [4]) })
    replica.step(message(MessageType.AppendResponse, 2, 1, { index: 1 }))
    replica.raft.readIndex(1)
    const round = ofType(replica.drain(), MessageType.Heartbeat)
    replica.step(confirm(round.find(({ to }) => to === 4)))
    replica.step({ ...confirm(round[0]), term: 0 })
    expect(replica.readStates).toEqual([])
  })

  it('a new leader answers no read before an entry of its own term is committed, and then those that waited', () => {
    const replica = leader()
    replica.raft.readIndex(1)
    replica.raft.readIndex(2)
    expect(replica.drain()).toEqual([])
    replica.step(message(MessageType.HeartbeatResponse, 2, 1, { context: 1 }))
    expect(replica.readStates).toEqual([])
    const round = ofType(replica.step(message(MessageType.AppendResponse, 2, 1, { index: 1 })), MessageType.Heartbeat)
    replica.step(confirm(round[0]))
    expect(replica.readStates).toEqual([
      { context: 1, index: 1 },
      { context: 2, index: 1 },
    ])
  })

  it('a single voter answers at once, after an entry of its term is committed', () => {
    const replica = new TestReplica(1, { conf: conf([1]) })
    replica.raft.campaign()
    replica.drain()
    replica.raft.readIndex(1)
    replica.drain()
    expect(replica.readStates).toEqual([{ context: 1, index: 1 }])
  })

  it('a single voter answers also when a heartbeat falls due before the Ready is taken', () => {
    const replica = new TestReplica(1, { conf: conf([1], [2]) })
    replica.raft.campaign()
    replica.drain()
    replica.raft.readIndex(1)
    const sent = replica.tick()
    expect(replica.readStates).toEqual([{ context: 1, index: 1 }])
    expect(ofType(sent, MessageType.Heartbeat).map(({ to }) => to)).toEqual([2])
  })

  it('reads that wait when a heartbeat falls due go with it', () => {
    const replica = ready()
    replica.raft.readIndex(1)
    const sent = ofType(replica.tick(), MessageType.Heartbeat)
    expect(sent.map(({ to, context }) => [to, context])).toEqual([
      [2, 1],
      [3, 1],
    ])
    replica.step(confirm(sent[0]))
    expect(replica.readStates).toEqual([{ context: 1, index: 1 }])
  })

  it('a leader that loses its office reports its reads as lost, each once', () => {
    const replica = ready()
    replica.raft.readIndex(1)
    replica.drain()
    replica.raft.readIndex(2)
    replica.step(message(MessageType.Append, 2, 2))
    expect(replica.lostReads).toEqual([1, 2])
    expect(replica.readStates).toEqual([])
    expect(replica.raft.readIndex(3)).toBe(false)
  })

  it('a read that was confirmed in the turn in which the office was lost is still answered', () => {
    const replica = ready()
    replica.raft.readIndex(1)
    const round = ofType(replica.drain(), MessageType.Heartbeat)
    replica.raft.step(confirm(round[0]))
    replica.step(message(MessageType.Append, 2, 2))
    expect(replica.readStates).toEqual([{ context: 1, index: 1 }])
    expect(replica.lostReads).toEqual([])
  })

  it('a leader that was cut off answers no read, whatever others have committed; the deliberate break does', () => {
    for (const readWithoutQuorum of [false, true]) {
      const network = Network.of(3, { options: { unsafe: { readWithoutQuorum } } })
      network.campaign(1)
      network.isolate(1)
      network.tick(15, [2, 3])
      const other = network.replicas.find(({ raft, id }) => id !== 1 && raft.role === 'leader') as TestReplica
      network.propose(other.id, 'new')
      network.get(1).raft.readIndex(1)
      network.deliver()
      expect(network.get(1).readStates).toEqual(readWithoutQuorum ? [{ context: 1, index: 1 }] : [])
      expect(other.raft.commit).toBe(3)
    }
  })

  it('a leader that has not applied a committed change of the membership answers none: others may have elected another by it', () => {
    // Replica 1 is slow to apply what the others have.
    for (const leases of [false, true]) {
      const network = Network.of(4, (id) => ({ conf: conf([1, 2, 3], [4]), options: { leases, random: new SeededRandom(id) } }))
      network.tick(10)
      network.campaign(1)
      network.tick()
      const old = network.get(1)
      old.apply = () => undefined
      const { raft } = old
      raft.proposeConfChange({ transition: 'auto', steps: [{ type: 'add-voter', replica: 4 }] }, new Uint8Array(0))
      network.deliver()
      expect(raft.commit).toBe(2)
      expect(network.get(4).raft.membership.conf.voters).toEqual([1, 2, 3, 4])
      raft.readIndex(1)
      network.deliver()
      expect(old.readStates).toEqual([])
      expect(raft.office?.safeIndex).toBeUndefined()
      Reflect.deleteProperty(old, 'apply')
      old.apply()
      network.deliver()
      expect(old.readStates).toEqual([{ context: 1, index: 2 }])
      expect(raft.office?.safeIndex).toBe(2)
    }
  })

  it('keeps a bounded number of rounds when nobody answers, and answers all reads in the end', () => {
    const replica = ready()
    for (let context = 1; context <= 500; context++) {
      replica.raft.readIndex(context)
      replica.drain()
    }
    const heartbeat = ofType(replica.tick(), MessageType.Heartbeat)
    expect(heartbeat[0]?.context).toBe(64)
    let last = replica.step(confirm(heartbeat[0]))
    last = ofType(last, MessageType.Heartbeat)
    replica.step(confirm(last[0]))
    expect(replica.readStates).toHaveLength(500)
  })

  it('a read index is never below what was proposed and committed before', () => {
    const network = Network.of(3)
    network.campaign(1)
    for (let i = 1; i <= 5; i++) {
      network.get(1).raft.propose([bytes(`${i}`)])
      network.deliver()
      network.get(1).raft.readIndex(i)
      network.deliver()
    }
    expect(network.get(1).readStates).toEqual([1, 2, 3, 4, 5].map((context) => ({ context, index: context + 1 })))
  })
})
