import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type LinkRule, LinkRules } from './link-rule.ts'
import { clients, inodeOf, noOwnersReason, ownerOfSocket } from './socket-owner.ts'
import { TcpProxy } from './tcp-proxy.ts'

/** What has come to one end of a connection. */
class Ear {
  text = ''
  readonly socket: Socket
  readonly closed: Promise<void>

  constructor(socket: Socket) {
    this.socket = socket
    this.closed = new Promise((resolve) => socket.on('close', () => resolve()))
    socket.on('error', () => {})
    socket.on('data', (chunk) => {
      this.text += chunk.toString('utf8')
    })
  }

  async heard(text: string): Promise<void> {
    while (this.text !== text) await once(this.socket, 'data')
  }
}

describe('a proxy before a process', () => {
  let rules: LinkRules
  let proxy: TcpProxy
  let target: Server
  let near: Ear
  let far: Ear
  const set = (...list: [string, string, LinkRule][]) => {
    rules.replace(list)
    proxy.rulesChanged()
  }
  beforeEach(async () => {
    rules = new LinkRules()
    target = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
    await once(target, 'listening')
    const { port } = target.address() as AddressInfo
    proxy = new TcpProxy({ name: 'b', targetPort: port, rules, ownerOf: async () => 'a' })
    const accepted = once(target, 'connection')
    near = new Ear(connect({ port: await proxy.listen(), host: '127.0.0.1', allowHalfOpen: true }))
    const [socket] = (await accepted) as [Socket]
    far = new Ear(socket)
  })
  afterEach(() => {
    near.socket.destroy()
    far.socket.destroy()
    proxy.close()
    target.close()
  })

  it('carries bytes both ways, and the end of each', async () => {
    near.socket.end('to b')
    await far.heard('to b')
    far.socket.end('to a')
    await near.heard('to a')
    await near.closed
  })

  it('holds back what goes one way while the other way is open, and loses none of it', async () => {
    set(['a', 'b', { isHeld: true }])
    near.socket.write('held,')
    far.socket.write('open')
    await near.heard('open')
    expect(far.text).toBe('')
    near.socket.write('then sent')
    set()
    await far.heard('held,then sent')
  })

  it('holds back the death of the sender too', async () => {
    set(['b', 'a', { isHeld: true }])
    far.socket.resetAndDestroy()
    const closed = near.closed
    near.socket.write('nobody is there')
    expect(near.socket.destroyed).toBe(false)
    set()
    await closed
  })

  it('resets connections of a refused link, open ones and new ones', async () => {
    const closed = near.closed
    set(['a', 'b', { isRefused: true }])
    await closed
    await new Ear(connect({ port: proxy.port, host: '127.0.0.1' })).closed
  })

  it('delays without changing the order', async () => {
    set(['a', 'b', { delayMs: 30 }])
    const startMs = performance.now()
    near.socket.write('slow,')
    await far.heard('slow,')
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(29)
    near.socket.write('late,')
    set()
    near.socket.write('last')
    await far.heard('slow,late,last')
  })
})

describe('who holds a socket', () => {
  const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0
   1: 0100007F:C350 0100007F:1F90 01 00000000:00000000 02:0000001D 00000000     0        0 222 2 0 20 4 30 10 -1`

  it('is found by both of its ports', () => {
    expect(inodeOf(table, 50_000, 8080)).toBe('222')
    expect(inodeOf(table, 8080, 50_000)).toBeUndefined()
  })

  it('is the process that dialled, and nobody known where that has no name', async ({ skip }) => {
    skip((await noOwnersReason()) !== undefined)
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const socket = connect({ port, host: '127.0.0.1' })
    await once(socket, 'connect')
    expect(await ownerOfSocket(socket.localPort ?? 0, port, new Map([[process.pid, 'this']]))).toBe('this')
    expect(await ownerOfSocket(socket.localPort ?? 0, port, new Map([[1, 'another']]))).toBe(clients)
    socket.destroy()
    server.close()
  })
})
