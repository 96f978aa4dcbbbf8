import http2 from 'node:http2'
import net from 'node:net'
import { Client, credentials } from '@grpc/grpc-js'
import { fromJSON, type ServiceDefinition } from '@grpc/proto-loader'
import { service as healthService } from 'grpc-health-check'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { GrpcTransport } from '../../base/grpc-transport.ts'
import { silentLogger } from '../../base/logger.ts'
import { type Listener, type Route, streamRoute, unaryRoute } from '../../base/transport.ts'
import { chat, collector, echo, transportContract } from './transport-contract.ts'

/** A port that was free a moment ago. */
async function deadAddress(): Promise<string> {
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as net.AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return `127.0.0.1:${port}`
}

transportContract('gRPC', () => ({ transport: new GrpcTransport({ logger: silentLogger }), listenAddress: '127.0.0.1:0', deadAddress }))

const descriptor = {
  nested: {
    test: {
      nested: {
        v1: {
          nested: {
            Text: { fields: { text: { type: 'string', id: 1 } } },
            Echo: { methods: { Echo: { requestType: 'Text', responseType: 'Text' } } },
            Hidden: { methods: { Echo: { requestType: 'Text', responseType: 'Text' } } },
          },
        },
      },
    },
  },
}

describe('gRPC transport', () => {
  const cleanups: (() => Promise<void> | void)[] = []
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  })

  const routes: Route[] = [unaryRoute(echo, async (request) => `${request}!`), streamRoute(chat, () => ({ onMessage() {}, onEnd() {} }))]

  async function listen(transport: GrpcTransport, own: Route[] = routes): Promise<{ listener: Listener; address: string; port: number }> {
    const listener = await transport.listen([{ name: 'default', address: '127.0.0.1:0' }], own)
    cleanups.push(() => listener.close(0))
    const address = listener.addresses[0]?.address ?? ''
    return { listener, address, port: Number(address.split(':')[1]) }
  }

  it('names the address that is in use, with its code, and binds none of the others', async () => {
    const transport = new GrpcTransport({ logger: silentLogger })
    const { address } = await listen(transport)
    const free = await deadAddress()
    const both = transport.listen(
      [
        { name: 'a', address: free },
        { name: 'b', address },
      ],
      routes,
    )
    await expect(both).rejects.toMatchObject({ code: 'EADDRINUSE', message: expect.stringContaining(address) })
    const again = await transport.listen([{ name: 'a', address: free }], routes)
    await again.close(0)
  })

  it('listens on IPv6 and on host names', async () => {
    const transport = new GrpcTransport({ logger: silentLogger })
    for (const asked of ['[::1]:0', 'localhost:0']) {
      const listener = await transport.listen([{ name: 'default', address: asked }], routes)
      cleanups.push(() => listener.close(0))
      const address = listener.addresses[0]?.address ?? ''
      expect(address).toMatch(asked.startsWith('[') ? /^\[::1\]:[1-9]\d*$/ : /^localhost:[1-9]\d*$/)
      const channel = transport.connect(address)
      cleanups.push(() => channel.close())
      expect(await channel.unary(echo, 'a', { timeoutMs: 5_000 })).toBe('a!')
    }
  })

  it('survives raw garbage, half requests and HTTP/1 on its port', async () => {
    const transport = new GrpcTransport({ logger: silentLogger })
    const { address, port } = await listen(transport)
    const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
    const frame = Buffer.from([0, 0, 4, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff])
    for (const bytes of [
      Buffer.alloc(70_000, 0xff),
      'GET / HTTP/1.1\r\n\r\n',
      preface,
      Buffer.concat([Buffer.from(preface), frame, frame]),
    ]) {
      await new Promise<void>((resolve) => {
        const socket = net.connect(port, '127.0.0.1', () => {
          socket.write(bytes)
          setTimeout(() => socket.resetAndDestroy(), 20)
        })
        socket.on('error', () => {})
        socket.on('close', () => resolve())
      })
    }
    const channel = transport.connect(address)
    cleanups.push(() => channel.close())
    expect(await channel.unary(echo, 'alive', { timeoutMs: 5_000 })).toBe('alive!')
  })

  it('answers gRPC frames that hold garbage with a status', async () => {
    const transport = new GrpcTransport({ logger: silentLogger })
    const { port } = await listen(transport)
    const session = http2.connect(`http://127.0.0.1:${port}`)
    cleanups.push(() => session.destroy())
    const statusOf = (body: Buffer) =>
      new Promise<string>((resolve) => {
        const request = session.request({ ':method': 'POST', ':path': echo.path, 'content-type': 'application/grpc', te: 'trailers' })
        request.on('response', (headers) => headers['grpc-status'] !== undefined && resolve(String(headers['grpc-status'])))
        request.on('trailers', (trailers) => resolve(String(trailers['grpc-status'])))
        request.on('error', () => {})
        request.resume()
        request.end(body)
      })
    expect(await statusOf(Buffer.from([0, 0, 0, 0, 1, 0x21]))).toBe('3')
    // A length of 4 GiB is refused before anything of it is stored.
    expect(await statusOf(Buffer.from([0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]))).toBe('8')
  })

  it('carries 16 MiB and refuses 17 MiB with RESOURCE_EXHAUSTED', async () => {
    const transport = new GrpcTransport({ logger: silentLogger })
    const { address } = await listen(transport)
    const channel = transport.connect(address)
    cleanups.push(() => channel.close())
    const reply = await channel.unary(echo, 'x'.repeat(16 * 1024 * 1024), { timeoutMs: 20_000 })
    expect(reply.length).toBe(16 * 1024 * 1024 + 1)
    const tooLarge = channel.unary(echo, 'x'.repeat(17 * 1024 * 1024), { timeoutMs: 20_000 })
    await expect(tooLarge).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED' })
  })

  it('gives each channel a connection of its own', async () => {
    const transport = new GrpcTransport({ logger: silentLogger })
    const peers = new Set<string>()
    const { address } = await listen(transport, [
      unaryRoute(echo, async (request, context) => {
        peers.add(context.peer)
        return request
      }),
    ])
    for (let i = 0; i < 3; i++) {
      const channel = transport.connect(address)
      cleanups.push(() => channel.close())
      for (let call = 0; call < 3; call++) await channel.unary(echo, 'a', { timeoutMs: 5_000 })
    }
    expect(peers.size).toBe(3)
  })

  it('gives up on a peer that accepts and never speaks, and dials anew when it is back', async () => {
    const transport = new GrpcTransport({ logger: silentLogger })
    const sockets: net.Socket[] = []
    const mute = net.createServer((socket) => {
      socket.on('error', () => {})
      sockets.push(socket)
    })
    await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve))
    const address = `127.0.0.1:${(mute.address() as net.AddressInfo).port}`
    cleanups.push(() => {
      for (const socket of sockets) socket.destroy()
      mute.close()
    })
    const mine = collector()
    const channel = transport.connect(address)
    cleanups.push(() => channel.close())
    channel.stream(chat, mine.handlers)
    await mine.ended
    expect(mine.heard.ends).toMatchObject([{ code: 'UNAVAILABLE' }])
    // The mute peer still holds the old connection; a real server takes its port.
    await new Promise<void>((resolve) => {
      mute.close(() => resolve())
      for (const socket of sockets) socket.destroy()
    })
    const listener = await transport.listen([{ name: 'default', address }], routes)
    cleanups.push(() => listener.close(0))
    await expect.poll(() => channel.unary(echo, 'a', { timeoutMs: 1_000 }).catch(() => ''), { timeout: 10_000 }).toBe('a!')
  })

  it('notices within seconds that an established peer has gone mute', async () => {
    const transport = new GrpcTransport({ logger: silentLogger })
    const { port } = await listen(transport)
    let open = true
    const proxy = net.createServer((near) => {
      const far = net.connect(port, '127.0.0.1')
      near.on('data', (bytes) => open && far.write(bytes))
      far.on('data', (bytes) => open && near.write(bytes))
      near.on('error', () => {})
      far.on('error', () => {})
      near.on('close', () => far.destroy())
    })
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
    cleanups.push(() => void proxy.close())
    const channel = transport.connect(`127.0.0.1:${(proxy.address() as net.AddressInfo).port}`)
    cleanups.push(() => channel.close())
    expect(await channel.unary(echo, 'a', { timeoutMs: 5_000 })).toBe('a!')
    const mine = collector()
    channel.stream(chat, mine.handlers)
    open = false
    const startMs = performance.now()
    await mine.ended
    expect(mine.heard.ends).toMatchObject([{ code: 'UNAVAILABLE' }])
    expect(performance.now() - startMs).toBeLessThan(8_000)
  })

  it('leaves no timer and no dialling behind when a channel without a connection closes', async () => {
    const held = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout' || kind.startsWith('TCP')).length
    const before = held()
    const channel = new GrpcTransport({ logger: silentLogger }).connect(await deadAddress())
    await expect(channel.unary(echo, 'a', { timeoutMs: 2_000 })).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    channel.close()
    const pending = new GrpcTransport({ logger: silentLogger }).connect(await deadAddress())
    const failed = pending.unary(echo, 'a', { timeoutMs: 2_000 }).catch(() => undefined)
    pending.close()
    await failed
    // What was being closed has said so well before a connection attempt would be given up.
    await expect.poll(held, { timeout: 1_000 }).toBeLessThanOrEqual(before)
  })

  it('serves health until it closes', async () => {
    const transport = new GrpcTransport({ logger: silentLogger })
    const { address } = await listen(transport)
    const client = new Client(address, credentials.createInsecure())
    cleanups.push(() => client.close())
    const check = healthService.Check
    if (check === undefined) throw new Error('no health service')
    const statusOf = (service: string) =>
      new Promise<unknown>((resolve) => {
        client.makeUnaryRequest(check.path, check.requestSerialize, check.responseDeserialize, { service }, (error, reply) =>
          resolve(error?.code ?? reply),
        )
      })
    expect(await statusOf('')).toEqual({ status: 'SERVING' })
    expect(await statusOf('test.v1.Echo')).toEqual({ status: 'SERVING' })
    expect(await statusOf('test.v1.Other')).toBe(5)
  })

  it('ends its streams one after the other when it closes: the last still serves when the first has ended', async () => {
    const transport = new GrpcTransport({ logger: silentLogger })
    const heard: string[] = []
    const route = streamRoute(chat, (stream) => ({
      onMessage(message) {
        heard.push(message)
        stream.write(`${message}!`)
      },
      onEnd() {},
    }))
    const { listener, address } = await listen(transport, [route])
    const channel = transport.connect(address)
    cleanups.push(() => channel.close())
    const ends = Array.from({ length: 20 }, () => collector())
    const streams = ends.map(({ handlers }) => channel.stream(chat, handlers))
    for (const stream of streams) stream.write('hello')
    await vi.waitUntil(() => ends.every((end) => end.heard.messages.length === 1))
    const closed = listener.close(1000)
    await ends[0]?.ended
    expect(ends[19]?.heard.ends).toEqual([])
    streams[19]?.write('still there')
    await Promise.all(ends.map(({ ended }) => ended))
    expect(heard).toContain('still there')
    await closed
  })

  it('tells by reflection which services its routes are of, with their files', async () => {
    const transport = new GrpcTransport({ logger: silentLogger, descriptor })
    const { address } = await listen(transport)
    // What the reflection protocol's messages need, and no more.
    const reflection = fromJSON({
      nested: {
        grpc: {
          nested: {
            reflection: {
              nested: {
                v1: {
                  nested: {
                    Request: { fields: { fileContainingSymbol: { type: 'string', id: 4 }, listServices: { type: 'string', id: 7 } } },
                    Files: { fields: { fileDescriptorProto: { rule: 'repeated', type: 'bytes', id: 1 } } },
                    Service: { fields: { name: { type: 'string', id: 1 } } },
                    List: { fields: { service: { rule: 'repeated', type: 'Service', id: 1 } } },
                    Reply: { fields: { files: { type: 'Files', id: 4 }, list: { type: 'List', id: 6 } } },
                    ServerReflection: {
                      methods: {
                        ServerReflectionInfo: {
                          requestType: 'Request',
                          requestStream: true,
                          responseType: 'Reply',
                          responseStream: true,
                          comment: '',
                        },
                      },
                    },
                  },
                },
              },
            },
          },
        },
      },
    })['grpc.reflection.v1.ServerReflection'] as ServiceDefinition
    const info = reflection.ServerReflectionInfo
    if (info === undefined) throw new Error('no method')
    const client = new Client(address, credentials.createInsecure())
    cleanups.push(() => client.close())
    const ask = (request: object, path = info.path, encode = info.requestSerialize) =>
      new Promise<unknown>((resolve, reject) => {
        const call = client.makeBidiStreamRequest(path, encode, info.responseDeserialize)
        call.on('data', (reply) => {
          resolve(reply)
          call.end()
        })
        call.on('error', reject)
        call.write(request)
      })
    expect(await ask({ listServices: '*' })).toMatchObject({ list: { service: [{ name: 'test.v1.Echo' }] } })
    expect(await ask({ listServices: '*' }, info.path.replace('.v1.', '.v1alpha.'))).toMatchObject({
      list: { service: [{ name: 'test.v1.Echo' }] },
    })
    const files = (await ask({ fileContainingSymbol: 'test.v1.Echo' })) as { files: { fileDescriptorProto: Buffer[] } }
    expect(Buffer.concat(files.files.fileDescriptorProto).toString('latin1')).toContain('Text')
    await expect(ask({}, info.path, () => Buffer.from([0xff]))).rejects.toMatchObject({ code: 3 })
  })
})
