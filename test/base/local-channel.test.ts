import { describe, expect, it } from 'vitest'
import { LocalChannel } from '../../base/local-channel.ts'
import { NodeClock } from '../../base/node-clock.ts'
import { type Codec, type Method, unaryRoute } from '../../base/transport.ts'

const patient = { timeoutMs: 10_000 }

function never<T>(): Codec<T> {
  const fail = () => {
    throw new Error('nothing is encoded within a process')
  }
  return { encode: fail, decode: fail }
}

const ask: Method<readonly number[], readonly number[]> = {
  path: '/test.v1.Ask/Ask',
  kind: 'unary',
  request: never(),
  response: never(),
}

function setUp(handle: (request: readonly number[]) => Promise<readonly number[]>): LocalChannel {
  return new LocalChannel('n1:1', new NodeClock(), [unaryRoute(ask, handle)])
}

describe('a channel to routes of the same process', () => {
  it("hands over the caller's request and the handler's reply as they are", async () => {
    const [request, reply] = [[1], [2]]
    const channel = setUp(async (given) => {
      expect(given).toBe(request)
      return reply
    })
    expect(await channel.unary(ask, request, patient)).toBe(reply)
  })

  it('rejects with what the handler threw, whether at once or later', async () => {
    const bug = new RangeError('a bug')
    const later = setUp(() => Promise.reject(bug))
    await expect(later.unary(ask, [], patient)).rejects.toBe(bug)
    const atOnce = setUp(() => {
      throw bug
    })
    await expect(atOnce.unary(ask, [], patient)).rejects.toBe(bug)
  })

  it('rejects with DEADLINE_EXCEEDED, CANCELLED by a signal and by close, UNIMPLEMENTED', async () => {
    const channel = setUp(() => new Promise(() => {}))
    await expect(channel.unary(ask, [], { timeoutMs: 10 })).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' })
    const giving = new AbortController()
    const given = channel.unary(ask, [], { ...patient, signal: giving.signal })
    giving.abort()
    await expect(given).rejects.toMatchObject({ code: 'CANCELLED' })
    await expect(channel.unary(ask, [], { ...patient, signal: giving.signal })).rejects.toMatchObject({ code: 'CANCELLED' })
    await expect(channel.unary({ ...ask, path: '/test.v1.Ask/Other' }, [], patient)).rejects.toMatchObject({ code: 'UNIMPLEMENTED' })
    const open = channel.unary(ask, [], patient)
    channel.close()
    await expect(open).rejects.toMatchObject({ code: 'CANCELLED' })
    await expect(channel.unary(ask, [], patient)).rejects.toMatchObject({ code: 'CANCELLED' })
  })
})
