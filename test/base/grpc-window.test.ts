import { once } from 'node:events'
import http2 from 'node:http2'
import net from 'node:net'
import { Server } from '@grpc/grpc-js'
import { expect, it } from 'vitest'
import { injectorWithWindow } from '../../base/grpc-window.ts'

it('a client sees the raised windows of the stream and of the connection', async () => {
  const windowBytes = 3 * 1024 * 1024
  const server = new Server()
  const { injector, raised } = injectorWithWindow(server, windowBytes)
  expect(raised).toBe(true)
  const listening = net.createServer((socket) => injector.injectConnection(socket)).listen(0, '127.0.0.1')
  await once(listening, 'listening')
  const session = http2.connect(`http://127.0.0.1:${(listening.address() as net.AddressInfo).port}`)
  try {
    const [settings] = (await once(session, 'remoteSettings')) as [http2.Settings]
    expect(settings.initialWindowSize).toBe(windowBytes)
    await expect.poll(() => session.state.remoteWindowSize).toBe(windowBytes)
  } finally {
    session.destroy()
    listening.close()
    server.forceShutdown()
  }
})
