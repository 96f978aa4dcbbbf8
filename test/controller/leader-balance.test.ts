import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../base/random.ts'
import { balanceLeaders, type LedGroup } from '../../controller/leader-balance.ts'

/** 'a: b c' is a group that a leads and b and c could; 'a' alone is not to be moved. */
function groupsOf(...texts: string[]): LedGroup[] {
  return texts.map((text, at) => {
    const [leader = '', others = ''] = text.split(':').map((part) => part.trim())
    return { uid: `g${at}`, leader, candidates: others === '' ? [] : [leader, ...others.split(' ')] }
  })
}

function advice(nodes: string, ...texts: string[]): string {
  const transfers = balanceLeaders(nodes.split(' '), groupsOf(...texts))
  return transfers.map(({ uid, from, to }) => `${uid} ${from}→${to}`).join(', ')
}

describe('balancing leaders', () => {
  it.each([
    ['leaves alone what is even', 'a b c', ['a: b c', 'b: a c'], ''],
    ['leaves alone what differs by one', 'a b', ['a: b', 'a: b', 'b: a'], ''],
    ['spreads what one node leads', 'a b c', ['a: b c', 'a: b c', 'a: b c'], 'g0 a→b, g1 a→c'],
    ['goes through a node where it has to', 'a b c', ['a: b', 'a: b', 'b: c'], 'g0 a→b, g2 b→c'],
    ['moves the first of groups alike', 'a b', ['a: b', 'a: b', 'a: b', 'b: a'], 'g0 a→b'],
    ['moves the first of those that would do', 'a b c', ['b: c', 'a: c', 'a: c', 'b: c', 'b', 'a'], 'g0 b→c, g1 a→c'],
    ['counts what cannot be moved', 'a b', ['a', 'a', 'a: b', 'a: b'], 'g2 a→b, g3 a→b'],
    ['gives nothing to a node that is not there', 'a b', ['a: c', 'a: c', 'a: b c'], 'g2 a→b'],
    ['has nothing to say where there is one node', 'a', ['a: b', 'a: b'], ''],
  ])('%s', (_, nodes, groups, expected) => {
    expect(advice(nodes, ...groups)).toBe(expected)
  })

  it('is as even as can be with as few transfers as can be: no way of all is better (400 small clusters)', () => {
    for (let seed = 1; seed <= 400; seed++) {
      const { nodes, groups } = randomCluster(new SeededRandom(seed), 4, 5)
      const best = bestOfAll(nodes, groups)
      const transfers = balanceLeaders(nodes, groups)
      const after = applied(groups, transfers)
      expect([squares(nodes, after), transfers.length], `seed ${seed}`).toEqual([best.squares, best.transfers])
      expect(transfers.every(({ uid, to }) => groups.find((group) => group.uid === uid)?.candidates.includes(to))).toBe(true)
    }
  })

  it('has nothing more to say once it was followed, also where it was followed in part and then again (200 clusters)', () => {
    for (let seed = 1; seed <= 200; seed++) {
      const random = new SeededRandom(seed)
      let { nodes, groups } = randomCluster(random, 12, 40)
      const even = squares(nodes, applied(groups, balanceLeaders(nodes, groups)))
      let moved = 0
      for (;;) {
        const transfers = balanceLeaders(nodes, groups, 1 + random.below(4))
        if (transfers.length === 0) break
        const taken = transfers.filter((_, at) => at === 0 || random.below(3) > 0)
        moved += taken.length
        expect(moved, `seed ${seed}`).toBeLessThan(groups.length * 2)
        groups = applied(groups, taken)
      }
      expect(squares(nodes, groups), `seed ${seed}`).toBe(even)
    }
  })

  it('leaves nobody with two more than another where every node could lead everything', () => {
    for (let seed = 1; seed <= 50; seed++) {
      const random = new SeededRandom(seed)
      const nodes = Array.from({ length: 1 + random.below(9) }, (_, at) => `n${at}`)
      const groups = Array.from({ length: random.below(60) }, (_, at) => {
        return { uid: `g${at}`, leader: nodes[random.below(nodes.length)] ?? '', candidates: nodes }
      })
      const loads = loadsOf(nodes, applied(groups, balanceLeaders(nodes, groups)))
      expect(Math.max(...loads) - Math.min(...loads), `seed ${seed}`).toBeLessThanOrEqual(1)
    }
  })
})

function randomCluster(random: SeededRandom, nodesMax: number, groupsMax: number): { nodes: string[]; groups: LedGroup[] } {
  const nodes = Array.from({ length: 1 + random.below(nodesMax) }, (_, at) => `n${at}`)
  const groups = Array.from({ length: random.below(groupsMax + 1) }, (_, at) => {
    const voters = nodes.filter(() => random.below(2) === 0)
    const leader = nodes[random.below(nodes.length)] ?? ''
    // Now and then one that is led from a node that holds no replica of it any more, or that is not to be moved.
    const candidates = random.below(6) === 0 ? [] : random.below(6) === 0 ? voters : [...new Set([leader, ...voters])]
    return { uid: `g${at}`, leader, candidates }
  })
  return { nodes, groups }
}

function applied(groups: readonly LedGroup[], transfers: readonly { uid: string; to: string }[]): LedGroup[] {
  return groups.map((group) => ({ ...group, leader: transfers.find(({ uid }) => uid === group.uid)?.to ?? group.leader }))
}

function loadsOf(nodes: readonly string[], groups: readonly LedGroup[]): number[] {
  return nodes.map((node) => groups.filter(({ leader }) => leader === node).length)
}

function squares(nodes: readonly string[], groups: readonly LedGroup[]): number {
  return loadsOf(nodes, groups).reduce((sum, load) => sum + load * load, 0)
}

/** By trying all ways. */
function bestOfAll(nodes: readonly string[], groups: readonly LedGroup[]): { squares: number; transfers: number } {
  let best = { squares: Number.POSITIVE_INFINITY, transfers: 0 }
  const visit = (at: number, chosen: LedGroup[]): void => {
    const group = groups[at]
    if (group === undefined) {
      const transfers = chosen.filter(({ leader }, place) => leader !== groups[place]?.leader).length
      const sum = squares(nodes, chosen)
      if (sum < best.squares || (sum === best.squares && transfers < best.transfers)) best = { squares: sum, transfers }
      return
    }
    for (const leader of new Set([group.leader, ...group.candidates])) visit(at + 1, [...chosen, { ...group, leader }])
  }
  visit(0, [])
  return best
}
