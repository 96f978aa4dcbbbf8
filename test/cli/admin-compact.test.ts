import { beforeEach, describe, expect, it } from 'vitest'
import { FakeWorld } from './fake-world.ts'

let world = new FakeWorld()
beforeEach(() => {
  world = new FakeWorld()
})

describe('admin compact', () => {
  it('asks the node and waits as long as a --wait does; tells what each replica took before and takes now', async () => {
    const outcome = await world.run('admin', 'compact', 'n1', '--json')
    expect(outcome.json()).toEqual({ id: 'n1', groups: { g1: { bytesBefore: 3 * 1024 * 1024, bytesAfter: 1024 } } })
    const [address, request, leftMs] = world.compactions[0] ?? []
    expect([address, request]).toEqual(['127.0.0.1:7410', { group: '' }])
    expect(leftMs).toBeGreaterThan(590_000)
    expect((await world.run('admin', 'compact', 'n1')).stdout.toString()).toBe('g1: 3.0 MiB before, 1.0 KiB now\n')
  })

  it('takes one group, and an address without asking the controllers', async () => {
    await world.run('admin', 'compact', '127.0.0.1:7999', '--group', 'g1', '--timeout', '5')
    expect(world.compactions[0]?.slice(0, 2)).toEqual(['127.0.0.1:7999', { group: 'g1' }])
    expect(world.fakeControllers.calls).toEqual([])
  })

  it('knows nodes only: a controller has nothing that it would do to', async () => {
    expect(await world.run('admin', 'compact', 'c1')).toMatchObject({ code: 1, stderr: "ostraka: no node is called 'c1'; known are n1\n" })
    expect((await world.run('admin', 'compact', 'n1', '--group', 'g 1')).code).toBe(2)
    expect((await world.run('admin', 'compact')).code).toBe(2)
    expect(world.compactions).toEqual([])
  })
})
