import { describe, expect, it } from 'vitest'
import { silentLogger } from '../../base/logger.ts'
import { SeededRandom } from '../../base/random.ts'
import { unaryRoute } from '../../base/transport.ts'
import { emptyConfig, encodeConfig } from '../../proto/config.ts'
import { ControllerClient } from '../../proto/controller-client.ts'
import { encodeError } from '../../proto/error-codec.ts'
import { OstrakaError } from '../../proto/errors.ts'
import { pb } from '../../proto/messages.ts'
import { controllerMethods } from '../../proto/methods.ts'
import { memoryWorld } from './memory-transport.ts'

type Answer = () => OstrakaError | undefined

async function cluster(answers: Record<string, Answer>, addresses = Object.keys(answers)) {
  const { world, clock, network } = memoryWorld(1)
  const joins: pb.v1.JoinRequest[] = []
  for (const [address, answer] of Object.entries(answers)) {
    await network.listen(
      [{ name: 'default', address }],
      [
        unaryRoute(controllerMethods.query, async () => {
          const error = answer()
          return new pb.v1.QueryReply(error ? { error: encodeError(error) } : { config: encodeConfig(emptyConfig(16)) })
        }),
        unaryRoute(controllerMethods.join, async (request) => {
          joins.push(request)
          const error = answer()
          return new pb.v1.ChangeReply(error ? { error: encodeError(error) } : { configNumber: 4, note: 'so be it', migrations: [2, 3] })
        }),
      ],
    )
  }
  const client = new ControllerClient({ transport: network, clock, random: new SeededRandom(1), logger: silentLogger, addresses })
  return { world, network, client, joins }
}

const notLeader = (leaderHint: string) => () => new OstrakaError('NOT_LEADER', 'not leading', true, { leaderHint })
const serves = () => undefined

describe('controller client', () => {
  it('follows a hint to the leader, also one that it was not told of, and stays there', async () => {
    const { world, network, client } = await cluster({ 'a:1': notLeader('c:1'), 'b:1': notLeader('c:1'), 'c:1': serves }, ['a:1', 'b:1'])
    const { config } = await world.settle(client.query(0, { timeoutMs: 1000 }))
    expect(config.shardCount).toBe(16)
    expect(network.calls).toEqual(['a:1 Query', 'c:1 Query'])
    await world.settle(client.query(0, { timeoutMs: 1000 }))
    expect(network.calls.slice(2)).toEqual(['c:1 Query'])
  })

  it('goes on to the next where one hangs or is gone', async () => {
    const { world, network, client } = await cluster({ 'a:1': serves, 'b:1': serves, 'c:1': serves })
    network.drop('a:1')
    network.hanging.add('b:1')
    await world.settle(client.query(0, { timeoutMs: 3000 }))
    expect(network.calls).toEqual(['a:1 Query', 'b:1 Query', 'c:1 Query'])
    expect(world.nowMs).toBeLessThan(1500)
  })

  it('waits out an election within the timeout', async () => {
    let polls = 0
    const electing: Answer = () => (++polls > 12 ? undefined : notLeader('')())
    const { world, client } = await cluster({ 'a:1': electing, 'b:1': electing })
    await world.settle(client.query(0, { timeoutMs: 10_000 }))
    expect(polls).toBe(13)
  })

  it('is not kept turning by two controllers that name each other', async () => {
    const { world, network, client } = await cluster({ 'a:1': notLeader('b:1'), 'b:1': notLeader('a:1') })
    await expect(world.settle(client.query(0, { timeoutMs: 2000 }))).rejects.toMatchObject({ code: 'UNAVAILABLE', definite: true })
    expect(network.calls.length).toBeLessThan(60)
  })

  it('ends with UNAVAILABLE after the timeout and names what it tried', async () => {
    const { world, client } = await cluster({}, ['a:1', 'b:2'])
    const call = client.status({ timeoutMs: 700 })
    await expect(world.settle(call)).rejects.toMatchObject({ code: 'UNAVAILABLE', message: expect.stringContaining('a:1, b:2') })
    expect(world.nowMs).toBeGreaterThanOrEqual(700)
    expect(world.nowMs).toBeLessThan(800)
  })

  it('throws a typed refusal as it is, at once', async () => {
    const { world, network, client } = await cluster({ 'a:1': () => new OstrakaError('NOT_FOUND', 'no config 9', true), 'b:1': serves })
    await expect(world.settle(client.query(9, { timeoutMs: 1000 }))).rejects.toMatchObject({ code: 'NOT_FOUND', message: 'no config 9' })
    expect(network.calls).toEqual(['a:1 Query'])
  })

  it('repeats a join under one request id, and tells the outcome as open if no answer comes', async () => {
    let lost = 0
    const losing: Answer = () => (lost++ < 2 ? new OstrakaError('UNKNOWN', 'lost with leadership', false) : undefined)
    const { world, client, joins, network } = await cluster({ 'a:1': losing })
    expect(await world.settle(client.join({ groups: [] }, { timeoutMs: 1000 }))).toEqual({
      configNumber: 4,
      note: 'so be it',
      migrations: [2, 3],
    })
    expect(joins.length).toBe(3)
    expect(new Set(joins.map((join) => join.requestId)).size).toBe(1)
    expect(joins[0]?.requestId.length).toBe(32)
    network.hanging.add('a:1')
    const call = client.join({ groups: [] }, { timeoutMs: 1000 })
    await expect(world.settle(call)).rejects.toMatchObject({ code: 'UNAVAILABLE', definite: false })
  })

  it('ends at once when the caller gives up or the client is closed', async () => {
    const { world, network, client } = await cluster({ 'a:1': serves })
    network.hanging.add('a:1')
    const controller = new AbortController()
    const first = client.query(0, { timeoutMs: 60_000, signal: controller.signal })
    const second = client.query(0, { timeoutMs: 60_000 })
    controller.abort()
    await expect(world.settle(first)).rejects.toMatchObject({ code: 'CANCELLED' })
    client.close()
    await expect(world.settle(second)).rejects.toMatchObject({ code: 'CANCELLED' })
    await expect(world.settle(client.query(0, { timeoutMs: 1000 }))).rejects.toMatchObject({ code: 'CANCELLED' })
    expect(world.nowMs).toBeLessThan(100)
  })
})
