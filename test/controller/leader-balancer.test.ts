import { describe, expect, it } from 'vitest'
import { protocolVersion } from '../../proto/limits.ts'
import { nonce } from './entries.ts'
import { fakeControllers } from './fake-controllers.ts'

const timeoutMs = 2000
const nodes = ['n1', 'n2', 'n3']

/** Three nodes with replicas of four groups, each of which sends its heartbeats and does what it is told in them. */
async function cluster(options: { obeys?: boolean } = {}) {
  const fake = await fakeControllers()
  const { world, client, clock } = fake
  const members = nodes.map((node) => ({ node, address: `${node}:7410` }))
  const groups = [1, 2, 3, 4].map((at) => ({ name: `g${at}`, members }))
  await world.settle(client.join({ groups }, { timeoutMs }))
  const register = async (id: string) => {
    const addresses = [{ name: 'default', address: `${id}:7410` }]
    await world.settle(client.register({ id, controller: false, nonce: nonce(4), addresses, pid: 7, protocolVersion }, { timeoutMs }))
  }
  for (const id of nodes) await register(id)
  const leaders = new Map([1, 2, 3, 4].map((at) => [`g${at}@${at}`, { leader: 'n1', term: 1 }]))
  const live = new Set(nodes)
  const transfers: string[] = []
  const begin = clock.monotonicMs()
  const run = async (forMs: number) => {
    const end = clock.monotonicMs() + forMs
    while (clock.monotonicMs() < end) {
      for (const id of live) {
        const hosted = [...leaders].map(([group, { leader, term }]) => ({ group, term, leader }))
        const beat = client.heartbeat({ id, nonce: nonce(4), groups: hosted }, { timeoutMs })
        for (const { group, node } of (await world.settle(beat)).transfers) {
          transfers.push(`${Math.floor((clock.monotonicMs() - begin) / 1000)} s: ${group} ${id}→${node}`)
          if (options.obeys !== false) leaders.set(group, { leader: node, term: (leaders.get(group)?.term ?? 0) + 1 })
        }
      }
      await world.runFor(450)
    }
  }
  const loads = () => nodes.map((node) => [...leaders.values()].filter(({ leader }) => leader === node).length)
  return { ...fake, run, leaders, live, transfers, loads, register }
}

describe('the balancing of leaders', () => {
  it('waits until all is quiet, moves no more than it has to, and then has nothing to say', async () => {
    const { run, transfers, loads } = await cluster()
    await run(9000)
    expect(transfers).toEqual([])
    await run(4000)
    expect(loads().sort()).toEqual([1, 1, 2])
    expect(transfers.length).toBe(2)
    await run(60_000)
    expect(transfers.length).toBe(2)
  })

  it('gives a leadership that fled from a node back to it, once the node has been there for a while', async () => {
    const { run, transfers, leaders, live, register } = await cluster()
    await run(50_000)
    const mine = [...leaders].find(([, { leader }]) => leader === 'n3')?.[0] ?? ''
    transfers.length = 0
    live.delete('n3')
    leaders.set(mine, { leader: 'n2', term: 9 })
    await run(15_000)
    expect(transfers).toEqual([])
    live.add('n3')
    await register('n3')
    await run(8000)
    expect(transfers).toEqual([])
    await run(4000)
    expect(transfers.map((text) => text.split(': ')[1])).toEqual([`${mine} n2→n3`])
  })

  it('asks for the same transfer at most every 30 s where nobody follows', async () => {
    const { run, transfers } = await cluster({ obeys: false })
    await run(100_000)
    const times = transfers.filter((text) => text.includes('g1@1')).map((text) => Number.parseInt(text, 10))
    expect(times.length).toBeGreaterThanOrEqual(2)
    for (const [at, seconds] of times.slice(1).entries()) expect(seconds - (times[at] ?? 0)).toBeGreaterThanOrEqual(29)
  })

  it('moves nothing of a group whose members change, and nothing while a leader is not known', async () => {
    const { world, client, run, transfers, leaders } = await cluster()
    for (const group of ['g1', 'g2', 'g3'])
      await world.settle(client.changeMembers({ group, add: [{ node: 'n4', address: 'n4:1' }] }, { timeoutMs }))
    leaders.set('g4@4', { leader: '', term: 2 })
    await run(20_000)
    expect(transfers).toEqual([])
    leaders.set('g4@4', { leader: 'n1', term: 2 })
    await run(12_000)
    expect(transfers.length).toBe(1)
    expect(transfers[0]).toContain('g4@4')
  })

  it('begins anew with a new leader of the controllers', async () => {
    const { group: fake, run, transfers } = await cluster()
    await run(8000)
    fake.elect(2)
    await run(8000)
    expect(transfers).toEqual([])
    await run(5000)
    expect(transfers.length).toBe(2)
  })
})
