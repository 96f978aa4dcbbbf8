import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../../base/random.ts'
import { MessageType } from '../../../raft/core/types.ts'
import { accept, candidate, leader, message, ofType } from './messages.ts'
import { Network } from './network.ts'
import { bytes, conf, entry, logOf, TestReplica } from './test-replica.ts'

const T = 10

describe('Raft §5.1, terms', () => {
  const newer = () => message(MessageType.Append, 2, 5)

  it('a follower takes over a newer term', () => {
    const replica = new TestReplica(1)
    replica.step(newer())
    expect(replica.raft).toMatchObject({ role: 'follower', term: 5, leader: 2 })
  })

  it('a candidate that meets a newer term becomes a follower in it', () => {
    const { replica } = candidate()
    expect(replica.raft.role).toBe('candidate')
    replica.step(newer())
    expect(replica.raft).toMatchObject({ role: 'follower', term: 5, leader: 2 })
  })

  it('a leader that meets a newer term becomes a follower in it', () => {
    const replica = leader()
    expect(replica.raft.role).toBe('leader')
    replica.step(newer())
    expect(replica.raft).toMatchObject({ role: 'follower', term: 5, leader: 2 })
  })

  it('a message of a stale term changes nothing and is answered with the newer one', () => {
    const replica = new TestReplica(1, { hardState: { term: 4, vote: 0, commit: 0 } })
    const answers = replica.step(message(MessageType.Append, 2, 3, { entries: [entry(1, 3)] }))
    expect(replica.raft).toMatchObject({ term: 4, leader: 0, lastIndex: 0 })
    expect(answers).toMatchObject([{ to: 2, term: 4, reject: true }])
  })
})

describe('Raft §5.2, leader election', () => {
  it('a server starts as a follower', () => {
    expect(new TestReplica(1).raft).toMatchObject({ role: 'follower', leader: 0, term: 0 })
  })

  it('a leader sends heartbeats to all at each heartbeat interval', () => {
    const replica = leader({ options: { heartbeatTicks: 3 } })
    expect(ofType(replica.tick(2), MessageType.Heartbeat)).toEqual([])
    expect(ofType(replica.tick(), MessageType.Heartbeat).map(({ to }) => to)).toEqual([2, 3])
  })

  it('a follower that hears nobody for an election timeout asks for votes in the next term, having voted for itself', () => {
    const replica = new TestReplica(1)
    const asked = replica.tick(T + T / 2)
    expect(ofType(asked, MessageType.PreVote).map(({ to, term }) => [to, term])).toEqual([
      [2, 1],
      [3, 1],
    ])
    const votes = ofType(replica.step(message(MessageType.PreVoteResponse, 2, 1)), MessageType.Vote)
    expect(votes.map(({ to, term }) => [to, term])).toEqual([
      [2, 1],
      [3, 1],
    ])
    expect(replica.raft).toMatchObject({ role: 'candidate', term: 1, vote: 1 })
    expect(replica.log.hardState).toMatchObject({ term: 1, vote: 1 })
  })

  it('a candidate that wins no election in time begins another, in a higher term', () => {
    const { replica } = candidate()
    expect(replica.raft.term).toBe(1)
    replica.tick(T + T / 2)
    const votes = ofType(replica.step(message(MessageType.PreVoteResponse, 2, 2)), MessageType.Vote)
    expect(replica.raft).toMatchObject({ role: 'candidate', term: 2 })
    expect(votes.map(({ term }) => term)).toEqual([2, 2])
  })

  it('one round of votes elects with a majority, waits while one is possible, and ends when it is not', () => {
    const table: [size: number, granted: number[], refused: number[], role: string][] = [
      [1, [], [], 'leader'],
      [3, [2], [], 'leader'],
      [3, [2, 3], [], 'leader'],
      [3, [], [], 'candidate'],
      [3, [], [2], 'candidate'],
      [3, [], [2, 3], 'follower'],
      [5, [2, 3], [4, 5], 'leader'],
      [5, [2], [3], 'candidate'],
      [5, [2], [3, 4, 5], 'follower'],
    ]
    for (const [size, granted, refused, role] of table) {
      const ids = Array.from({ length: size }, (_, i) => i + 1)
      const { replica } = candidate({ conf: conf(ids) }, ids.slice(1))
      for (const from of granted) replica.step(message(MessageType.VoteResponse, from, 1))
      for (const from of refused) replica.step(message(MessageType.VoteResponse, from, 1, { reject: true }))
      expect(replica.raft.role, JSON.stringify({ size, granted, refused })).toBe(role)
    }
  })

  it('a follower votes for at most one candidate in a term, first come first served', () => {
    const table: [vote: number, from: number, reject: boolean][] = [
      [0, 2, false],
      [0, 3, false],
      [2, 2, false],
      [3, 3, false],
      [2, 3, true],
      [3, 2, true],
    ]
    for (const [vote, from, reject] of table) {
      const replica = new TestReplica(1, { hardState: { term: 1, vote, commit: 0 } })
      expect(replica.step(message(MessageType.Vote, from, 1)), `${vote} ${from}`).toMatchObject([{ to: from, term: 1, reject }])
    }
  })

  it('a candidate that hears a leader of its own or a newer term follows it', () => {
    for (const term of [1, 2]) {
      const { replica } = candidate()
      replica.step(message(MessageType.Append, 2, term))
      expect(replica.raft).toMatchObject({ role: 'follower', term, leader: 2 })
    }
  })

  for (const role of ['follower', 'candidate'] as const) {
    it(`election timeouts of a ${role} are random in [T, 1.5 T)`, () => {
      const seen = new Set<number>()
      for (let seed = 1; seed <= 200; seed++) {
        const options = { random: new SeededRandom(seed) }
        const replica = role === 'follower' ? new TestReplica(1, { options }) : candidate({ options }).replica
        let ticks = 1
        while (ofType(replica.tick(), MessageType.PreVote).length === 0) ticks++
        seen.add(ticks)
      }
      expect([...seen].sort((a, b) => a - b)).toEqual([10, 11, 12, 13, 14])
    })

    it(`in most cases only one ${role} times out first, so that votes rarely split`, () => {
      let conflicts = 0
      const rounds = 300
      for (let seed = 1; seed <= rounds; seed++) {
        // A wide range: what is tested is the spread, not the few ticks of the other tests.
        const make = (id: number) => {
          const options = { random: new SeededRandom(seed * 10 + id), electionTicks: 100 }
          return role === 'follower' ? new TestReplica(1, { options }) : candidate({ options }).replica
        }
        const five = [1, 2, 3, 4, 5].map(make)
        let first = 0
        while (first === 0) first = five.filter((replica) => ofType(replica.tick(), MessageType.PreVote).length > 0).length
        if (first > 1) conflicts++
      }
      expect(conflicts / rounds).toBeLessThan(0.3)
    })
  }
})

describe('Raft §5.3, log replication', () => {
  /** A leader whose own entry is committed everywhere. */
  function settled(size = 3) {
    const ids = Array.from({ length: size }, (_, i) => i + 1)
    const replica = leader({ conf: conf(ids) }, ids.slice(1))
    for (const from of ids.slice(1)) replica.step(message(MessageType.AppendResponse, from, 1, { index: 1 }))
    expect(replica.raft.commit).toBe(1)
    return replica
  }

  it('a leader appends a proposal and sends it to all in parallel', () => {
    const replica = settled()
    expect(replica.raft.propose([bytes('some')])).toEqual({ ok: true, term: 1, firstIndex: 2 })
    const appends = ofType(replica.drain(), MessageType.Append)
    expect(appends.map(({ to, index, logTerm, commit }) => [to, index, logTerm, commit])).toEqual([
      [2, 1, 1, 1],
      [3, 1, 1, 1],
    ])
    for (const { entries } of appends) expect(entries).toEqual([entry(2, 1, 'some')])
    expect(replica.log.entry(2)).toEqual(entry(2, 1, 'some'))
  })

  it('a leader commits what a majority holds, applies it, and tells the followers', () => {
    const replica = settled()
    replica.raft.propose([bytes('some')])
    const appends = ofType(replica.drain(), MessageType.Append)
    expect(replica.raft.commit).toBe(1)
    const told = replica.step(accept(appends[0] as (typeof appends)[0]))
    expect(replica.raft.commit).toBe(2)
    expect(replica.texts()).toEqual(['some'])
    expect(ofType(told, MessageType.Append).map(({ to, commit }) => [to, commit])).toContainEqual([2, 2])
  })

  it('an entry is committed exactly when a majority acknowledged it', () => {
    const table: [size: number, acknowledging: number[], committed: boolean][] = [
      [1, [], true],
      [3, [], false],
      [3, [2], true],
      [3, [2, 3], true],
      [5, [], false],
      [5, [2], false],
      [5, [2, 3], true],
      [5, [2, 3, 4, 5], true],
    ]
    for (const [size, acknowledging, committed] of table) {
      const replica = settled(size)
      replica.raft.propose([bytes('some')])
      replica.drain()
      for (const from of acknowledging) replica.step(message(MessageType.AppendResponse, from, 1, { index: 2 }))
      expect(replica.raft.commit === 2, JSON.stringify({ size, acknowledging })).toBe(committed)
    }
  })

  it('a leader commits the entries of earlier leaders with the first of its own', () => {
    for (const entries of [[], logOf(2), logOf(1, 2), logOf(1)]) {
      const replica = leader({ entries, hardState: { term: 2, vote: 0, commit: 0 } })
      replica.raft.propose([bytes('some')])
      replica.drain()
      replica.step(message(MessageType.AppendResponse, 2, 3, { index: entries.length + 2 }))
      expect(replica.committed.map(({ term }) => term)).toEqual([...entries.map(({ term }) => term), 3, 3])
    }
  })

  it('a follower applies what the leader says is committed, in order', () => {
    for (const commit of [1, 2, 3]) {
      const replica = new TestReplica(1)
      const entries = [entry(1, 1, 'a'), entry(2, 1, 'b'), entry(3, 1, 'c')]
      replica.step(message(MessageType.Append, 2, 1, { entries, commit }))
      expect(replica.raft.commit).toBe(commit)
      expect(replica.texts()).toEqual(['a', 'b', 'c'].slice(0, commit))
    }
  })

  it('a follower refuses entries behind one that it does not hold', () => {
    const table: [logTerm: number, index: number, answer: object][] = [
      [0, 0, { index: 1, reject: false }],
      [1, 1, { index: 1, reject: false }],
      [2, 2, { index: 2, reject: false }],
      [1, 2, { index: 2, reject: true, hintIndex: 1, hintTerm: 1 }],
      [3, 3, { index: 3, reject: true, hintIndex: 2, hintTerm: 2 }],
    ]
    for (const [logTerm, index, answer] of table) {
      const replica = new TestReplica(1, { entries: logOf(1, 2), hardState: { term: 2, vote: 0, commit: 1 } })
      expect(replica.step(message(MessageType.Append, 2, 3, { logTerm, index })), `${logTerm} ${index}`).toMatchObject([answer])
    }
  })

  it('a follower replaces what conflicts with the leader and keeps what does not', () => {
    const table: [index: number, logTerm: number, sent: number[], terms: number[]][] = [
      [2, 2, [3], [1, 2, 3]],
      [1, 1, [3, 4], [1, 3, 4]],
      [0, 0, [1], [1, 2]],
      [0, 0, [3], [3]],
    ]
    for (const [index, logTerm, sent, terms] of table) {
      const replica = new TestReplica(1, { entries: logOf(1, 2), hardState: { term: 2, vote: 0, commit: 0 } })
      replica.step(message(MessageType.Append, 2, 4, { index, logTerm, entries: sent.map((term, i) => entry(index + 1 + i, term)) }))
      expect(replica.log.all().map(({ term }) => term)).toEqual(terms)
    }
  })

  it('a leader brings each kind of follower log to its own (Figure 7)', () => {
    const own = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6]
    const followers = [
      [1, 1, 1, 4, 4, 5, 5, 6, 6],
      [1, 1, 1, 4],
      [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
      [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
      [1, 1, 1, 4, 4, 4, 4],
      [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ]
    for (const terms of followers) {
      const network = Network.of(3, (id) => ({
        entries: id === 2 ? logOf(...terms) : logOf(...own),
        // The third only lends its vote and its majority.
        hardState: { term: id === 2 ? Math.max(...terms) : 8, vote: 0, commit: 0 },
      }))
      network.isolate(2)
      network.campaign(1)
      network.heal()
      network.tick(3)
      expect(network.get(1).raft.role, `${terms}`).toBe('leader')
      expect(network.get(2).log.all(), `${terms}`).toEqual(network.get(1).log.all())
      expect(network.get(2).raft.commit).toBe(own.length + 1)
    }
  })
})

describe('Raft §5.4, safety', () => {
  it('a request for a vote carries the last entry of the log', () => {
    for (const entries of [logOf(1), logOf(1, 2)]) {
      const { requests } = candidate({ entries, hardState: { term: 2, vote: 0, commit: 0 } })
      const last = entries[entries.length - 1]
      expect(requests).toMatchObject([
        { to: 2, term: 3, index: last?.index, logTerm: last?.term },
        { to: 3, term: 3, index: last?.index, logTerm: last?.term },
      ])
    }
  })

  it('no vote goes to a candidate whose log is older (5.4.1)', () => {
    const table: [own: number[], logTerm: number, index: number, reject: boolean][] = [
      [[1], 1, 1, false],
      [[1], 1, 2, false],
      [[1, 1], 1, 1, true],
      [[1], 2, 1, false],
      [[1], 2, 2, false],
      [[1, 1], 2, 1, false],
      [[2], 1, 1, true],
      [[2], 1, 2, true],
      [[2, 2], 1, 1, true],
    ]
    for (const [own, logTerm, index, reject] of table) {
      const replica = new TestReplica(1, { entries: logOf(...own), hardState: { term: 2, vote: 0, commit: 0 } })
      expect(replica.step(message(MessageType.Vote, 2, 3, { logTerm, index }))).toMatchObject([{ term: 3, reject }])
    }
  })

  it('a leader commits only entries of its own term by counting replicas (5.4.2, Figure 8)', () => {
    for (const [index, commit] of [
      [1, 0],
      [2, 0],
      [3, 3],
    ]) {
      const replica = leader({ entries: logOf(1, 2), hardState: { term: 2, vote: 0, commit: 0 } })
      expect(replica.raft.term).toBe(3)
      replica.step(message(MessageType.AppendResponse, 2, 3, { index: index as number }))
      expect(replica.raft.commit, `acknowledged ${index}`).toBe(commit)
    }
  })

  it('the deliberate break that counts entries of older terms is seen by that test', () => {
    const options = { unsafe: { countOldTermEntries: true } }
    const replica = leader({ entries: logOf(1, 2), hardState: { term: 2, vote: 0, commit: 0 }, options })
    replica.step(message(MessageType.AppendResponse, 2, 3, { index: 2 }))
    expect(replica.raft.commit).toBe(2)
  })
})
