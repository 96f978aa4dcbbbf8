/** The connections of a client: one to each node that it asks, and those that fell silent and may still bring late answers. */
import type { Transport } from '../base/transport.ts'
import { NodeLink, type NodeLinkEvents } from './node-link.ts'

/** Answers that a link may still owe to attempts given up. */
const FORGOTTEN_MAX = 256
/** For so long a link that fell silent may still bring late answers. */
const RETIRED_MS = 30_000

export class Links {
  readonly #transport: Transport
  readonly #addressOf: (node: string) => string | undefined
  readonly #events: NodeLinkEvents
  readonly #links = new Map<string, NodeLink>()
  /** Links that fell silent and were replaced: a connection may be half open, or its node only slow. */
  readonly #retired = new Set<NodeLink>()

  constructor(transport: Transport, addressOf: (node: string) => string | undefined, events: NodeLinkEvents) {
    this.#transport = transport
    this.#addressOf = addressOf
    this.#events = events
  }

  /** The connection to a node at its present address; undefined: its address is not known. */
  to(node: string): NodeLink | undefined {
    const address = this.#addressOf(node)
    const known = this.#links.get(node)
    if (known !== undefined && known.address === address) return known
    if (known !== undefined) this.#drop(known, 'the node has another address')
    if (address === undefined) return undefined
    const link = new NodeLink(node, address, this.#transport, this.#events)
    this.#links.set(node, link)
    return link
  }

  all(): NodeLink[] {
    return [...this.#links.values(), ...this.#retired]
  }

  /** Ends the connections to addresses that nodes no longer have. */
  dropMoved(): void {
    for (const link of [...this.#links.values()]) {
      if (this.#addressOf(link.node) !== link.address) this.#drop(link, 'the node has another address')
    }
  }

  /** A link was looked at; `silent`: it gave no sign of life. Returns whether it was put out of use. */
  settle(link: NodeLink, silent: boolean, nowMs: number): boolean {
    const isRetired = this.#retired.has(link)
    if (link.pendingCount > FORGOTTEN_MAX || (isRetired && (link.pendingCount === 0 || nowMs - link.retiredMs > RETIRED_MS))) {
      this.#drop(link, 'given up as silent')
      return true
    }
    if (!silent || isRetired) return false
    link.retiredMs = nowMs
    this.#links.delete(link.node)
    this.#retired.add(link)
    return true
  }

  close(): void {
    for (const link of this.all()) link.close()
    this.#links.clear()
    this.#retired.clear()
  }

  #drop(link: NodeLink, why: string): void {
    if (this.#links.get(link.node) === link) this.#links.delete(link.node)
    this.#retired.delete(link)
    link.reset(why)
    link.close()
  }
}
