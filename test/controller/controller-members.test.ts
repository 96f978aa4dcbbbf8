import { describe, expect, it } from 'vitest'
import type { Member } from '../../proto/config.ts'
import { protocolVersion } from '../../proto/limits.ts'
import { nonce } from './entries.ts'
import { fakeControllers } from './fake-controllers.ts'

const timeoutMs = 2000
const nodes = ['n1', 'n2', 'n3']
const shown = (members: readonly Member[]) => members.map(({ node, replica, state }) => `${node}#${replica} ${state}`).join(', ')

/** Group g1 of n1 to n3, all of them registered and heard. */
async function withGroup() {
  const fake = await fakeControllers()
  const { world, client, machine } = fake
  const members = nodes.map((node) => ({ node, address: `${node}:7410` }))
  await world.settle(client.join({ groups: [{ name: 'g1', members }] }, { timeoutMs }))
  const register = (id: string, more: object = {}) => {
    const addresses = [{ name: 'default', address: `${id}:7410` }]
    const request = { id, controller: false, nonce: nonce(4), addresses, pid: 7, protocolVersion, ...more }
    return world.settle(client.register(request, { timeoutMs }))
  }
  const beat = (id: string, more: object = {}) => world.settle(client.heartbeat({ id, nonce: nonce(4), ...more }, { timeoutMs }))
  for (const id of nodes) await register(id)
  const members1 = () => shown(machine(1).state.config?.groupByName('g1')?.members ?? [])
  return { ...fake, register, beat, members: members1, number: () => machine(1).state.configNumber }
}

describe('controller server: members', () => {
  it('has a replica added, taken in by the report of its group, and tells who changes meanwhile', async () => {
    const { world, client, members } = await withGroup()
    const request = { group: 'g1', add: [{ node: 'n4', address: 'n4:7410' }], author: 'me', requestId: 'mine' }
    const outcome = await world.settle(client.changeMembers(request, { timeoutMs }))
    expect(outcome).toEqual({ configNumber: 2, note: expect.stringContaining('caught up'), migrations: [] })
    expect(await world.settle(client.changeMembers(request, { timeoutMs }))).toMatchObject({ configNumber: 2 })
    const status = await world.settle(client.status({ timeoutMs }))
    expect(status.groups[0]?.changes?.map(({ node, replica, state }) => [node, replica, state])).toEqual([['n4', 4, 1]])
    const report = (voters: number[], learners: number[] = []) =>
      world.settle(client.reportMembers({ group: 'g1@1', index: 9, voters, learners }, { timeoutMs }))
    await expect(report([1, 2, 3], [4])).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
    expect(await report([1, 2, 3, 4])).toEqual({ configNumber: 3 })
    expect(await report([1, 2, 3, 4])).toEqual({ configNumber: 3 })
    expect(members()).toBe('n1#1 voter, n2#2 voter, n3#3 voter, n4#4 voter')
    await expect(report([])).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  it('replaces a dead node, and refuses what would lose the quorum by who is live', async () => {
    const { world, client, members, beat } = await withGroup()
    for (let i = 0; i < 10; i++) {
      for (const id of ['n1', 'n2']) await beat(id)
      await world.runFor(300)
    }
    const remove = client.changeMembers({ group: 'g1', remove: ['n1'] }, { timeoutMs })
    await expect(world.settle(remove)).rejects.toMatchObject({ message: expect.stringContaining('no majority then (not live: n3)') })
    await world.settle(client.replaceNode({ old: 'n3', new: { node: 'n4', address: 'n4:7410' } }, { timeoutMs }))
    expect(members()).toBe('n1#1 voter, n2#2 voter, n3#3 leaving, n4#4 joining')
    const again = await world.settle(client.replaceNode({ old: 'n3', new: { node: 'n5', address: '' } }, { timeoutMs }))
    expect(again.note).toBe('nothing to do: what n3 holds leaves already')
    const unknown = client.replaceNode({ old: 'n1', new: { node: 'n5', address: '' } }, { timeoutMs })
    await expect(world.settle(unknown)).rejects.toMatchObject({ message: expect.stringContaining('n5=HOST:PORT') })
  })

  it('tells a node by name which of its replicas are no members any more, at its start and while it runs', async () => {
    const { world, client, register, beat } = await withGroup()
    await world.settle(client.changeMembers({ group: 'g1', remove: ['n3'] }, { timeoutMs }))
    const hosted = { groups: [{ group: 'g1@1', term: 1, leader: 'n1', replica: 3 }] }
    expect((await beat('n3', hosted)).removedReplicas).toEqual([])
    await world.settle(client.reportMembers({ group: 'g1@1', index: 9, voters: [1, 2], learners: [] }, { timeoutMs }))
    expect((await beat('n3', hosted)).removedReplicas).toEqual([{ group: 'g1@1', replica: 3 }])
    expect((await beat('n1', { groups: [{ ...hosted.groups[0], replica: 1 }] })).removedReplicas).toEqual([])
    const replicas = [1, 2, 3, 4].map((replica) => ({ group: 'g1@1', replica }))
    expect((await register('n3', { replicas })).removedReplicas).toEqual([{ group: 'g1@1', replica: 3 }])
  })

  it('gives a number to nobody any more once it was removed, also not to the directory that had it', async () => {
    const { world, client } = await withGroup()
    const claim = () => world.settle(client.claimReplica({ node: 'n3', group: 'g1@1', replica: 3, nonce: nonce(4) }, { timeoutMs }))
    await claim()
    await world.settle(client.changeMembers({ group: 'g1', remove: ['n3'] }, { timeoutMs }))
    await claim()
    await world.settle(client.reportMembers({ group: 'g1@1', index: 9, voters: [1, 2], learners: [] }, { timeoutMs }))
    // The node has deleted what it had, and its config still says that replica 3 leaves: begun anew it would vote with an empty log.
    await expect(claim()).rejects.toMatchObject({ code: 'NOT_FOUND', definite: true })
  })

  it('has a lost replica replaced on its node, and one that is lost at once again not faster than every five seconds', async () => {
    const { world, clock, beat, members, number } = await withGroup()
    let replica = 2
    const times: number[] = []
    const begin = clock.monotonicMs()
    while (clock.monotonicMs() < begin + 14_000) {
      const before = number()
      for (const id of nodes) await beat(id, { lost: id === 'n2' ? [{ group: 'g1@1', replica, reason: 'wiped' }] : [] })
      await world.runFor(250)
      if (number() === before) continue
      times.push(clock.monotonicMs() - begin)
      replica = Number(/n2#(\d+) joining/.exec(members())?.[1])
    }
    expect(times.length).toBe(3)
    expect(times[0]).toBeLessThanOrEqual(2500)
    for (const [at, ms] of times.slice(1).entries()) expect(ms - (times[at] ?? 0)).toBeGreaterThanOrEqual(4700)
    expect(members()).toBe('n1#1 voter, n2#2 leaving, n3#3 voter, n2#4 leaving, n2#5 leaving, n2#6 joining')
  })

  it('replaces nothing by the word of another node, of another data directory, or once it is taken back', async () => {
    const { world, client, register, beat, number } = await withGroup()
    const lost = [{ group: 'g1@1', replica: 2, reason: 'wiped' }]
    for (let i = 0; i < 20; i++) {
      await beat('n1', { lost })
      await beat('n2', { lost: i % 4 === 0 ? lost : [] })
      await beat('n3', { lost: [{ group: 'g9@9', replica: 3 }] })
      await world.runFor(240)
    }
    await expect(beat('n2', { nonce: nonce(5), lost })).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
    const nameless = client.heartbeat({ id: 'n2', nonce: nonce(4), lost: [{ group: 'g1@1', replica: 0 }] }, { timeoutMs })
    await expect(world.settle(nameless)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await register('n2')
    await world.runFor(3000)
    expect(number()).toBe(1)
  })
})
