import { describe, expect, it } from 'vitest'
import { encodeConfChange } from '../../raft/core/conf-change-codec.ts'
import { type ConfChange, type Entry, EntryKind } from '../../raft/core/types.ts'
import { BadMembershipChange, encodeMembersContext, type Standing, standBehind } from '../../raft/standing.ts'
import { firstOf } from './standings.ts'

const none = new Uint8Array(0)

function entry(index: number, data: Uint8Array = none, kind: number = EntryKind.ConfChange): Entry {
  return { index, term: 2, kind, data }
}

function change(index: number, steps: ConfChange['steps'], nodes: Record<number, string> = {}, configNumber = 0): Entry {
  const named = new Map(Object.entries(nodes).map(([replica, node]) => [Number(replica), node]))
  return entry(index, encodeConfChange({ transition: 'auto', steps }, encodeMembersContext({ nodes: named, configNumber })))
}

function text({ conf, nodes, changedAt, configNumber }: Standing): string {
  const lists = [conf.voters, conf.votersOutgoing, conf.learners].map((list) => list.join(' ')).join(' | ')
  return `${lists}; ${[...nodes].map(([replica, node]) => `${replica} on ${node}`).join(', ')}; ${changedAt}, ${configNumber}`
}

describe('where a state machine stands', () => {
  it('follows the log: a learner comes, votes in the place of another, whose node is known until the joint configuration is left', () => {
    let at = firstOf(3)
    const told: string[] = []
    for (const next of [
      entry(1, Uint8Array.of(1), EntryKind.Normal),
      change(2, [{ type: 'add-learner', replica: 7 }], { 7: 'n4' }, 12),
      change(3, [
        { type: 'add-voter', replica: 7 },
        { type: 'remove', replica: 1 },
      ]),
      entry(4),
      change(5, [{ type: 'remove', replica: 7 }], {}, 11),
    ]) {
      at = standBehind(at, next)
      told.push(text(at))
      expect([at.index, at.term]).toEqual([next.index, 2])
    }
    expect(told).toEqual([
      '1 2 3 |  | ; 1 on n1, 2 on n2, 3 on n3; 0, 0',
      '1 2 3 |  | 7; 1 on n1, 2 on n2, 3 on n3, 7 on n4; 2, 12',
      '2 3 7 | 1 2 3 | ; 2 on n2, 3 on n3, 7 on n4, 1 on n1; 3, 12',
      '2 3 7 |  | ; 2 on n2, 3 on n3, 7 on n4; 4, 12',
      '2 3 |  | ; 2 on n2, 3 on n3; 5, 12',
    ])
  })

  it("does not move a replica to another node: a number's node is the first that was named", () => {
    const at = standBehind(firstOf(3), change(1, [{ type: 'add-learner', replica: 2 }], { 2: 'n9' }))
    expect(at.nodes.get(2)).toBe('n2')
  })

  it.each([
    ['of a kind that is not known', entry(1, none, 7)],
    ['of bytes that are no change', entry(1, Uint8Array.of(9, 9, 9, 9))],
    [
      'whose context is no context',
      entry(1, encodeConfChange({ transition: 'auto', steps: [{ type: 'remove', replica: 1 }] }, Uint8Array.of(0xff))),
    ],
    ['that does not fit', entry(1)],
  ])('an entry %s stops the replica', (_, bad) => {
    expect(() => standBehind(firstOf(3), bad)).toThrow(BadMembershipChange)
  })
})
