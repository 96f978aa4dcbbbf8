import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../base/random.ts'
import { nextReplicaAfter, staying } from '../../controller/members.ts'
import { removedGroups, removedReplicas } from '../../controller/removed.ts'
import { Steps } from '../../controller/step.ts'
import { encodeGroup, type Member } from '../../proto/config.ts'
import { OstrakaError } from '../../proto/errors.ts'
import { Lab } from './lab.ts'

function refusal(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    if (error instanceof OstrakaError) return `${error.code} ${error.message}`
    throw error
  }
  return 'done'
}

/** Groups on n1, n2 and n3. */
function begin(...names: string[]): Lab {
  const lab = new Lab()
  lab.join(names.length === 0 ? ['g1'] : names)
  return lab
}

describe('a change of a group', () => {
  it('is a config when it is asked for and another when it is done, which say who came, who went and who asked', () => {
    const lab = begin()
    lab.changeMembers('g1', ['n4'], [])
    expect(lab.shown('g1')).toBe('n1#1 n2#2 n3#3 n4#4+')
    expect([lab.config.number, lab.config.cause, lab.config.author]).toEqual([2, 'add-replica g1 n4', 'op'])
    // True when it is asked for and, after --wait, when it is done.
    expect(lab.note).toBe('replicas of g1 change: who joins votes once it has caught up')
    expect(lab.state.directory.addressOf('n4')).toBe('n4:7410')
    lab.settle('g1')
    expect(lab.shown('g1')).toBe('n1#1 n2#2 n3#3 n4#4')
    expect([lab.config.number, lab.config.cause, lab.config.author]).toEqual([3, 'members of g1: n4 joined', 'op'])
    lab.changeMembers('g1', ['n5'], ['n1', 'n2'])
    expect([lab.shown('g1'), lab.config.cause]).toEqual(['n1#1- n2#2- n3#3 n4#4 n5#5+', 'replace n1, n2 by n5 in g1'])
    lab.settle('g1')
    expect([lab.shown('g1'), lab.config.cause]).toEqual(['n3#3 n4#4 n5#5', 'members of g1: n5 joined, n1 left, n2 left'])
  })

  it('may replace a replica on the node that holds it, under a new number', () => {
    const lab = begin()
    lab.changeMembers('g1', ['n2'], ['n2'])
    expect(lab.shown('g1')).toBe('n1#1 n2#2- n3#3 n2#4+')
    lab.settle('g1')
    expect(lab.shown('g1')).toBe('n1#1 n3#3 n2#4')
  })

  it('that replaces one in its place goes on when the old one is out: the node has to know that before the new one can begin', () => {
    const lab = begin()
    lab.changeMembers('g1', ['n2', 'n4'], ['n2', 'n3'])
    const uid = lab.uid('g1')
    for (const [voters, learners] of [
      [
        [1, 2, 3],
        [4, 5],
      ],
      [[1, 3], [4]],
      [
        [1, 2],
        [4, 5],
      ],
    ] as const) {
      expect(refusal(() => lab.reportMembers(uid, voters, learners))).toContain('replicas 1, 4, 5 of g1 are to vote')
    }
    lab.reportMembers(uid, [1, 3], [4, 5])
    expect([lab.shown('g1'), lab.config.cause]).toEqual(['n1#1 n3#3- n2#4+ n4#5+', 'members of g1: n2 left'])
    expect(removedReplicas(lab.state, [{ group: uid, replica: 2 }])).toEqual([{ group: uid, replica: 2 }])
    expect(refusal(() => lab.reportMembers(uid, [1, 3], [4, 5]))).toContain('replicas 1, 4, 5 of g1 are to vote')
    lab.settle('g1')
    expect([lab.shown('g1'), lab.config.cause]).toEqual(['n1#1 n2#4 n4#5', 'members of g1: n2 joined, n4 joined, n3 left'])
  })

  it('that replaces one in its place is refused where the others cannot decide alone meanwhile', () => {
    const lab = begin()
    lab.dead.add('n3')
    expect(refusal(() => lab.changeMembers('g1', ['n1'], ['n1']))).toBe(
      'FAILED_PRECONDITION g1 would have no majority while n1 begins anew (not live: n3): add a replica, or start these, first',
    )
    lab.changeMembers('g1', ['n3'], ['n3'])
    lab.settle('g1')
    lab.dead.clear()
    lab.changeMembers('g1', [], ['n2', 'n3'])
    lab.settle('g1')
    expect(refusal(() => lab.changeMembers('g1', ['n1'], ['n1']))).toBe(
      'FAILED_PRECONDITION g1 would have no majority while n1 begins anew (no other replica votes): add a replica, or start these, first',
    )
  })

  it('is refused while one runs, and says what to do', () => {
    const lab = begin()
    lab.changeMembers('g1', [], ['n3'])
    expect(refusal(() => lab.changeMembers('g1', ['n4'], []))).toBe(
      'FAILED_PRECONDITION a change of g1 runs (n3 leaves): wait until it is through',
    )
    lab.settle('g1')
    lab.changeMembers('g1', ['n4'], [])
    expect(refusal(() => lab.changeMembers('g1', [], ['n1']))).toBe(
      'FAILED_PRECONDITION a change of g1 runs (n4 joins): wait until it is through; if n4 never comes, take it out (remove-replica g1 n4) or replace it',
    )
  })

  it('that waits for who never comes can be ended, or go on with another', () => {
    const lab = begin()
    lab.changeMembers('g1', ['n4'], ['n1'])
    lab.dead.add('n1').add('n4')
    lab.changeMembers('g1', ['n5'], ['n4'])
    expect(lab.shown('g1')).toBe('n1#1- n2#2 n3#3 n4#4- n5#5+')
    lab.changeMembers('g1', [], ['n5'])
    expect(lab.shown('g1')).toBe('n1#1- n2#2 n3#3 n4#4- n5#5-')
    lab.settle('g1')
    expect(lab.shown('g1')).toBe('n2#2 n3#3')
    expect(refusal(() => lab.changeMembers('g1', [], ['n4']))).toBe('NOT_FOUND n4 holds no replica of g1; its nodes are n2, n3')
  })

  it.each([
    ['a group that is none', ['g9', ['n4'], []], 'NOT_FOUND no group g9: there are g1'],
    ['a node to remove that holds none', ['g1', [], ['n9']], 'NOT_FOUND n9 holds no replica of g1; its nodes are n1, n2, n3'],
    [
      'a node to add that holds one',
      ['g1', ['n2'], ['n3']],
      'FAILED_PRECONDITION n2 holds a replica of g1 already: name a node that holds none',
    ],
    [
      'nobody left',
      ['g1', [], ['n1', 'n2', 'n3']],
      'FAILED_PRECONDITION this is the last replica of g1: add another one first, or let the group leave',
    ],
    ['nothing asked', ['g1', [], []], 'INVALID_ARGUMENT no replica of g1 given to add or remove'],
    ['a node twice', ['g1', ['n4', 'n4'], []], 'INVALID_ARGUMENT node to add n4 is given twice'],
  ] as const)('is refused with %s', (_, [group, add, remove], text) => {
    const lab = begin()
    expect(refusal(() => lab.changeMembers(group, add, remove))).toBe(text)
    expect(lab.config.number).toBe(1)
  })

  it('is refused where those that vote, or will vote, have no majority of live nodes', () => {
    const lab = begin()
    lab.dead.add('n1')
    expect(refusal(() => lab.changeMembers('g1', [], ['n2']))).toBe(
      'FAILED_PRECONDITION g1 would have no majority then (not live: n1): start or replace these first',
    )
    lab.changeMembers('g1', [], ['n1'])
    lab.settle('g1')
    lab.dead.add('n2')
    for (const [add, remove] of [
      [['n4'], []],
      [[], ['n2']],
      [['n4'], ['n2']],
    ] as const) {
      expect(refusal(() => lab.changeMembers('g1', add, remove))).toBe(
        'FAILED_PRECONDITION g1 has no majority (not live: n2): start its nodes first',
      )
    }
  })

  it('counts who joins as live: it votes when it has caught up', () => {
    const lab = begin()
    lab.changeMembers('g1', [], ['n2', 'n3'])
    lab.settle('g1')
    lab.dead.add('n4')
    lab.changeMembers('g1', ['n4'], ['n1'])
    expect(lab.shown('g1')).toBe('n1#1- n4#4+')
  })
})

describe('replacing a node', () => {
  it('is one entry for all its groups, a config for each', () => {
    const lab = begin('g1', 'g2', 'g3')
    lab.changeMembers('g2', [], ['n2'])
    lab.settle('g2')
    const { number } = lab.config
    lab.dead.add('n2')
    lab.replaceNode('n2', 'n4')
    expect(['g1', 'g2', 'g3'].map((name) => lab.shown(name))).toEqual(['n1#1 n2#2- n3#3 n4#10+', 'n1#4 n3#6', 'n1#7 n2#8- n3#9 n4#11+'])
    expect([lab.config.number, lab.config.cause]).toEqual([number + 2, 'replace-node n2 n4 (g3)'])
    expect(lab.log.at(-1)).toMatchObject({ kind: 'change', change: { base: number } })
  })

  it('may be by the same id, with an emptied directory', () => {
    const lab = begin()
    lab.replaceNode('n2', 'n2')
    expect(lab.shown('g1')).toBe('n1#1 n2#2- n3#3 n2#4+')
  })

  it('also replaces one that has not come yet', () => {
    const lab = begin()
    lab.replaceNode('n2', 'n4')
    lab.replaceNode('n4', 'n5')
    expect(lab.shown('g1')).toBe('n1#1 n2#2- n3#3 n4#4- n5#5+')
  })

  it('is refused whole where one of the groups cannot', () => {
    const lab = begin('g1', 'g2')
    lab.changeMembers('g2', ['n4'], [])
    const { number } = lab.config
    expect(refusal(() => lab.replaceNode('n2', 'n5'))).toContain('a change of g2 runs')
    lab.settle('g2')
    expect(refusal(() => lab.replaceNode('n2', 'n4'))).toContain('n4 holds a replica of g2 already')
    expect(refusal(() => lab.replaceNode('n9', 'n5'))).toBe("NOT_FOUND no node or controller n9: see 'ostraka admin status'")
    expect(lab.config.number).toBe(number + 1)
    expect(refusal(() => lab.replaceNode('n4', 'n5'))).toBe('done')
    lab.settle('g2')
    lab.replaceNode('n4', 'n6')
    expect(lab.note).toBe('nothing to do: n4 holds no replica')
  })
})

describe('the report of a group', () => {
  it('is refused until exactly those vote that are to vote, and changes nothing when it comes again', () => {
    const lab = begin()
    const uid = lab.uid('g1')
    lab.changeMembers('g1', ['n4'], ['n1'])
    const text = 'FAILED_PRECONDITION replicas 2, 3, 4 of g1 are to vote, and none to learn; told of were'
    expect(refusal(() => lab.reportMembers(uid, [1, 2, 3], [4]))).toBe(`${text} 1, 2, 3; 4 learn`)
    for (const [voters, learners] of [
      [[1, 2, 3], []],
      [[1, 2, 3, 4], []],
      [[2, 3], [4]],
      [[2, 3, 4], [5]],
      [[2, 3, 5], []],
      [[2, 3, 3], []],
    ] as const) {
      expect(refusal(() => lab.reportMembers(uid, voters, learners))).toContain(text)
    }
    lab.reportMembers(uid, [4, 3, 2])
    const { number } = lab.config
    for (const voters of [
      [2, 3, 4],
      [1, 2, 3],
    ])
      lab.reportMembers(uid, voters)
    expect([lab.config.number, lab.shown('g1')]).toEqual([number, 'n2#2 n3#3 n4#4'])
    expect(refusal(() => lab.reportMembers('g9@1', [1]))).toContain('NOT_FOUND')
  })
})

describe('lost replicas', () => {
  it('are replaced on their nodes under new numbers, and again if the new one is lost', () => {
    const lab = begin('g1', 'g2')
    lab.lostReplicas.set(2, 'log damaged').set(5, '')
    lab.replaceLost()
    expect(['g1', 'g2'].map((name) => lab.shown(name))).toEqual(['n1#1 n2#2- n3#3 n2#7+', 'n1#4 n2#5- n3#6 n2#8+'])
    expect(lab.config.cause).toBe('replace what is lost of g2 on n2')
    lab.lostReplicas.set(7, 'claimed by another directory')
    lab.replaceLost()
    expect(lab.shown('g1')).toBe('n1#1 n2#2- n3#3 n2#7- n2#9+')
    expect(lab.config.cause).toBe('replace what is lost of g1 on n2 (claimed by another directory)')
    lab.settle('g1')
    expect(lab.shown('g1')).toBe('n1#1 n3#3 n2#9')
    const { number } = lab.config
    lab.replaceLost()
    expect(lab.config.number).toBe(number)
  })

  it('wait for a change that runs, and are not replaced where the majority is lost with them', () => {
    const lab = begin()
    lab.changeMembers('g1', ['n4'], [])
    lab.lostReplicas.set(2, 'wiped')
    lab.replaceLost()
    expect(lab.shown('g1')).toBe('n1#1 n2#2 n3#3 n4#4+')
    lab.settle('g1')
    lab.dead.add('n3')
    lab.replaceLost()
    expect(lab.shown('g1')).toBe('n1#1 n2#2 n3#3 n4#4')
    lab.dead.clear()
    lab.replaceLost()
    expect(lab.shown('g1')).toBe('n1#1 n2#2- n3#3 n4#4 n2#5+')
  })

  it('that join are replaced also while a voter that is lost has to wait', () => {
    const lab = begin()
    lab.changeMembers('g1', ['n4', 'n5'], [])
    lab.settle('g1')
    lab.changeMembers('g1', ['n1'], ['n1'])
    lab.lostReplicas.set(6, 'wiped').set(2, 'damaged')
    lab.replaceLost()
    expect(lab.shown('g1')).toBe('n1#1- n2#2 n3#3 n4#4 n5#5 n1#6- n1#7+')
  })
})

describe('what a node is to delete', () => {
  it('are numbers handed out that are no member’s any more, never one that is only unknown', () => {
    const lab = begin('g1', 'g2')
    const named = (uid: string, ...replicas: number[]) => replicas.map((replica) => ({ group: uid, replica }))
    lab.changeMembers('g1', ['n4'], ['n1'])
    expect(removedReplicas(lab.state, named('g1@1', 0, 1, 2, 7, 8, 99))).toEqual([])
    lab.settle('g1')
    expect(removedReplicas(lab.state, named('g1@1', 0, 1, 2, 7, 8, 99))).toEqual(named('g1@1', 1))
    expect(removedReplicas(lab.state, named('g9@9', 1))).toEqual([])
    lab.leave('g2')
    lab.completeAll()
    lab.upkeep()
    expect(removedReplicas(lab.state, named('g2@2', 4, 5, 6))).toEqual(named('g2@2', 4, 5, 6))
    expect(removedGroups(lab.state, ['g1@1', 'g2@2', 'g9@9'])).toEqual(['g2@2'])
  })
})

describe('members that follow each other', () => {
  const members = (text: string): Member[] =>
    text.split(' ').map((part) => {
      const [node = '', rest = ''] = part.split('#')
      const state = rest.endsWith('+') ? 'joining' : rest.endsWith('-') ? 'leaving' : 'voter'
      return { node, replica: Number.parseInt(rest, 10), state }
    })

  it.each([
    ['a', undefined, 'a#5 b#6', 7],
    ['b', undefined, 'a#5+', undefined],
    ['c', undefined, 'a#6', undefined],
    ['d', undefined, 'a#5 a#6', undefined],
    ['e', 'a#1 b#2', 'a#1 b#2 c#5+', 6],
    ['f', 'a#1 b#2', 'a#1 b#2 c#5', undefined],
    ['g', 'a#1 b#2', 'a#1 b#2 c#4+', undefined],
    ['h', 'a#1 b#2', 'a#1 b#2 c#6+', undefined],
    ['i', 'a#1 b#2', 'a#1 b#2 a#5+', undefined],
    ['j', 'a#1 b#2', 'a#1- b#2 a#5+', 6],
    ['k', 'a#1 b#2', 'a#1', undefined],
    ['l', 'a#1 b#2-', 'a#1', 5],
    ['m', 'a#1 b#2-', 'a#1 b#2', undefined],
    ['n', 'a#1 b#2-', 'a#1 b#2+', undefined],
    ['o', 'a#1 b#2+', 'a#1 b#2', 5],
    ['p', 'a#1 b#2+', 'a#1 b#2-', 5],
    ['q', 'a#1 b#2+', 'a#1', undefined],
    ['r', 'a#1 b#2', 'a#1 b#2+', undefined],
    ['s', 'a#1 b#2', 'a#1 c#2', undefined],
    ['t', 'a#1 b#2', 'a#1- b#2-', undefined],
    ['u', 'a#1 b#2', 'b#2 a#1', 5],
  ])('%s: %s, then %s', (_, before, after, next) => {
    expect(nextReplicaAfter(before === undefined ? undefined : members(before), members(after), 5)).toBe(next)
  })

  it('are checked by every replica of the controllers’ log', () => {
    const lab = begin()
    const group = lab.config.groups[0]
    if (group === undefined) throw new Error('no group')
    const entry = (list: string) => {
      const steps = new Steps(lab.config)
      steps.add({ cause: 'x', author: '', atMs: 0 }, { groups: [encodeGroup({ ...group, members: members(list) })] })
      return { base: lab.config.number, steps: steps.all }
    }
    expect(lab.try(entry('n1#1 n2#2'))).toBe('refused')
    expect(lab.try(entry('n1#1 n2#2 n3#3 n4#4'))).toBe('refused')
    expect(lab.try(entry('n1#1 n2#2 n3#3 n4#4+'))).toBe('applied')
  })

  it('never use a number twice, never have a node twice, and always end where all vote (seeds 1 to 40)', () => {
    for (let seed = 1; seed <= 40; seed++) {
      const random = new SeededRandom(seed)
      const lab = begin('g1', 'g2')
      const seen = new Set([1, 2, 3, 4, 5, 6])
      const owner = new Map<number, string>()
      for (let step = 0; step < 60; step++) {
        randomStep(lab, random)
        for (const { uid, members: list } of lab.config.groups) {
          const nodes = staying(list).map(({ node }) => node)
          expect(new Set(nodes).size, `seed ${seed}`).toBe(nodes.length)
          expect(nodes.length, `seed ${seed}`).toBeGreaterThan(0)
          for (const { replica, node } of list) {
            expect(owner.get(replica) ?? `${uid} ${node}`, `seed ${seed}`).toBe(`${uid} ${node}`)
            owner.set(replica, `${uid} ${node}`)
            seen.add(replica)
          }
        }
      }
      for (const name of ['g1', 'g2']) if (lab.members(name).some(({ state }) => state !== 'voter')) lab.settle(name)
      expect(lab.config.groups.every((group) => group.members.every(({ state }) => state === 'voter'))).toBe(true)
      expect(Math.max(...seen), `seed ${seed}`).toBe(lab.state.nextReplica - 1)
    }
  })
})

/** One of all commands, reports and losses; most are refused now and then. */
function randomStep(lab: Lab, random: SeededRandom): void {
  const name = `g${1 + random.below(2)}`
  const node = () => `n${1 + random.below(7)}`
  const acts = [
    () => lab.changeMembers(name, [node()], []),
    () => lab.changeMembers(name, [], [node()]),
    () => lab.changeMembers(name, [node()], [node()]),
    () => lab.replaceNode(node(), node()),
    () => lab.settle(name),
    () => {
      const lost = lab.members(name)[random.below(lab.members(name).length)]
      if (lost !== undefined) lab.lostReplicas.set(lost.replica, 'wiped')
      lab.replaceLost()
    },
    () => {
      lab.dead.clear()
      if (random.below(2) === 0) lab.dead.add(node())
    },
  ]
  refusal(acts[random.below(acts.length)] ?? (() => {}))
}
