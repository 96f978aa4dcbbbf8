import { afterEach, describe, expect, it } from 'vitest'
import {
  type CallContext,
  type Codec,
  type Method,
  type Stream,
  type StreamHandlers,
  streamRoute,
  type Transport,
  TransportError,
  unaryRoute,
} from '../../base/transport.ts'

/** What every Transport promises. Run over each implementation. */

const text: Codec<string> = {
  encode: (message) => Buffer.from(message),
  decode(bytes) {
    const message = Buffer.from(bytes).toString()
    if (message.startsWith('!')) throw new Error('no such message')
    return message
  },
}

export const echo: Method<string, string> = { path: '/test.v1.Echo/Echo', kind: 'unary', request: text, response: text }
export const chat: Method<string, string> = { path: '/test.v1.Echo/Chat', kind: 'stream', request: text, response: text }

const patient = { timeoutMs: 10_000 }

export interface Heard {
  readonly messages: string[]
  readonly ends: (TransportError | undefined)[]
  drains: number
}

export interface Collector {
  readonly heard: Heard
  readonly ended: Promise<void>
  readonly handlers: Required<StreamHandlers<string>>
}

/** Handlers that collect, and a promise of the end. */
export function collector(): Collector {
  const heard: Heard = { messages: [], ends: [], drains: 0 }
  let resolve: () => void = () => {}
  const ended = new Promise<void>((done) => {
    resolve = done
  })
  return {
    heard,
    ended,
    handlers: {
      onMessage: (message) => void heard.messages.push(message),
      onDrain: () => void heard.drains++,
      onEnd: (error) => {
        heard.ends.push(error)
        resolve()
      },
    },
  }
}

export interface Bench {
  readonly transport: Transport
  /** An address to listen on, of which there may be several. */
  readonly listenAddress: string
  /** An address where nobody listens. */
  readonly deadAddress: () => Promise<string>
}

export function transportContract(name: string, makeBench: () => Bench): void {
  const cleanups: (() => Promise<void> | void)[] = []

  async function serve(bench: Bench, names: string[] = ['default']) {
    const contexts: CallContext[] = []
    let release: () => void = () => {}
    const gate = new Promise<void>((resolve) => {
      release = resolve
    })
    const server = { contexts, streams: [] as Stream<string>[], collectors: [] as Collector[], release }
    const routes = [
      unaryRoute(echo, async (request, context) => {
        contexts.push(context)
        if (request === 'refuse') throw new TransportError('FAILED_PRECONDITION', 'not now')
        if (request === 'crash') throw new Error('secret thing\n    at somewhere (file.ts:1:2)')
        if (request === 'wait') await gate
        if (request === 'garbage') return '!'
        return `${request}!`
      }),
      streamRoute(chat, (stream, context) => {
        contexts.push(context)
        const own = collector()
        server.streams.push(stream)
        server.collectors.push(own)
        stream.write('hello')
        return {
          onEnd: own.handlers.onEnd,
          onDrain: own.handlers.onDrain,
          onMessage(message) {
            own.handlers.onMessage(message)
            if (message === 'refuse') throw new TransportError('NOT_FOUND', 'no such thing')
            if (message === 'crash') throw new Error('secret thing\n    at somewhere')
            if (message === 'end') {
              stream.write('last words')
              stream.end()
            } else stream.write(`${message}!`)
          },
        }
      }),
    ]
    const listener = await bench.transport.listen(
      names.map((listenerName) => ({ name: listenerName, address: bench.listenAddress })),
      routes,
    )
    cleanups.push(() => listener.close(0))
    return { ...server, listener }
  }

  function dial(bench: Bench, address: string | undefined) {
    const channel = bench.transport.connect(address ?? '')
    cleanups.push(() => channel.close())
    return channel
  }

  describe(`transport contract: ${name}`, () => {
    afterEach(async () => {
      for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
    })

    it('answers unary calls and tells the handler by which listener the caller came', async () => {
      const bench = makeBench()
      const server = await serve(bench, ['inside', 'outside'])
      const [inside, outside] = server.listener.addresses
      expect(inside?.name).toBe('inside')
      expect(inside?.address).not.toBe(outside?.address)
      expect(await dial(bench, outside?.address).unary(echo, 'a', patient)).toBe('a!')
      expect(await dial(bench, inside?.address).unary(echo, 'b', patient)).toBe('b!')
      expect(server.contexts.map((context) => context.listener)).toEqual(['outside', 'inside'])
    })

    it('carries a thrown TransportError with its code, and anything else as INTERNAL in one line', async () => {
      const bench = makeBench()
      const server = await serve(bench)
      const channel = dial(bench, server.listener.addresses[0]?.address)
      await expect(channel.unary(echo, 'refuse', patient)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION', message: 'not now' })
      const crash = await channel.unary(echo, 'crash', patient).catch((error: unknown) => error)
      expect(crash).toMatchObject({ name: 'TransportError', code: 'INTERNAL' })
      expect((crash as Error).message).not.toContain('somewhere')
      expect(await channel.unary(echo, 'still alive', patient)).toBe('still alive!')
    })

    it('answers what it cannot decode with INVALID_ARGUMENT, and rejects an answer that it cannot decode with INTERNAL', async () => {
      const bench = makeBench()
      const server = await serve(bench)
      const channel = dial(bench, server.listener.addresses[0]?.address)
      await expect(channel.unary(echo, '!', patient)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
      await expect(channel.unary(echo, 'garbage', patient)).rejects.toMatchObject({ code: 'INTERNAL' })
      const mine = collector()
      channel.stream(chat, mine.handlers).write('!')
      await mine.ended
      expect(mine.heard.ends).toMatchObject([{ code: 'INVALID_ARGUMENT' }])
    })

    it('rejects with DEADLINE_EXCEEDED, CANCELLED by a signal, CANCELLED by close, UNIMPLEMENTED and UNAVAILABLE', async () => {
      const bench = makeBench()
      const server = await serve(bench)
      const address = server.listener.addresses[0]?.address
      const channel = dial(bench, address)
      await expect(channel.unary(echo, 'wait', { timeoutMs: 50 })).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' })
      const abort = new AbortController()
      const aborted = channel.unary(echo, 'wait', { ...patient, signal: abort.signal })
      abort.abort()
      await expect(aborted).rejects.toMatchObject({ code: 'CANCELLED' })
      await expect(channel.unary(echo, 'a', { ...patient, signal: abort.signal })).rejects.toMatchObject({ code: 'CANCELLED' })
      await expect(channel.unary({ ...echo, path: '/test.v1.Echo/Nothing' }, 'a', patient)).rejects.toMatchObject({ code: 'UNIMPLEMENTED' })
      await expect(dial(bench, await bench.deadAddress()).unary(echo, 'a', patient)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
      const closing = dial(bench, address)
      const pending = closing.unary(echo, 'wait', patient)
      closing.close()
      await expect(pending).rejects.toMatchObject({ code: 'CANCELLED' })
      await expect(closing.unary(echo, 'a', patient)).rejects.toMatchObject({ code: 'CANCELLED' })
      server.release()
    })

    it('keeps the order of a stream both ways, and both ends hear once that the client ended it', async () => {
      const bench = makeBench()
      const server = await serve(bench)
      const mine = collector()
      const stream = dial(bench, server.listener.addresses[0]?.address).stream(chat, mine.handlers)
      const sent = Array.from({ length: 500 }, (_, i) => `m${i}`)
      for (const message of sent) stream.write(message)
      const all = ['hello', ...sent.map((message) => `${message}!`)]
      await expect.poll(() => mine.heard.messages.length).toBe(all.length)
      expect(mine.heard.messages).toEqual(all)
      stream.write('last')
      stream.end()
      stream.end()
      expect(stream.closed).toBe(true)
      expect(stream.write('late')).toBe(false)
      await mine.ended
      await server.collectors[0]?.ended
      expect(mine.heard.ends).toEqual([undefined])
      expect(server.collectors[0]?.heard).toMatchObject({ messages: [...sent, 'last'], ends: [undefined] })
      expect(server.streams[0]?.closed).toBe(true)
    })

    it('delivers what the server wrote before it ended the stream, then one end on both sides', async () => {
      const bench = makeBench()
      const server = await serve(bench)
      const mine = collector()
      const stream = dial(bench, server.listener.addresses[0]?.address).stream(chat, mine.handlers)
      stream.write('end')
      await mine.ended
      await server.collectors[0]?.ended
      expect(mine.heard).toMatchObject({ messages: ['hello', 'last words'], ends: [undefined] })
      expect(server.collectors[0]?.heard.ends).toEqual([undefined])
      expect(stream.closed).toBe(true)
    })

    it('ends a stream with the code that its handler threw', async () => {
      const bench = makeBench()
      const server = await serve(bench)
      const channel = dial(bench, server.listener.addresses[0]?.address)
      for (const [message, code] of [
        ['refuse', 'NOT_FOUND'],
        ['crash', 'INTERNAL'],
      ] as const) {
        const mine = collector()
        channel.stream(chat, mine.handlers).write(message)
        await mine.ended
        expect(mine.heard.ends).toMatchObject([{ code }])
        expect(mine.heard.ends[0]?.message).not.toContain('somewhere')
      }
      await expect.poll(() => server.collectors.map((own) => own.heard.ends.length)).toEqual([1, 1])
    })

    it('ends streams with UNAVAILABLE where nobody listens, and with CANCELLED when the channel closes', async () => {
      const bench = makeBench()
      const server = await serve(bench)
      const dead = collector()
      dial(bench, await bench.deadAddress()).stream(chat, dead.handlers)
      await dead.ended
      expect(dead.heard.ends).toMatchObject([{ code: 'UNAVAILABLE' }])
      const mine = collector()
      const channel = dial(bench, server.listener.addresses[0]?.address)
      channel.stream(chat, mine.handlers)
      await expect.poll(() => mine.heard.messages).toEqual(['hello'])
      channel.close()
      await mine.ended
      await server.collectors[0]?.ended
      expect(mine.heard.ends).toMatchObject([{ code: 'CANCELLED' }])
      expect(server.collectors[0]?.heard.ends).toMatchObject([{ code: 'CANCELLED' }])
      const late = collector()
      channel.stream(chat, late.handlers)
      await late.ended
      expect(late.heard.ends).toMatchObject([{ code: 'CANCELLED' }])
    })

    it('says no to a writer who is too fast, and calls it when there is room again', async () => {
      const bench = makeBench()
      const server = await serve(bench)
      const mine = collector()
      const stream = dial(bench, server.listener.addresses[0]?.address).stream(chat, mine.handlers)
      const big = 'x'.repeat(256 * 1024)
      let written = 0
      while (stream.write(big)) expect(++written).toBeLessThan(1_000)
      await expect.poll(() => mine.heard.drains).toBe(1)
      await expect.poll(() => server.collectors[0]?.heard.messages.length).toBe(written + 1)
    })

    it('close lets running calls answer within the grace, takes no new ones, and ends streams', async () => {
      const bench = makeBench()
      const server = await serve(bench)
      const channel = dial(bench, server.listener.addresses[0]?.address)
      const mine = collector()
      channel.stream(chat, mine.handlers)
      await expect.poll(() => mine.heard.messages).toEqual(['hello'])
      const running = channel.unary(echo, 'wait', patient)
      await expect.poll(() => server.contexts.length).toBe(2)
      const closed = server.listener.close(5_000)
      await mine.ended
      expect(mine.heard.ends).toEqual([undefined])
      await expect(channel.unary(echo, 'a', { timeoutMs: 500 })).rejects.toMatchObject({ name: 'TransportError' })
      server.release()
      expect(await running).toBe('wait!')
      await closed
    })

    it('a channel finds a server that comes back', async () => {
      const bench = makeBench()
      const server = await serve(bench)
      const address = server.listener.addresses[0]?.address ?? ''
      const channel = dial(bench, address)
      expect(await channel.unary(echo, 'a', patient)).toBe('a!')
      await server.listener.close(0)
      await expect(channel.unary(echo, 'a', { timeoutMs: 1_000 })).rejects.toMatchObject({ name: 'TransportError' })
      const again = await bench.transport.listen([{ name: 'default', address }], [unaryRoute(echo, async (request) => `${request}?`)])
      cleanups.push(() => again.close(0))
      await expect.poll(() => channel.unary(echo, 'b', { timeoutMs: 1_000 }).catch(() => 'not yet'), { timeout: 10_000 }).toBe('b?')
    })
  })
}
