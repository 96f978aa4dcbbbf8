/** kill -9 of the leader of the source, of the target of a running migration, and of the controllers, in turn, every few seconds. */
import { setTimeout as delay } from 'node:timers/promises'
import type { SeededRandom } from '../../base/random.ts'
import type { ControllerClient } from '../../proto/controller-client.ts'
import { OstrakaError } from '../../proto/errors.ts'
import { pb } from '../../proto/messages.ts'
import { openControllers } from './controllers.ts'

const victims = ['source', 'target', 'controllers'] as const
type Victim = (typeof victims)[number]

const lookMs = 20
const callMs = 2000
/** How long a migration is waited for before the controllers' leader is killed instead. */
const patienceMs = 4000
/** Moves take less than this: the kill comes somewhere within. */
const withinMs = 100

export class Killer {
  readonly #client: ControllerClient
  readonly #random: SeededRandom
  readonly #stopping = new AbortController()
  readonly #killed: Record<Victim, number> = { source: 0, target: 0, controllers: 0 }

  constructor(controllers: readonly string[], random: SeededRandom) {
    this.#client = openControllers(controllers)
    this.#random = random
  }

  stop(): void {
    this.#stopping.abort()
  }

  close(): void {
    this.#client.close()
  }

  figures() {
    const { source, target, controllers } = this.#killed
    return source + target + controllers === 0 ? {} : { killsOfSources: source, killsOfTargets: target, killsOfControllers: controllers }
  }

  async run(everyMs: number): Promise<void> {
    const { signal } = this.#stopping
    for (let turn = 0; !signal.aborted; turn++) {
      await this.#pause(everyMs)
      if (signal.aborted) return
      try {
        await this.#kill(victims[turn % victims.length] ?? 'controllers')
      } catch (error) {
        // The controllers have just lost their leader: another turn.
        if (!(error instanceof OstrakaError)) throw error
      }
    }
  }

  async #kill(victim: Victim): Promise<void> {
    const uid = victim === 'controllers' ? undefined : await this.#moving(victim)
    const { controllers, nodes, groups } = await this.#client.status({ timeoutMs: callMs })
    if (uid === undefined) {
      this.#end('controllers', controllers.find(({ role, live }) => role === 'leader' && live)?.pid)
      return
    }
    const leader = groups.find(({ name }) => name === uid.slice(0, uid.lastIndexOf('@')))?.leader
    this.#end(victim, nodes.find(({ id, live }) => live && id === leader)?.pid)
  }

  #end(victim: Victim, pid: number | null | undefined): void {
    if (!pid || this.#stopping.signal.aborted) return
    try {
      process.kill(pid, 'SIGKILL')
      this.#killed[victim]++
    } catch (error) {
      // It was dead already, and is not known as such yet.
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
  }

  /** Uid of the source or the target of a migration that runs, as soon as there is one. */
  async #moving(victim: 'source' | 'target'): Promise<string | undefined> {
    const { COPYING, COMMITTED } = pb.v1.MigrationPhase
    const end = performance.now() + patienceMs
    while (performance.now() < end && !this.#stopping.signal.aborted) {
      const migrations = await this.#client.migrations({ timeoutMs: callMs })
      const running = migrations.filter(({ phase = COPYING }) => phase === COPYING || phase === COMMITTED)
      const migration = running[this.#random.below(Math.max(1, running.length))]
      if (migration !== undefined) {
        await this.#pause(this.#random.next() * withinMs)
        return (victim === 'source' ? migration.from : migration.to) ?? undefined
      }
      await this.#pause(lookMs)
    }
    return undefined
  }

  async #pause(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#stopping.signal }).catch(() => undefined)
  }
}
