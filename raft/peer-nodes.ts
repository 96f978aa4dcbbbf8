/** Of a group, numbers heard of and not known otherwise: so many. */
const hintsMax = 16

type Nodes = ReadonlyMap<number, string>

interface GroupNodes {
  /** As the group's log has it. */
  members: Nodes
  /** As the cluster's config has it: of those that will be members, and of whom this replica has not heard in its log yet. */
  wanted: Nodes
  /** From whose stream a message of a number came that is neither. */
  readonly hints: Map<number, string>
}

/**
 * On which nodes the replicas of this process's groups are, and with which nodes this one must be connected for them. A replica that lags behind
 * the change that added its leader answers by the stream on which it was asked.
 */
export class PeerNodes {
  readonly #links: { connect(node: string): void; disconnect(node: string): void }
  readonly #groups = new Map<string, GroupNodes>()
  #connected: ReadonlySet<string> = new Set()

  constructor(links: { connect(node: string): void; disconnect(node: string): void }) {
    this.#links = links
  }

  /** The group's log has these members now. */
  setMembers(group: string, members: Nodes): void {
    this.#group(group).members = members
    this.#connect()
  }

  /** The config wants these members. */
  setWanted(group: string, wanted: Nodes): void {
    this.#group(group).wanted = wanted
    this.#connect()
  }

  /** A message of replica `from` came by the stream from `node`. */
  heard(group: string, from: number, node: string): void {
    const known = this.#groups.get(group)
    if (known === undefined || known.members.has(from) || known.wanted.has(from) || known.hints.get(from) === node) return
    const oldest = known.hints.keys().next()
    if (known.hints.size >= hintsMax && oldest.done !== true) known.hints.delete(oldest.value)
    known.hints.set(from, node)
  }

  /** The group is not here any more. */
  forget(group: string): void {
    this.#groups.delete(group)
    this.#connect()
  }

  /** Of a group that is here. */
  nodeOf(group: string, replica: number): string | undefined {
    const known = this.#groups.get(group)
    return known?.members.get(replica) ?? known?.wanted.get(replica) ?? known?.hints.get(replica)
  }

  #group(group: string): GroupNodes {
    const known = this.#groups.get(group) ?? { members: new Map(), wanted: new Map(), hints: new Map() }
    this.#groups.set(group, known)
    return known
  }

  #connect(): void {
    const needed = new Set<string>()
    for (const { members, wanted } of this.#groups.values()) {
      for (const node of members.values()) needed.add(node)
      for (const node of wanted.values()) needed.add(node)
    }
    for (const node of needed) if (!this.#connected.has(node)) this.#links.connect(node)
    for (const node of this.#connected) if (!needed.has(node)) this.#links.disconnect(node)
    this.#connected = needed
  }
}
