/** Clients of a simulated cluster, each on a machine of its own, that call without end until they are stopped. */
import type { Client } from '../../client/client.ts'
import type { Workload } from '../workload/workload.ts'
import type { SimCluster } from './sim-cluster.ts'
import type { World } from './world.ts'

export interface LoadOptions {
  readonly clients: number
  readonly deadlineMs: number
  /** Mean time between an answer and the client's next call. Default 20. */
  readonly thinkMs?: number
}

export class Load {
  readonly #world: World
  readonly #workload: Workload
  /** Mean time between an answer and the client's next call. */
  thinkMs: number
  #stopped = false
  #running = 0

  constructor(world: World, cluster: SimCluster, workload: Workload, { clients, deadlineMs, thinkMs = 20 }: LoadOptions) {
    this.#world = world
    this.#workload = workload
    this.thinkMs = thinkMs
    for (let i = 0; i < clients; i++) {
      const name = `client${i + 1}`
      void this.#drive(name, cluster.client(name, deadlineMs))
    }
  }

  get idle(): boolean {
    return this.#running === 0
  }

  stop(): void {
    this.#stopped = true
  }

  async #drive(name: string, db: Client): Promise<void> {
    const random = this.#world.random.fork()
    this.#running++
    try {
      await db.ready(30_000)
      while (!this.#stopped) {
        await this.#workload.one(name, db)
        await new Promise<void>((resolve) => this.#world.schedule(2 * random.next() * this.thinkMs, undefined, `${name} thinks`, resolve))
      }
      await db.close()
    } catch (error) {
      this.#world.fail(error)
    } finally {
      this.#running--
    }
  }
}
