/** Clients of a simulated cluster, each on a machine of its own, that call without end until they are stopped. */
import type { Client } from '../../client/client.ts'
import type { ReadMode } from '../../client/types.ts'
import type { Workload } from '../workload/workload.ts'
import type { SimCluster } from './sim-cluster.ts'
import type { World } from './world.ts'

/** All clients call for a while, and none does for a while: in the rests groups go quiet, and each burst wakes them. */
export interface Rhythm {
  readonly burstMs: number
  readonly restMs: number
}

export interface LoadOptions {
  readonly clients: number
  readonly deadlineMs: number
  /** Mean time between an answer and the client's next call. Default 20. */
  readonly thinkMs?: number
  /** They call all the time if not given. */
  readonly rhythm?: Rhythm | undefined
  /** How the clients read where a call does not say, in turn. Default: linearizable. */
  readonly reads?: readonly ReadMode[]
}

/** Of the i-th client, from 0. */
export const clientName = (i: number) => `client${i + 1}`

export class Load {
  readonly #world: World
  readonly #workload: Workload
  /** Mean time between an answer and the client's next call. */
  thinkMs: number
  /** Resolves when the clients may go on; undefined: they may. */
  #rest: Promise<void> | undefined
  #endRest = () => {}
  #hurried = false
  #stopped = false
  #running = 0

  constructor(world: World, cluster: SimCluster, workload: Workload, options: LoadOptions) {
    const { clients, deadlineMs, thinkMs = 20, rhythm, reads = [] } = options
    this.#world = world
    this.#workload = workload
    this.thinkMs = thinkMs
    if (rhythm !== undefined) this.#burst(rhythm)
    for (let i = 0; i < clients; i++) {
      const name = clientName(i)
      void this.#drive(name, cluster.client(name, deadlineMs, reads[i % reads.length]))
    }
  }

  get idle(): boolean {
    return this.#running === 0
  }

  /** From now on without rests, and in haste. */
  hurry(thinkMs: number): void {
    this.thinkMs = thinkMs
    this.#hurried = true
    this.#endRest()
  }

  stop(): void {
    this.#stopped = true
    this.#endRest()
  }

  #burst(rhythm: Rhythm): void {
    this.#endRest()
    this.#rest = undefined
    this.#world.schedule(rhythm.burstMs, undefined, 'clients rest', () => {
      if (this.#hurried || this.#stopped) return
      this.#rest = new Promise((resolve) => {
        this.#endRest = resolve
      })
      this.#world.schedule(rhythm.restMs, undefined, 'clients go on', () => this.#burst(rhythm))
    })
  }

  async #drive(name: string, db: Client): Promise<void> {
    const random = this.#world.random.fork()
    this.#running++
    try {
      await db.ready(30_000)
      while (!this.#stopped) {
        await this.#workload.one(name, db)
        await new Promise<void>((resolve) => this.#world.schedule(2 * random.next() * this.thinkMs, undefined, `${name} thinks`, resolve))
        await this.#rest
      }
      await db.close()
    } catch (error) {
      this.#world.fail(error)
    } finally {
      this.#running--
    }
  }
}
