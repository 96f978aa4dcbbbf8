import { describe, expect, it } from 'vitest'
import { must } from '../../base/assert.ts'
import { entryInTheMiddle } from './log-damage.ts'
import { MembershipStage } from './membership-stage.ts'

async function stage(seed: number): Promise<MembershipStage> {
  const opened = new MembershipStage(seed)
  await opened.open()
  return opened
}

/** Groups of which every node between holds a replica, and their nodes. */
const bothGroups = new Map([
  ['g1', 'n1 n2 n3'],
  ['g2', 'n2 n3 n4'],
])

function numbersOn(play: MembershipStage, node: string): Map<string, readonly number[]> {
  return new Map([...bothGroups.keys()].map((group) => [group, play.numbersOf(group, node)]))
}

describe('the members of a group change under load', () => {
  it('one comes, one goes, one is replaced, and no call fails', async () => {
    const play = await stage(1)
    await play.change('g1', ['n4'], [])
    await play.settled('g1', 'n1 n2 n3 n4')
    await play.change('g1', [], ['n1'])
    await play.settled('g1', 'n2 n3 n4')
    await play.change('g1', ['n5'], ['n2'])
    await play.settled('g1', 'n3 n4 n5')
    await play.finish()
    expect(play.workload.counts).toMatchObject({ failed: 0, unknown: 0 })
  })

  it('all three are replaced one by one, and no call fails', async () => {
    const play = await stage(2)
    for (const [comes, goes, nodes] of [
      ['n4', 'n1', 'n2 n3 n4'],
      ['n5', 'n2', 'n3 n4 n5'],
      ['n1', 'n3', 'n1 n4 n5'],
    ] as const) {
      await play.change('g1', [comes], [goes])
      await play.settled('g1', nodes)
      await play.moreLoad(50)
    }
    await play.finish()
    expect(play.workload.counts).toMatchObject({ failed: 0, unknown: 0 })
  })

  it.each([11, 12, 13, 14, 15, 16])('whoever is killed or loses power meanwhile, one is replaced (seed %i)', async (seed) => {
    const play = await stage(seed)
    const { world, cluster } = play
    const random = world.random.fork()
    let down: string | undefined
    const strike = () => {
      if (down !== undefined) cluster.restart(down)
      down = cluster.names[random.below(cluster.names.length)]
      const how = random.next() < 0.5 ? 'kill' : 'powerLoss'
      if (down !== undefined) cluster[how](down)
    }
    let asked = 'waits'
    play.ask('g1', ['n5'], ['n1']).then(
      () => {
        asked = 'done'
      },
      () => {
        asked = 'refused'
      },
    )
    for (let i = 0; i < 12; i++) {
      await world.runFor(random.next() * 300)
      strike()
    }
    if (down !== undefined) cluster.restart(down)
    await world.runUntil(() => asked !== 'waits', 60_000)
    // Who was down may have been one too many.
    if (play.membersOf('g1') === 'n1 n2 n3') await play.change('g1', ['n5'], ['n1'])
    await play.settled('g1', 'n2 n3 n5')
    await play.finish()
  })
})

describe('a replica that its node has lost', () => {
  it('with the whole disk: the node comes back empty, and holds others under new numbers', async () => {
    const play = await stage(21)
    const before = numbersOn(play, 'n2')
    play.cluster.kill('n2')
    await play.moreLoad(20)
    play.cluster.damage.wipe('n2')
    play.cluster.restart('n2')
    await play.replaced('n2', before, bothGroups)
    await play.finish()
  })

  it.each([
    ['a part of the log of one group', 22, 'one'],
    ['all of the log, of which not even the headers are whole', 23, 'all'],
    ['the log, which is gone', 24, 'gone'],
  ] as const)('with %s: its number is retired, it is replaced, and what is whole goes on', async (_, seed, what) => {
    const play = await stage(seed)
    const before = numbersOn(play, 'n3')
    play.cluster.kill('n3')
    const disk = play.cluster.disk('n3')
    const file = `data/log/${must(disk.list('data/log')[0], 'a segment')}`
    const { at, group: damaged } = entryInTheMiddle(disk.bytesOf(file))
    if (what === 'gone') disk.removeFolder('data/log')
    else disk.flip(file, what === 'all' ? 20 : at)
    play.cluster.restart('n3')
    const isLost = (group: string) => what !== 'one' || play.group(group).uid === damaged
    const lost = new Map([...before].filter(([group]) => isLost(group)))
    const nodes = new Map([...bothGroups].filter(([group]) => isLost(group)))
    await play.replaced('n3', lost, nodes)
    for (const [group, numbers] of before) if (!lost.has(group)) expect(play.numbersOf(group, 'n3')).toEqual(numbers)
    await play.finish()
  })

  it('with the tables of one group, as is seen only when they are opened: the same, and the node runs on', async () => {
    const play = await stage(25)
    const before = numbersOn(play, 'n3')
    play.cluster.kill('n3')
    const disk = play.cluster.disk('n3')
    const folder = must(
      disk.list('data/groups').find((name) => name.startsWith('g1@')),
      'the folder of a replica of g1',
    )
    disk.flip(`data/groups/${folder}/CURRENT`, 3)
    play.cluster.restart('n3')
    await play.replaced('n3', new Map([['g1', before.get('g1') ?? []]]), new Map([['g1', bothGroups.get('g1') ?? '']]))
    expect(play.numbersOf('g2', 'n3')).toEqual(before.get('g2'))
    await play.finish()
  })
})
