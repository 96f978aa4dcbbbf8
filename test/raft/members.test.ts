import { describe, expect, it } from 'vitest'
import { must } from '../../base/assert.ts'
import type { ConfStep } from '../../raft/core/types.ts'
import type { MemberChangeOutcome } from '../../raft/member-changes.ts'
import { group, type Node, Rig } from './host-rig.ts'

/** Who votes, and who learns, as a node has applied it. */
function membersOf(node: Node): string {
  const { conf } = must(node.replica, `a replica on ${node.name}`)
  return `${conf.voters.join(' ')}${conf.votersOutgoing.length > 0 ? ` & ${conf.votersOutgoing.join(' ')}` : ''} / ${conf.learners.join(' ')}`
}

class Members extends Rig {
  node(name: string): Node {
    return must(
      this.nodes.find((node) => node.name === name),
      name,
    )
  }

  /** The leader's config names all nodes, as the controllers' would. */
  nodesOf(): Map<number, string> {
    return new Map(this.nodes.map(({ name, number }) => [number, name]))
  }

  expectAll(): void {
    for (const { host } of this.nodes) host?.expectMembers(group, this.nodesOf())
  }

  async change(leader: Node, steps: readonly ConfStep[]): Promise<MemberChangeOutcome> {
    const outcomes: MemberChangeOutcome[] = []
    const context = { nodes: this.nodesOf(), configNumber: 5 }
    must(leader.replica, 'a leader').changeMembers({ transition: 'auto', steps }, context, (outcome) => outcomes.push(outcome))
    await this.world.runUntil(() => outcomes.length > 0, 20_000)
    await this.world.runFor(0)
    expect(outcomes).toHaveLength(1)
    return must(outcomes[0], 'an outcome')
  }

  async caughtUp(node: Node, leader: Node): Promise<void> {
    await this.world.runUntil(() => node.machine?.applied === leader.machine?.applied, 20_000)
  }

  /** n4 comes: its replica begins with the group's first membership, and an empty log. */
  async join(name: string, leader: Node): Promise<Node> {
    const node = this.node(name)
    if (node.replica === undefined) await node.run()
    this.expectAll()
    expect(await this.change(leader, [{ type: 'add-learner', replica: node.number }])).toMatchObject({ kind: 'applied' })
    return node
  }
}

describe('a replica that joins', () => {
  it('gets the log, votes in the place of another, and that one hears no more', async () => {
    const rig = new Members(3, 1)
    await rig.run()
    const leader = await rig.leader()
    await rig.fill(leader, 100)
    const gone = must(
      rig.nodes.slice(0, 3).find((node) => node !== leader),
      'a follower',
    )
    const joined = await rig.join('n4', leader)
    await rig.caughtUp(joined, leader)
    expect([joined.replica?.role, membersOf(joined), joined.machine?.installs]).toEqual(['learner', '1 2 3 / 4', 0])
    await rig.change(leader, [
      { type: 'add-voter', replica: 4 },
      { type: 'remove', replica: gone.number },
    ])
    const left = rig.nodes.filter((node) => node !== gone)
    const voters = left.map(({ number }) => number).join(' ')
    await rig.world.runUntil(() => left.every((node) => membersOf(node) === `${voters} / `), 20_000)
    expect(joined.replica?.members).toMatchObject({ configNumber: 5 })
    expect([...must(joined.replica, 'a replica').members.nodes.keys()].sort()).toEqual(left.map(({ number }) => number))
    // Two of the three that are left go on.
    const other = must(
      left.find((node) => node !== leader && node !== joined),
      'another',
    )
    other.process.kill()
    gone.process.kill()
    await rig.fill(await rig.leader(), 100)
  })

  it('gets a snapshot where the log begins later, with who the members are and where they live', async () => {
    const rig = new Members(3, 1)
    await rig.run()
    const leader = await rig.leader()
    for (let i = 0; i < 30; i++) await rig.fill(leader, 2000)
    await rig.world.runUntil(() => must(leader.replica, 'a leader').log.firstIndex > 1, 20_000)
    const joined = await rig.join('n4', leader)
    await rig.caughtUp(joined, leader)
    expect([joined.machine?.installs, membersOf(joined)]).toEqual([1, '1 2 3 / 4'])
    expect(joined.replica?.members.nodes.get(2)).toBe('n2')
    await joined.again('powerLoss')
    expect(membersOf(joined)).toBe('1 2 3 / 4')
  })

  it('never campaigns, however long it hears nobody: neither before it is a member nor as a learner', async () => {
    const rig = new Members(3, 1)
    await rig.run()
    const joined = rig.node('n4')
    await joined.run()
    await rig.world.runFor(10_000)
    expect(joined.replica?.term).toBe(0)
    const leader = await rig.leader()
    await rig.join('n4', leader)
    await rig.caughtUp(joined, leader)
    const { term } = must(joined.replica, 'a replica')
    for (const node of rig.nodes) if (node !== joined) node.process.kill()
    await rig.world.runFor(10_000)
    expect([joined.replica?.role, joined.replica?.term]).toEqual(['learner', term])
  })

  it('as a leader is followed by a replica that has not heard of it in its log yet', async () => {
    const rig = new Members(3, 1)
    await rig.run()
    const leader = await rig.leader()
    await rig.fill(leader, 100)
    const lagging = must(
      rig.nodes.slice(0, 3).find((node) => node !== leader),
      'a follower',
    )
    lagging.process.kill()
    const joined = await rig.join('n4', leader)
    await rig.caughtUp(joined, leader)
    await rig.change(leader, [{ type: 'add-voter', replica: 4 }])
    await rig.caughtUp(joined, leader)
    leader.replica?.transferLeadership(4, () => {})
    await rig.world.runUntil(() => joined.replica?.role === 'leader', 20_000)
    // Now its vote counts: without it two of four are left.
    leader.process.kill()
    lagging.process = lagging.process.restart()
    await lagging.run()
    expect(lagging.replica?.members.nodes.has(4)).toBe(false)
    lagging.host?.expectMembers(group, rig.nodesOf())
    await rig.fill(await rig.leader(), 100)
    expect(membersOf(lagging)).toBe('1 2 3 4 / ')
  })
})

describe('a leader that leaves', () => {
  it('steps down when its removal is applied, and another leads', async () => {
    const rig = new Members(3)
    await rig.run()
    const leader = await rig.leader()
    await rig.fill(leader, 100)
    await rig.change(leader, [{ type: 'remove', replica: leader.number }])
    expect(leader.replica?.role).not.toBe('leader')
    const left = rig.nodes.filter((node) => node !== leader)
    await rig.world.runUntil(() => left.some(({ replica }) => replica?.role === 'leader'), 20_000)
    const next = must(
      left.find(({ replica }) => replica?.role === 'leader'),
      'a leader',
    )
    await rig.fill(next, 100)
    expect(next.replica?.members.nodes.size).toBe(2)
  })
})

it('a change is refused by who does not lead, and while another is not applied', async () => {
  const rig = new Members(3, 1)
  await rig.run()
  const leader = await rig.leader()
  await rig.fill(leader, 100)
  const follower = must(
    rig.nodes.slice(0, 3).find((node) => node !== leader),
    'a follower',
  )
  const steps = [{ type: 'add-learner', replica: 4 }] as const
  expect(await rig.change(follower, steps)).toEqual({ kind: 'refused', reason: 'not-leader', leader: leader.number })
  const outcomes: MemberChangeOutcome[] = []
  const context = { nodes: rig.nodesOf(), configNumber: 5 }
  for (let i = 0; i < 2; i++) leader.replica?.changeMembers({ transition: 'auto', steps }, context, (outcome) => outcomes.push(outcome))
  await rig.world.runFor(1000)
  expect(outcomes).toMatchObject([{ kind: 'refused', reason: 'conf-change-pending' }, { kind: 'applied' }])
  follower.host?.close().catch(() => undefined)
  await rig.world.runFor(100)
  expect(await rig.change(follower, steps)).toMatchObject({ kind: 'refused', reason: 'stopped' })
})

describe('the power lost at any file operation while members change', () => {
  /** Replaces n1 by n4; the power goes at the `k`th file operation of `name`. Returns whether it did. */
  async function replace(name: string, k: number): Promise<boolean> {
    const rig = new Members(3, 1)
    await rig.run()
    let leader = await rig.leader()
    const joined = await rig.join('n4', leader)
    const victim =
      name === 'leader'
        ? leader
        : name === 'joined'
          ? joined
          : must(
              rig.nodes.slice(0, 3).find((n) => n !== leader),
              'a follower',
            )
    const gone = must(
      rig.nodes.slice(0, 3).find((node) => node !== leader && node !== victim),
      'one that goes',
    )
    victim.process.disk.faultAt(victim.process.disk.operations + k, 'crash')
    const steps = [{ type: 'add-voter', replica: 4 } as const, { type: 'remove', replica: gone.number } as const]
    const context = { nodes: rig.nodesOf(), configNumber: 5 }
    const propose = () => leader.replica?.changeMembers({ transition: 'auto', steps }, context, () => {})
    propose()
    const voters = [1, 2, 3, 4].filter((number) => number !== gone.number).join(' ')
    const left = rig.nodes.filter((node) => node !== gone)
    // The change, a flush, and all that goes with it.
    await rig.world.runFor(300)
    for (const { machine, process } of left) if (process.alive) void machine?.flush()
    await rig.world.runFor(300)
    const crashed = !victim.process.alive
    if (crashed) {
      victim.process = victim.process.restart()
      await victim.run()
      victim.host?.expectMembers(group, rig.nodesOf())
    }
    const isDone = () => left.every((node) => membersOf(node) === `${voters} / `)
    for (let round = 0; round < 100 && !isDone(); round++) {
      leader = await rig.leader()
      if (membersOf(leader) === '1 2 3 / 4') propose()
      await rig.world.runFor(200)
    }
    expect(left.map(membersOf), `operation ${k} of ${name}`).toEqual(left.map(() => `${voters} / `))
    // It may be now that the power goes.
    let outcome = 'none yet'
    for (let round = 0; round < 100 && outcome !== 'applied'; round++) {
      const result = (await rig.leader()).propose(50)
      await rig.world.runFor(500)
      outcome = result.outcome
    }
    expect(outcome).toBe('applied')
    return crashed || !victim.process.alive
  }

  it.each(['leader', 'follower', 'joined'])('of the %s: all come to the same members', async (name) => {
    let k = 1
    while (await replace(name, k)) k++
    expect(k).toBeGreaterThan(4)
  })
})
