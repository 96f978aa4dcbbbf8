import { beforeEach, describe, expect, it } from 'vitest'
import { OstrakaError } from '../../proto/errors.ts'
import { FakeWorld } from './fake-world.ts'

let world = new FakeWorld()
beforeEach(() => {
  world = new FakeWorld()
})

describe('admin transfer-leader', () => {
  it('asks the node that leads the group, and says who leads now', async () => {
    expect((await world.run('admin', 'transfer-leader', 'g1', 'n2', '--json')).json()).toEqual({ group: 'g1', leader: 'n2' })
    expect(world.transfers.map((call) => call.slice(0, 2))).toEqual([['127.0.0.1:7410', { group: 'g1', node: 'n2' }]])
    expect((await world.run('admin', 'transfer-leader', 'g1', 'n2')).stdout.toString()).toBe('n2 leads g1\n')
  })

  it("takes 'controller' for the controllers' own group", async () => {
    expect((await world.run('admin', 'transfer-leader', 'controller', 'c2')).code).toBe(0)
    expect(world.transfers.map((call) => call.slice(0, 2))).toEqual([['127.0.0.1:7400', { group: 'controller', node: 'c2' }]])
  })

  it('takes the address of a node for its id, and names those known where nobody listens there', async () => {
    const outcome = await world.run('admin', 'transfer-leader', 'g1', '127.0.0.1:7410', '--json')
    expect(outcome.json()).toEqual({ group: 'g1', leader: 'n1' })
    expect(world.transfers[0]?.[1]).toEqual({ group: 'g1', node: 'n1' })
    const unknown = await world.run('admin', 'transfer-leader', 'g1', '127.0.0.1:7400')
    expect(unknown).toMatchObject({ code: 1, stderr: 'ostraka: nobody listens at 127.0.0.1:7400; known are 127.0.0.1:7410\n' })
  })

  it('asks whom the asked one names, where it does not lead', async () => {
    world.transferRefusals = [new OstrakaError('NOT_LEADER', 'n1 leads', true, { leaderHint: 'c1' })]
    expect((await world.run('admin', 'transfer-leader', 'g1', 'n2')).code).toBe(0)
    expect(world.transfers.map(([address]) => address)).toEqual(['127.0.0.1:7410', '127.0.0.1:7400'])
  })

  it('tells a refusal in one line', async () => {
    world.transferRefusals = [new OstrakaError('FAILED_PRECONDITION', 'n2 did not take over g1: n1 leads; is n2 up?', false)]
    expect(await world.run('admin', 'transfer-leader', 'g1', 'n2')).toMatchObject({
      code: 1,
      stderr: 'ostraka: n2 did not take over g1: n1 leads; is n2 up?\n',
    })
  })

  it('gives up where nobody leads until the timeout', async () => {
    world.transferRefusals = Array.from({ length: 50 }, () => new OstrakaError('NOT_LEADER', 'no leader is known here', true))
    expect(await world.run('admin', 'transfer-leader', 'g1', 'n2', '--timeout', '0.2')).toMatchObject({
      code: 69,
      stderr: 'ostraka: no leader is known here\n',
    })
  })

  it('names the groups where there is none of that name; a malformed name is wrong usage', async () => {
    const unknown = await world.run('admin', 'transfer-leader', 'g9', 'n2')
    expect(unknown).toMatchObject({ code: 1, stderr: "ostraka: there is no group 'g9'; known are g1, controller\n" })
    expect((await world.run('admin', 'transfer-leader', 'g 1', 'n2')).code).toBe(2)
    expect((await world.run('admin', 'transfer-leader', 'g1')).code).toBe(2)
  })
})
