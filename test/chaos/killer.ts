/** kill -9 of the leader of the source, of the target of a running migration, and of the controllers, every few seconds. */
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

export interface KillerOptions {
  readonly everyMs: number
  readonly order: 'in turn' | 'at random'
}

export class Killer {
  /** When the last kill was, by `performance.now()`; undefined: none yet. */
  lastKillMs: number | undefined
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

  async run({ everyMs, order }: KillerOptions): Promise<void> {
    const { signal } = this.#stopping
    let dueMs = performance.now()
    for (let turn = 0; ; turn++) {
      dueMs = Math.max(dueMs + everyMs, performance.now())
      await this.#pause(dueMs - performance.now())
      if (signal.aborted) return
      const victim = victims[order === 'in turn' ? turn % victims.length : this.#random.below(victims.length)] ?? 'controllers'
      await this.#killBy(dueMs + everyMs, victim)
    }
  }

  /** Until somebody was killed, or the next is due: the controllers may just have lost their leader, or a process be dead already. */
  async #killBy(untilMs: number, victim: Victim): Promise<void> {
    while (!this.#stopping.signal.aborted && performance.now() < untilMs) {
      try {
        if (await this.#kill(victim)) return
      } catch (error) {
        if (!(error instanceof OstrakaError)) throw error
      }
      await this.#pause(lookMs)
    }
  }

  async #kill(victim: Victim): Promise<boolean> {
    const uid = victim === 'controllers' ? undefined : await this.#moving(victim)
    const { controllers, nodes, groups } = await this.#client.status({ timeoutMs: callMs })
    if (uid === undefined) return this.#end('controllers', controllers.find(({ role, live }) => role === 'leader' && live)?.pid)
    const leader = groups.find(({ name }) => name === uid.slice(0, uid.lastIndexOf('@')))?.leader
    return this.#end(victim, nodes.find(({ id, live }) => live && id === leader)?.pid)
  }

  /** False: there is nobody to kill. */
  #end(victim: Victim, pid: number | null | undefined): boolean {
    if (!pid || this.#stopping.signal.aborted) return false
    try {
      process.kill(pid, 'SIGKILL')
      this.lastKillMs = performance.now()
      this.#killed[victim]++
      return true
    } catch (error) {
      // It was dead already, and is not known as such yet.
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
      return false
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
