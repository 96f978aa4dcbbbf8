/**
 * Stands before one process: whoever dials it dials here. Each connection has two directions, and each obeys the rule of its own directed
 * link: what A sends to B is what A writes on connections that it dialled to B, and what it answers on connections that B dialled.
 */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { ByteFlow } from './byte-flow.ts'
import type { LinkRules } from './link-rule.ts'

export interface TcpProxyOptions {
  /** The process behind it. */
  readonly name: string
  readonly targetPort: number
  readonly rules: LinkRules
  /** Who holds the other end of a connection that came from `port` to `proxyPort`. */
  ownerOf(port: number, proxyPort: number): Promise<string>
}

interface Connection {
  readonly from: string
  readonly flows: readonly ByteFlow[]
}

const host = '127.0.0.1'

export class TcpProxy {
  readonly #options: TcpProxyOptions
  readonly #server: Server
  readonly #connections = new Set<Connection>()

  constructor(options: TcpProxyOptions) {
    this.#options = options
    // Half-open connections are what this is about.
    this.#server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (socket) => void this.#accept(socket))
  }

  /** Resolves with the port that it took. */
  async listen(): Promise<number> {
    this.#server.listen(0, host)
    await once(this.#server, 'listening')
    return this.port
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** To be called when rules have changed. */
  rulesChanged(): void {
    for (const connection of this.#connections) {
      if (this.#isRefused(connection.from)) this.#drop(connection)
      else for (const flow of connection.flows) flow.pump()
    }
  }

  close(): void {
    this.#server.close()
    for (const connection of this.#connections) this.#drop(connection)
  }

  async #accept(socket: Socket): Promise<void> {
    socket.on('error', () => socket.destroy())
    const from = await this.#options.ownerOf(socket.remotePort ?? 0, this.port)
    if (this.#isRefused(from)) {
      socket.resetAndDestroy()
      return
    }
    const { name, targetPort, rules } = this.#options
    const target = connect({ host, port: targetPort, allowHalfOpen: true, noDelay: true })
    target.on('error', () => target.destroy())
    const flows = [new ByteFlow(socket, target, () => rules.of(from, name)), new ByteFlow(target, socket, () => rules.of(name, from))]
    const connection = { from, flows }
    this.#connections.add(connection)
    const forget = () => {
      if (socket.destroyed && target.destroyed) this.#connections.delete(connection)
    }
    socket.on('close', forget)
    target.on('close', forget)
    socket.resume()
  }

  #isRefused(from: string): boolean {
    return this.#options.rules.of(from, this.#options.name).isRefused === true
  }

  #drop(connection: Connection): void {
    this.#connections.delete(connection)
    for (const flow of connection.flows) flow.destroy()
  }
}
