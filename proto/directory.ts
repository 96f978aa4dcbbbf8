import type { pb } from './messages.ts'

/** Where the nodes are. A `Directory` never changes once made; each registration of a node makes the next one and raises no config number. */

export interface NamedAddress {
  /** Name of the listener: 'default' where the user gave none. */
  readonly name: string
  /** HOST:PORT. */
  readonly address: string
}

/** One node's newest registration. */
export interface NodeEntry {
  readonly id: string
  /** By listener; the first is the one that peers use. */
  readonly addresses: readonly NamedAddress[]
  /** Process id; 0: not registered yet, its address is a guess of who joined it. */
  readonly pid: number
  /** Where it serves HTTP; empty: nowhere. */
  readonly http: string
  /** The directory version that this registration made. */
  readonly version: number
}

export class Directory {
  /** Rises with each registration; 0: nothing known. */
  readonly version: number
  /** Name of the listener through which this directory came; '' where it did not come over the wire. */
  readonly listener: string
  readonly #nodes: ReadonlyMap<string, NodeEntry>

  constructor(version: number, listener: string, nodes: ReadonlyMap<string, NodeEntry>) {
    this.version = version
    this.listener = listener
    this.#nodes = nodes
  }

  /** All nodes that ever registered, sorted by id. */
  get nodes(): NodeEntry[] {
    return [...this.#nodes.values()].sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0))
  }

  node(id: string): NodeEntry | undefined {
    return this.#nodes.get(id)
  }

  /** Where to dial a node from here: its address under `listener`, by default the one through which this directory came, else its first. */
  addressOf(id: string, listener: string = this.listener): string | undefined {
    return addressUnder(this.#nodes.get(id)?.addresses ?? [], listener)
  }

  /** The address that peers of the cluster use: the first. */
  peerAddressOf(id: string): string | undefined {
    return this.#nodes.get(id)?.addresses[0]?.address
  }

  /** The directory after a registration. */
  with(entry: NodeEntry): Directory {
    return new Directory(Math.max(this.version, entry.version), this.listener, new Map(this.#nodes).set(entry.id, entry))
  }

  /** The directory after an update from the wire; this one if it brings nothing newer. Throws RangeError if it does not build on this one. */
  merge(message: pb.v1.Directory.$Properties): Directory {
    const version = message.version ?? 0
    const since = message.since ?? 0
    if (since > this.version) throw new RangeError(`directory difference from ${since} laid over ${this.version}`)
    if (version < this.version) return this
    const nodes = new Map(since === 0 ? [] : this.#nodes)
    for (const node of message.nodes ?? []) {
      const entry = decodeNodeEntry(node)
      nodes.set(entry.id, entry)
    }
    return new Directory(version, message.listener ?? '', nodes)
  }
}

export const emptyDirectory = new Directory(0, '', new Map())

/** The address under `listener`, else the first. */
export function addressUnder(addresses: readonly NamedAddress[], listener: string): string | undefined {
  return (addresses.find((named) => named.name === listener) ?? addresses[0])?.address
}

/** For a receiver that came through `listener` and knows version `since` (0: nothing). */
export function encodeDirectory(directory: Directory, listener: string, since = 0): pb.v1.Directory.$Properties {
  const nodes = directory.nodes.filter((node) => node.version > since || since === 0).map(encodeNodeEntry)
  return { version: directory.version, nodes, listener, since }
}

/** Throws RangeError. */
export function decodeDirectory(message: pb.v1.Directory.$Properties): Directory {
  return emptyDirectory.merge(message)
}

export function encodeNodeEntry(entry: NodeEntry): pb.v1.NodeEntry.$Properties {
  return { ...entry, addresses: entry.addresses.map((named) => ({ ...named })) }
}

/** Throws RangeError. */
export function decodeNodeEntry(message: pb.v1.NodeEntry.$Properties): NodeEntry {
  const id = message.id ?? ''
  if (id === '') throw new RangeError('a node without id')
  return {
    id,
    addresses: (message.addresses ?? []).map((named) => ({ name: named.name ?? '', address: named.address ?? '' })),
    pid: message.pid ?? 0,
    http: message.http ?? '',
    version: message.version ?? 0,
  }
}
