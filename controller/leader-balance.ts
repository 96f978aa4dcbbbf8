/**
 * Which leaderships should go to other nodes, so that each node leads its share. Pure.
 *
 * Every group goes to one of its voters. Wanted is the smallest sum of squares of what the nodes lead (then no node leads more than one group
 * above another, where the placement of replicas allows that at all: Harvey, Ladner, Lovász, Tamir, "Semi-matchings for bipartite graphs and
 * load balancing", 2006), and of all ways there the one with the fewest transfers. That is a flow of minimal cost: begun with who leads now, it
 * is improved along cycles of negative cost until there is none.
 */

export interface LedGroup {
  readonly uid: string
  /** Node id. */
  readonly leader: string
  /** Ids of nodes that could lead it, its leader's perhaps among them; empty: it is not to be moved. */
  readonly candidates: readonly string[]
}

export interface Transfer {
  readonly uid: string
  readonly from: string
  readonly to: string
}

/**
 * The fewest transfers that even out what `nodes` lead, of those that come first among the groups where there is a choice. Applied they leave nothing to do; with
 * `improvementsMax`, which bounds the work, they are some that bring it nearer.
 */
export function balanceLeaders(
  nodes: readonly string[],
  groups: readonly LedGroup[],
  improvementsMax = Number.POSITIVE_INFINITY,
): Transfer[] {
  const known = new Set(nodes)
  const plan = new Plan(
    nodes,
    groups.filter(({ leader }) => known.has(leader)),
  )
  for (let improved = 0; improved < improvementsMax && plan.improve(); improved++) {}
  return plan.transfers()
}

class Plan {
  readonly #nodes: readonly string[]
  readonly #groups: readonly LedGroup[]
  /** For each group the node that leads it by the plan: its place among the nodes. */
  readonly #leaders: Int32Array
  readonly #loads: Int32Array
  readonly #places: ReadonlyMap<string, number>
  /** What a transfer costs beside its group's place in the list: more than all places together, so that their number goes first. */
  readonly #transfer: number
  /** More than all transfers of a cycle cost together: evenness goes before their number. */
  readonly #evenness: number

  constructor(nodes: readonly string[], groups: readonly LedGroup[]) {
    this.#nodes = nodes
    this.#groups = groups
    this.#places = new Map(nodes.map((node, at) => [node, at]))
    this.#leaders = Int32Array.from(groups, ({ leader }) => this.#placeOf(leader))
    this.#loads = new Int32Array(nodes.length)
    for (const at of this.#leaders) this.#loads[at] = (this.#loads[at] ?? 0) + 1
    this.#transfer = groups.length ** 2 + 1
    this.#evenness = 2 * (nodes.length + 2) * (this.#transfer + groups.length)
  }

  /** Makes the plan better by one cycle; false: it is the best. */
  improve(): boolean {
    const arcs = this.#arcs()
    const cycle = negativeCycle(this.#nodes.length + 1, arcs)
    if (cycle === undefined) return false
    for (const { group, from, to } of cycle) {
      if (group === undefined) continue
      this.#leaders[group] = to
      this.#loads[from] = (this.#loads[from] ?? 0) - 1
      this.#loads[to] = (this.#loads[to] ?? 0) + 1
    }
    return true
  }

  transfers(): Transfer[] {
    return this.#groups.flatMap(({ uid, leader }, at) => {
      const to = this.#nodes[this.#leaders[at] ?? 0] ?? leader
      return to === leader ? [] : [{ uid, from: leader, to }]
    })
  }

  /** The cheapest step from each node to each other, and by the sink what one more or less on a node costs. */
  #arcs(): Arc[] {
    const cheapest = new Map<number, Arc>()
    for (const [at, group] of this.#groups.entries()) {
      const from = this.#leaders[at] ?? 0
      const home = this.#placeOf(group.leader)
      for (const candidate of group.candidates) {
        const to = this.#places.get(candidate)
        if (to === undefined || to === from) continue
        const price = this.#transfer + at
        const cost = (from === home ? price : 0) - (to === home ? price : 0)
        const key = from * this.#nodes.length + to
        if (cost < (cheapest.get(key)?.cost ?? Number.POSITIVE_INFINITY)) cheapest.set(key, { from, to, cost, group: at })
      }
    }
    const sink = this.#nodes.length
    const ends = [...this.#loads].flatMap((load, at): Arc[] => [
      { from: at, to: sink, cost: this.#evenness * (2 * load + 1), group: undefined },
      { from: sink, to: at, cost: this.#evenness * (1 - 2 * load), group: undefined },
    ])
    return [...cheapest.values(), ...ends]
  }

  #placeOf(node: string): number {
    return this.#places.get(node) ?? 0
  }
}

interface Arc {
  readonly from: number
  readonly to: number
  readonly cost: number
  /** The group that goes; undefined: to or from the sink. */
  readonly group: number | undefined
}

/** The arcs of some cycle of negative cost (Bellman and Ford); undefined: there is none. */
function negativeCycle(count: number, arcs: readonly Arc[]): Arc[] | undefined {
  const costs = new Float64Array(count)
  const by: (Arc | undefined)[] = Array.from({ length: count })
  let last: number | undefined
  for (let round = 0; round < count; round++) {
    last = undefined
    for (const arc of arcs) {
      const cost = (costs[arc.from] ?? 0) + arc.cost
      if (cost >= (costs[arc.to] ?? 0)) continue
      costs[arc.to] = cost
      by[arc.to] = arc
      last = arc.to
    }
    if (last === undefined) return undefined
  }
  let at = last ?? 0
  for (let step = 0; step < count; step++) at = by[at]?.from ?? at
  const cycle: Arc[] = []
  for (let arc = by[at]; arc !== undefined; arc = arc.from === at ? undefined : by[arc.from]) cycle.push(arc)
  return cycle
}
