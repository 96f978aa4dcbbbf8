/** Looks at all servers of a simulated cluster again and again, and fails the run when two lead a group in one term or a term goes back. */
import type { SimCluster } from './sim-cluster.ts'
import type { World } from './world.ts'

const everyMs = 50

export class LeaderObserver {
  readonly #world: World
  readonly #cluster: SimCluster
  /** 'group term' → node seen leading. */
  readonly #leaders = new Map<string, string>()
  /** 'group@node' → term. */
  readonly #terms = new Map<string, number>()
  #running = false

  constructor(world: World, cluster: SimCluster) {
    this.#world = world
    this.#cluster = cluster
  }

  start(): void {
    this.#running = true
    this.#again()
  }

  stop(): void {
    this.#running = false
  }

  #again(): void {
    this.#world.schedule(everyMs, undefined, 'observe', () => {
      if (!this.#running) return
      for (const name of this.#cluster.names) {
        this.#cluster
          .running(name)
          ?.status({})
          .then(({ replicas }) => {
            for (const { uid, role, term } of replicas) this.#see(name, uid ?? '', role ?? '', term ?? 0)
          })
      }
      this.#again()
    })
  }

  #see(node: string, group: string, role: string, term: number): void {
    const seenTerm = this.#terms.get(`${group}@${node}`) ?? 0
    if (term < seenTerm) this.#world.fail(new Error(`the term of ${group} on ${node} went back from ${seenTerm} to ${term}`))
    this.#terms.set(`${group}@${node}`, term)
    if (role !== 'leader') return
    const leader = this.#leaders.get(`${group} ${term}`)
    if (leader !== undefined && leader !== node)
      this.#world.fail(new Error(`two leaders of ${group} in term ${term}: ${leader} and ${node}`))
    this.#leaders.set(`${group} ${term}`, node)
    this.#cluster.sawLeader(group, node)
  }
}
