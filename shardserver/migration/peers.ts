import { type Channel, type Method, type Transport, TransportError } from '../../base/transport.ts'
import { decodeError } from '../../proto/error-codec.ts'
import { OstrakaError } from '../../proto/errors.ts'
import type { pb } from '../../proto/messages.ts'

export interface PeersParts {
  readonly transport: Transport
  /** Where a node can be reached by its peers; undefined: not known yet. */
  resolve(node: string): string | undefined
}

interface Reply {
  error?: pb.v1.Error.$Properties | null
}

/** Calls other nodes: one connection a node, dialled anew where the node has moved. */
export class Peers {
  readonly #parts: PeersParts
  readonly #channels = new Map<string, Channel>()
  #closed = false

  constructor(parts: PeersParts) {
    this.#parts = parts
  }

  /** Rejects with OstrakaError: a typed refusal as it came, UNAVAILABLE (indefinite) for what failed on the way. */
  async call<Request, Response extends Reply>(
    node: string,
    method: Method<Request, Response>,
    request: NoInfer<Request>,
    timeoutMs: number,
  ): Promise<Response> {
    const channel = this.channelTo(node)
    let reply: Response
    try {
      reply = await channel.unary(method, request, { timeoutMs })
    } catch (error) {
      if (!(error instanceof TransportError)) throw error
      throw new OstrakaError('UNAVAILABLE', `${node} at ${channel.address}: ${error.message}`, false)
    }
    if (reply.error) throw decodeError(reply.error)
    return reply
  }

  /** Not the caller's to close. Throws OstrakaError where the address is not known. */
  channelTo(node: string): Channel {
    if (this.#closed) throw new OstrakaError('CANCELLED', 'this node is being closed', true)
    const address = this.#parts.resolve(node)
    if (address === undefined) throw new OstrakaError('UNAVAILABLE', `the address of node ${node} is not known`, true)
    const known = this.#channels.get(node)
    if (known?.address === address) return known
    known?.close()
    const channel = this.#parts.transport.connect(address)
    this.#channels.set(node, channel)
    return channel
  }

  /** Running calls end with UNAVAILABLE. */
  close(): void {
    this.#closed = true
    for (const channel of this.#channels.values()) channel.close()
    this.#channels.clear()
  }
}
