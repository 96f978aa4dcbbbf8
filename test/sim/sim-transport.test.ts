import { describe, expect, it } from 'vitest'
import { type Method, type Stream, streamRoute, type TransportError, unaryRoute } from '../../base/transport.ts'
import { type LinkConditions, type NetworkOptions, SimNetwork } from './sim-network.ts'
import { SimProcess } from './sim-process.ts'
import { World } from './world.ts'

const text = { encode: (message: string) => Buffer.from(message), decode: (bytes: Uint8Array) => Buffer.from(bytes).toString() }
const chat: Method<string, string> = { path: '/test/Chat', kind: 'stream', request: text, response: text }
const gossip: Method<string, string> = { ...chat, path: '/test/Gossip', lossy: true }
const echo: Method<string, string> = { path: '/test/Echo', kind: 'unary', request: text, response: text }

interface Log {
  readonly got: string[]
  readonly ends: (string | undefined)[]
  drains: number
}

function newLog(): Log {
  return { got: [], ends: [], drains: 0 }
}

function handlers(log: Log) {
  return {
    onMessage: (message: string) => void log.got.push(message),
    onDrain: () => void log.drains++,
    onEnd: (error: TransportError | undefined) => void log.ends.push(error?.code),
  }
}

/** A client 'c' and a server 's' that listens at 's:1'. */
async function makePair(seed: number, options: NetworkOptions = {}) {
  const world = new World({ seed })
  const network = new SimNetwork(world, options)
  const client = new SimProcess(world, { name: 'c', network })
  const server = new SimProcess(world, { name: 's', network })
  const log = newLog()
  const streams: Stream<string>[] = []
  const accept = (stream: Stream<string>) => {
    streams.push(stream)
    return handlers(log)
  }
  let calls = 0
  const serve = (process: SimProcess) =>
    process.transport.listen(
      [{ name: 'default', address: 's:1' }],
      [
        streamRoute(chat, accept),
        streamRoute(gossip, accept),
        unaryRoute(echo, async (request) => {
          calls++
          return `${request}!`
        }),
      ],
    )
  await serve(server)
  const channel = client.transport.connect('s:1')
  return { world, network, client, server, channel, log, streams, serve, calls: () => calls }
}

const numbers = (count: number) => Array.from({ length: count }, (_, i) => String(i))

describe('the simulated network', () => {
  it.each([1, 2, 3])('keeps the order of a stream whatever the delays, seed %i', async (seed) => {
    const { world, network, channel, log } = await makePair(seed)
    const harsh: LinkConditions = {
      leastDelayMs: 0,
      mostDelayMs: 500,
      lossProbability: 0.5,
      duplicateProbability: 0.5,
      reorderProbability: 0.5,
      reorderMs: 100,
      bytesPerMs: 10,
    }
    network.setAllConditions(harsh)
    const stream = channel.stream(chat, handlers(newLog()))
    for (const message of numbers(200)) {
      stream.write(message)
      await world.runFor(1)
    }
    await world.runFor(2000)
    expect(log.got).toEqual(numbers(200))
  })

  it('loses, doubles and reorders what the server sends on a lossy method, and nothing of what the client sends, seed 1', async () => {
    const { world, network, channel, log, streams } = await makePair(1)
    network.setAllConditions({ lossProbability: 0.2, duplicateProbability: 0.2, reorderProbability: 0.2 })
    const mine = newLog()
    const stream = channel.stream(gossip, handlers(mine))
    await world.runFor(10)
    for (const message of numbers(500)) {
      streams[0]?.write(message)
      stream.write(message)
      await world.runFor(0.5)
    }
    await world.runFor(1000)
    expect(log.got).toEqual(numbers(500))
    const distinct = new Set(mine.got)
    expect(distinct.size).toBeGreaterThan(350)
    expect(distinct.size).toBeLessThan(450)
    expect(mine.got.length).toBeGreaterThan(distinct.size + 30)
    expect([...distinct]).not.toEqual([...distinct].sort((a, b) => Number(a) - Number(b)))
    expect([mine.ends, log.ends]).toEqual([[], []])
  })

  it('holds messages back while a direction is cut, and delivers them when it is mended in time', async () => {
    const { world, network, channel, log, streams } = await makePair(1)
    const mine = newLog()
    const stream = channel.stream(chat, handlers(mine))
    stream.write('before')
    await world.runFor(10)
    network.cut('c', 's')
    stream.write('during')
    streams[0]?.write('the other way')
    await world.runFor(500)
    expect([log.got, mine.got]).toEqual([['before'], ['the other way']])
    network.mend('c', 's')
    stream.write('after')
    await world.runFor(10)
    expect(log.got).toEqual(['before', 'during', 'after'])
  })

  it('breaks a stream that is cut for long, on both sides, with UNAVAILABLE', async () => {
    const { world, network, channel, log } = await makePair(1)
    const mine = newLog()
    const stream = channel.stream(chat, handlers(mine))
    await world.runFor(10)
    network.cutBoth('c', 's')
    stream.write('lost')
    await world.runFor(6000)
    expect([mine.ends, log.ends, log.got]).toEqual([['UNAVAILABLE'], ['UNAVAILABLE'], []])
    expect(stream.closed).toBe(true)
    expect(stream.write('late')).toBe(false)
    await expect(world.settle(channel.unary(echo, 'x', { timeoutMs: 300 }))).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' })
    await expect(world.settle(channel.unary(echo, 'x', { timeoutMs: 30_000 }))).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    network.heal()
    expect(await world.settle(channel.unary(echo, 'x', { timeoutMs: 300 }))).toBe('x!')
  })

  it('refuses at once where it is told to', async () => {
    const { world, network, channel, log } = await makePair(1)
    const mine = newLog()
    channel.stream(chat, handlers(mine))
    await world.runFor(10)
    network.cut('c', 's', 'refuse')
    await world.runFor(10)
    expect([mine.ends, log.ends]).toEqual([['UNAVAILABLE'], ['UNAVAILABLE']])
    const start = world.nowMs
    await expect(world.settle(channel.unary(echo, 'x', { timeoutMs: 300 }))).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    expect(world.nowMs - start).toBeLessThan(10)
  })

  it('delivers nothing over a clogged link until the clog ends, then all in order', async () => {
    const { world, network, channel, log } = await makePair(1)
    const stream = channel.stream(chat, handlers(newLog()))
    stream.write('0')
    await world.runFor(10)
    network.clog('c', 's', 3000)
    stream.write('1')
    stream.write('2')
    await world.runFor(2900)
    expect(log.got).toEqual(['0'])
    await world.runFor(200)
    expect(log.got).toEqual(['0', '1', '2'])
  })

  it('says no above the window and calls onDrain when there is room', async () => {
    const { world, channel, log } = await makePair(1, { windowBytes: 1000 })
    const mine = newLog()
    const stream = channel.stream(chat, handlers(mine))
    expect(stream.write('x'.repeat(5000))).toBe(false)
    await world.runFor(10)
    expect([mine.drains, log.got.length]).toEqual([1, 1])
    expect(stream.write('y')).toBe(true)
  })

  it('tells the other side when a process is killed; what it had written may still arrive, in order', async () => {
    const arrived = new Set<string>()
    for (let seed = 1; seed <= 30; seed++) {
      const { world, channel, log, client, streams, calls } = await makePair(seed)
      const mine = newLog()
      const stream = channel.stream(chat, handlers(mine))
      await world.runFor(10)
      expect(streams.length).toBe(1)
      for (const message of numbers(3)) stream.write(message)
      client.kill()
      await world.runFor(100)
      expect(log.ends, `seed ${seed}`).toEqual(['UNAVAILABLE'])
      expect(log.got, `seed ${seed}`).toEqual(numbers(log.got.length))
      expect([mine.ends, calls()]).toEqual([[], 0])
      arrived.add(String(log.got.length))
    }
    expect(arrived.has('0') && arrived.has('3')).toBe(true)
  })

  it('leaves the other side in the dark after a power loss, until the machine is up again', async () => {
    const { world, channel, server, serve } = await makePair(1)
    const mine = newLog()
    const stream = channel.stream(chat, handlers(mine))
    await world.runFor(10)
    server.powerLoss()
    await world.runFor(500)
    expect(mine.ends).toEqual([])
    await serve(server.restart())
    stream.write('are you there?')
    await world.runFor(10)
    expect(mine.ends).toEqual(['UNAVAILABLE'])
    expect(await world.settle(channel.unary(echo, 'x', { timeoutMs: 300 }))).toBe('x!')
  })

  it('piles messages up at a paused process, and runs them in order afterwards', async () => {
    const { world, channel, log, server } = await makePair(1)
    const stream = channel.stream(chat, handlers(newLog()))
    await world.runFor(10)
    server.pause(1000)
    for (const message of numbers(5)) stream.write(message)
    await world.runFor(999)
    expect(log.got).toEqual([])
    stream.write('5')
    await world.runFor(10)
    expect(log.got).toEqual(numbers(6))
  })

  it('answers UNAVAILABLE where nobody listens, and refuses an address that is taken', async () => {
    const { world, client, server, serve } = await makePair(1)
    await expect(world.settle(client.transport.connect('nobody:1').unary(echo, 'x', { timeoutMs: 100 }))).rejects.toMatchObject({
      code: 'UNAVAILABLE',
    })
    await expect(serve(client)).rejects.toMatchObject({ code: 'EADDRINUSE' })
    server.kill()
    await serve(server.restart())
  })

  it('loses the answer of a lossy call, not the call', async () => {
    const lossy = { ...echo, path: '/test/LossyEcho', lossy: true }
    const { world, network, client } = await makePair(1)
    network.setAllConditions({ lossProbability: 1 })
    const other = new SimProcess(world, { name: 'o', network })
    let calls = 0
    await other.transport.listen([{ name: 'default', address: 'o:1' }], [unaryRoute(lossy, async () => String(++calls))])
    await expect(world.settle(client.transport.connect('o:1').unary(lossy, 'x', { timeoutMs: 1000 }))).rejects.toMatchObject({
      name: 'TransportError',
    })
    expect(calls).toBe(1)
  })

  it('partitions: halves, one, a bridge, one way', async () => {
    const { network } = await makePair(1)
    const open = (from: string, to: string) => network.link(from, to).cut === undefined
    const names = ['c', 's']
    network.partition([
      ['a', 'b'],
      ['d', 'e'],
    ])
    expect([open('a', 'b'), open('a', 'd'), open('e', 'b'), open('d', 'e')]).toEqual([true, false, false, true])
    network.heal()
    network.isolate('c')
    expect([open('c', 's'), open('s', 'c'), names]).toEqual([false, false, network.names])
    network.heal()
    network.bridge(['a', 'm'], ['m', 'd'], 'm')
    expect([open('a', 'd'), open('a', 'm'), open('m', 'd')]).toEqual([false, true, true])
    network.heal()
    network.oneWay(['a'], ['b'])
    expect([open('a', 'b'), open('b', 'a')]).toEqual([false, true])
  })

  it('forgets connections that have ended', async () => {
    const { world, network, channel, client, server } = await makePair(1)
    for (let i = 0; i < 20; i++) await world.settle(channel.unary(echo, 'x', { timeoutMs: 300 }))
    channel.stream(chat, handlers(newLog())).end()
    await world.runFor(100)
    expect(network.openConnections).toBe(0)
    channel.stream(chat, handlers(newLog()))
    await world.runFor(100)
    client.kill()
    server.kill()
    await world.runFor(100)
    expect(network.openConnections).toBe(0)
  })

  it('has the same trace for the same seed under all faults, and another for another', async () => {
    const trace = async (seed: number) => {
      const { world, network, channel, client, server, streams } = await makePair(seed)
      network.setAllConditions({ lossProbability: 0.1, duplicateProbability: 0.1, reorderProbability: 0.1 })
      channel.stream(gossip, handlers(newLog()))
      await world.runFor(10)
      for (const message of numbers(100)) {
        streams[0]?.write(message)
        if (message === '30') network.cut('s', 'c')
        if (message === '40') network.heal()
        if (message === '60') client.pause(20)
        if (message === '80') server.kill()
        await world.runFor(client.random.next() * 2)
      }
      return world.traceHash()
    }
    expect(await trace(1)).toBe(await trace(1))
    expect(new Set([await trace(1), await trace(2), await trace(3)]).size).toBe(3)
  })
})
