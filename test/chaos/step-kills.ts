/** kill -9 of one process that takes part in a migration, at a step of it that is named, and its start again. */
import { setTimeout as delay } from 'node:timers/promises'
import type { SeededRandom } from '../../base/random.ts'
import type { ControllerClient } from '../../proto/controller-client.ts'
import { OstrakaError } from '../../proto/errors.ts'
import { pb } from '../../proto/messages.ts'
import { openControllers } from './controllers.ts'
import { pick } from './faults/fault.ts'
import type { ClusterOfProcesses } from './processes/cluster-of-processes.ts'
import type { ServerProcess } from './processes/server-process.ts'

/** In their order. `cleaning`: done, and something is left of it; `over`: nothing is. */
export const steps = ['planned', 'copying', 'catching-up', 'releasing', 'cleaning', 'over'] as const
export type Step = (typeof steps)[number]

export const parts = [
  'leader of the source',
  'follower of the source',
  'leader of the target',
  'follower of the target',
  'controller',
] as const
export type Part = (typeof parts)[number]

const lookMs = 3
const callMs = 1000
/** How long what was killed stays down. */
const downMsMax = 1500

export class StepKills {
  /** What was going on when the kills came, as seen last before them. */
  readonly seen: { [step: string]: number } = {}
  readonly #cluster: ClusterOfProcesses
  readonly #client: ControllerClient
  readonly #random: SeededRandom

  constructor(cluster: ClusterOfProcesses, random: SeededRandom) {
    this.#cluster = cluster
    this.#random = random
    this.#client = openControllers(cluster.ready.controllers)
  }

  close(): void {
    this.#client.close()
  }

  /** Who plays `part` in a move now; undefined: nobody who runs. */
  async find(part: Part, source: string, target: string): Promise<ServerProcess | undefined> {
    const leaders = await this.#cluster.leaders()
    if (part === 'controller') return this.#running(leaders.get('controller'))
    const group = part.endsWith('source') ? source : target
    const leader = leaders.get(group)
    if (part.startsWith('leader')) return this.#running(leader)
    const followers = [...((await this.#cluster.replicas()).get(group)?.keys() ?? [])].filter((id) => id !== leader)
    return this.#running(pick(this.#random, followers))
  }

  /** Kills `victim` once the migration has come to `step`, and starts it again; resolves when it has been started. */
  async at(step: Step, migration: number, victim: ServerProcess): Promise<void> {
    let found = await this.#step(migration)
    while (steps.indexOf(found) < steps.indexOf(step)) {
      await delay(lookMs)
      found = await this.#step(migration)
    }
    await victim.kill()
    this.seen[found] = (this.seen[found] ?? 0) + 1
    await delay(this.#random.next() * downMsMax)
    await victim.start()
  }

  /** Resolves with how the migration ended; rejects after `withinMs`. */
  async ended(migration: number, withinMs: number): Promise<'done' | 'aborted'> {
    return await this.#until(migration, withinMs, (found) => (found === undefined ? undefined : endOf(found)))
  }

  /** Resolves when neither group has anything left of it. */
  async over(migration: number, withinMs: number): Promise<void> {
    await this.#until(migration, withinMs, (found) => (found !== undefined && stepOf(found) === 'over' ? true : undefined))
  }

  async #until<T>(
    migration: number,
    withinMs: number,
    look: (found: pb.v1.Migration.$Properties | undefined) => T | undefined,
  ): Promise<T> {
    const endMs = performance.now() + withinMs
    for (;;) {
      const found = await this.#look(migration)
      const answer = look(found)
      if (answer !== undefined) return answer
      if (performance.now() > endMs) throw new Error(`after ${withinMs} ms migration ${migration} is ${JSON.stringify(found)}`)
      await delay(lookMs * 10)
    }
  }

  async #step(migration: number): Promise<Step> {
    for (;;) {
      const found = await this.#look(migration)
      if (found !== undefined) return stepOf(found)
      await delay(lookMs)
    }
  }

  /** undefined: the controllers do not answer just now. */
  async #look(migration: number): Promise<pb.v1.Migration.$Properties | undefined> {
    try {
      return (await this.#client.migrations({ timeoutMs: callMs })).find(({ id }) => id === migration)
    } catch (error) {
      if (error instanceof OstrakaError) return undefined
      throw error
    }
  }

  #running(id: string | undefined): ServerProcess | undefined {
    const process = id === undefined ? undefined : this.#cluster.process(id)
    return process?.isReady === true ? process : undefined
  }
}

const { COPYING, COMMITTED, DONE } = pb.v1.MigrationPhase

function stepOf({ phase, bytesCopied, catchingUp, fromConfirmed, toConfirmed }: pb.v1.Migration.$Properties): Step {
  if ((phase ?? COPYING) === COPYING) return catchingUp ? 'catching-up' : bytesCopied ? 'copying' : 'planned'
  if (phase === COMMITTED) return 'releasing'
  return fromConfirmed && toConfirmed ? 'over' : 'cleaning'
}

function endOf({ phase }: pb.v1.Migration.$Properties): 'done' | 'aborted' | undefined {
  if ((phase ?? COPYING) === COPYING || phase === COMMITTED) return undefined
  return phase === DONE ? 'done' : 'aborted'
}
