import { describe, expect, it } from 'vitest'
import { pb } from '../../proto/messages.ts'
import { NodeLiveness } from '../../raft/node-liveness.ts'
import { type QuietableReplica, QuietGroups } from '../../raft/quiet-groups.ts'

/** Replica i of every group is on node ni. */
class Replica implements QuietableReplica {
  readonly replica: number
  leader: number
  term = 1
  quiet = true
  readonly conf = { voters: [1, 2, 3] }
  readonly woken: number[] = []
  readonly lost: [number, number][] = []

  constructor(replica: number, leader: number) {
    this.replica = replica
    this.leader = leader
  }

  wake(silentTicks: number): void {
    this.quiet = false
    this.woken.push(silentTicks)
  }

  leaderLost(leader: number, delayTicks: number): void {
    this.lost.push([leader, delayTicks])
  }
}

const electionTicks = 100

class Node {
  readonly name: string
  readonly replicas = new Map<string, Replica>()
  readonly liveness = new NodeLiveness(electionTicks, (node) => this.groups.wakeWith(node))
  readonly groups: QuietGroups

  /** By group: who leads it. */
  constructor(replica: number, leaders: Readonly<Record<string, number>>) {
    this.name = `n${replica}`
    for (const [group, leader] of Object.entries(leaders)) this.replicas.set(group, new Replica(replica, leader))
    this.groups = new QuietGroups({
      liveness: this.liveness,
      electionTicks,
      heartbeatTicks: 10,
      replicas: () => this.replicas,
      nodeOf: (_, number) => `n${number}`,
    })
  }

  get(group: string): Replica {
    const replica = this.replicas.get(group)
    if (replica === undefined) throw new Error(`no group ${group}`)
    return replica
  }

  /** `from` beats, and the beat arrives as it was encoded. */
  hear(from: Node): void {
    from.groups.count()
    const bytes = pb.v1.NodeBeat.encode(from.groups.beatFor(this.name)).finish()
    this.groups.heard(from.name, pb.v1.NodeBeat.decode(bytes) as pb.v1.NodeBeat)
  }

  quiet(): string[] {
    return [...this.replicas].filter(([, { quiet }]) => quiet).map(([group]) => group)
  }
}

const leaders = { a: 1, b: 2, c: 3, d: 1 }

function pair(): [Node, Node] {
  return [new Node(1, leaders), new Node(2, leaders)]
}

function exchange(a: Node, b: Node, times: number): void {
  for (let i = 0; i < times; i++) {
    a.hear(b)
    b.hear(a)
  }
}

describe('beats between nodes', () => {
  it('count what one leads and the other follows; where both count the same nobody wakes', () => {
    const [a, b] = pair()
    a.groups.count()
    expect(a.groups.beatFor('n2')).toMatchObject({ led: { count: 2 }, followed: { count: 1 } })
    exchange(a, b, 50)
    expect([a.quiet(), b.quiet()]).toEqual([
      ['a', 'b', 'c', 'd'],
      ['a', 'b', 'c', 'd'],
    ])
  })

  it('that differ wake the groups of the two nodes, once that is no matter of messages under way', () => {
    const [a, b] = pair()
    a.get('a').quiet = false
    exchange(a, b, 2)
    expect(b.quiet()).toEqual(['a', 'b', 'c', 'd'])
    exchange(a, b, 1)
    expect(b.quiet()).toEqual(['c'])
  })

  it.each<[string, (a: Node) => void]>([
    ['the leader of one is in another term', (a) => (a.get('a').term = 2)],
    ['the leader of one follows', (a) => (a.get('a').leader = 3)],
    ['one rests and another does not', (a) => (a.get('a').quiet = false)],
    ["two are in each other's terms", (a) => Object.assign(a.get('a'), { term: 7 }) && Object.assign(a.get('d'), { term: 3 })],
  ])('differ where %s', (_, change) => {
    const [a, b] = pair()
    Object.assign(b.get('a'), { term: 1 })
    change(a)
    exchange(a, b, 3)
    expect(b.get('a').quiet).toBe(false)
  })

  it('tell a node apart that has exchanged the terms of two groups', () => {
    const [a, b] = pair()
    a.get('a').term = 7
    a.get('d').term = 3
    b.get('a').term = 3
    b.get('d').term = 7
    exchange(a, b, 3)
    expect(b.get('a').quiet).toBe(false)
  })

  it('are held against what is, not against what was when this node last beat', () => {
    const [a, b] = pair()
    b.groups.count()
    for (const node of [a, b]) node.get('a').term = 2
    for (let i = 0; i < 3; i++) b.hear(a)
    expect(b.quiet()).toEqual(['a', 'b', 'c', 'd'])
  })

  it('count a group once for a node, though two of its voters are there', () => {
    const [a] = pair()
    a.get('a').conf.voters.push(12)
    const groups = new QuietGroups({
      liveness: a.liveness,
      electionTicks,
      heartbeatTicks: 10,
      replicas: () => a.replicas,
      nodeOf: (_, number) => `n${number % 10}`,
    })
    groups.count()
    expect(groups.beatFor('n2')).toMatchObject({ led: { count: 2 }, followed: { count: 1 } })
  })

  it('that agree again in between count anew', () => {
    const [a, b] = pair()
    for (let i = 0; i < 10; i++) {
      a.get('a').quiet = false
      exchange(a, b, 2)
      a.get('a').quiet = true
      exchange(a, b, 1)
    }
    expect(b.quiet()).toEqual(['a', 'b', 'c', 'd'])
  })
})

describe('a node that is not heard', () => {
  it('for an election timeout wakes what it leads or follows, once, and its followers count the silence', () => {
    const [a] = pair()
    a.liveness.heard('n2')
    for (let i = 1; i < electionTicks; i++) a.liveness.pass(1)
    expect(a.quiet()).toEqual(['a', 'b', 'c', 'd'])
    for (let i = 0; i < 3 * electionTicks; i++) a.liveness.pass(1)
    expect(a.quiet()).toEqual(['c'])
    expect(a.get('b').woken).toEqual([electionTicks])
    expect(a.get('a').woken).toEqual([0])
  })

  it('is heard again: its silence begins anew', () => {
    const [a] = pair()
    a.liveness.heard('n2')
    for (let i = 0; i < 10 * electionTicks; i++) {
      a.liveness.pass(1)
      if (i % 50 === 0) a.liveness.heard('n2')
    }
    expect(a.quiet()).toEqual(['a', 'b', 'c', 'd'])
  })

  it('has been silent for no time where it never was heard: nothing is taken for granted', () => {
    const [a] = pair()
    a.groups.wakeWith('n2')
    expect(a.get('b').woken).toEqual([0])
  })
})

describe('a node that is lost', () => {
  it('lets the followers of its leaders campaign, others first in other groups', () => {
    const nodes = [2, 3].map((replica) => new Node(replica, { a: 1, b: 3 }))
    for (const node of nodes) node.groups.lost('n1')
    const [second, third] = nodes as [Node, Node]
    expect(second.get('a').lost).toEqual([[1, 1]])
    expect(third.get('a').lost).toEqual([[1, 6]])
    expect(second.get('b').lost).toEqual([])
    const first = new Node(1, { a: 1, b: 3 })
    second.groups.lost('n3')
    first.groups.lost('n3')
    expect(first.get('b').lost).toEqual([[3, 1]])
    expect(second.get('b').lost).toEqual([[3, 6]])
  })

  it('does not concern its followers, and what it does not host', () => {
    const node = new Node(1, leaders)
    expect(['n1', 'n2', 'n3', 'n4'].map((other) => node.groups.isLedFrom(other))).toEqual([false, true, true, false])
    node.groups.lost('n2')
    expect([...node.replicas.values()].map(({ lost }) => lost.length)).toEqual([0, 1, 0, 0])
  })
})
