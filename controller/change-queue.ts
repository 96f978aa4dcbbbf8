import { utf8Text } from '../base/bytes.ts'
import type { Clock } from '../base/clock.ts'
import { OstrakaError } from '../proto/errors.ts'
import type { AnsweredChange } from './answered-requests.ts'
import type { ControllerEntry } from './entry.ts'
import { type Compute, type LeaderView, type Outcome, refused } from './leader-view.ts'
import { mustBeDone, type Proposals } from './proposals.ts'
import { inSlices } from './slices.ts'

/** What a change was answered with. */
export interface Answer {
  readonly configNumber: number
  readonly note: string
  readonly migrations: readonly number[]
}

export interface ChangeQueueParts {
  readonly clock: Pick<Clock, 'monotonicMs' | 'soon'>
  readonly proposals: Proposals
  /** The leader's view, linearizably; refuses where this controller does not lead. */
  readonly read: (hint: Waiting['hint']) => Promise<LeaderView>
  readonly answered: (requestId: Uint8Array) => AnsweredChange | undefined
}

export interface Waiting {
  /** Of a change that somebody asked for, with what it asks for (`requestedBy`). */
  readonly request?: { readonly id: Uint8Array; readonly requested: number }
  /** Address of a controller by its replica number. */
  readonly hint: (replica: number) => string
  /** How many of its kind may wait before it: of those that somebody asked for, or of the others. */
  readonly waitingMax: number
}

/** How often a change is computed anew because another came first. */
const attemptsMax = 10

/**
 * Changes are computed and proposed one after the other, so that they seldom overtake each other. What somebody asked for (it has a `request`) goes before
 * what groups report and the leader does by itself, a thousand of which may wait while shards move; but of those one gets its turn after each.
 */
export class ChangeQueue {
  readonly #parts: ChangeQueueParts
  readonly #asked: (() => Promise<void>)[] = []
  readonly #told: (() => Promise<void>)[] = []
  #isRunning = false
  #wasAsked = false

  constructor(parts: ChangeQueueParts) {
    this.#parts = parts
  }

  /** Rejects with what `compute` throws, with the proposal's refusals, and with OVERLOADED where too many wait. */
  async submit(compute: Compute, waiting: Waiting): Promise<Answer> {
    const lane = waiting.request === undefined ? this.#told : this.#asked
    if (lane.length >= waiting.waitingMax) {
      throw new OstrakaError('OVERLOADED', 'too many changes wait at the controller', true, { waitMs: 500 })
    }
    return await new Promise((resolve, reject) => {
      lane.push(() => this.#run(compute, waiting).then(resolve, reject))
      this.#goOn()
    })
  }

  #goOn(): void {
    if (this.#isRunning) return
    this.#wasAsked = this.#asked.length > 0 && (!this.#wasAsked || this.#told.length === 0)
    const next = (this.#wasAsked ? this.#asked : this.#told).shift()
    if (next === undefined) return
    this.#isRunning = true
    void next().finally(() => {
      this.#isRunning = false
      this.#goOn()
    })
  }

  /** What a change would come to. Rejects as `submit` does. */
  async ask<T>(compute: Compute, hint: Waiting['hint'], reply: (view: LeaderView, outcome: Outcome) => T): Promise<T> {
    for (let attempt = 1; attempt <= attemptsMax; attempt++) {
      const view = await this.#parts.read(hint)
      const outcome = await this.#outcome(compute, view)
      if (outcome !== undefined) return reply(view, outcome)
    }
    throw overtaken()
  }

  /** undefined: another change came meanwhile. */
  #outcome(compute: Compute, view: LeaderView): Outcome | Promise<Outcome | undefined> {
    const computed = compute(view)
    if ('kind' in computed) return computed
    const { config, migrations } = view.state
    const { version } = migrations
    return inSlices(computed, this.#parts.clock, () => view.state.config === config && migrations.version === version)
  }

  async #run(compute: Compute, { request, hint }: Waiting): Promise<Answer> {
    for (let attempt = 1; attempt <= attemptsMax; attempt++) {
      const view = await this.#parts.read(hint)
      const answered = request === undefined || request.id.length === 0 ? undefined : this.#parts.answered(request.id)
      if (request !== undefined && answered !== undefined) return repeated(request, answered)
      const outcome = await this.#outcome(compute, view)
      if (outcome === undefined) continue
      if (outcome.kind === 'nothing') {
        return { configNumber: view.state.config?.number ?? 0, note: outcome.note, migrations: outcome.migrations ?? [] }
      }
      const result = await this.#parts.proposals.propose(entryOf(outcome, request?.requested ?? 0), hint)
      // Repeated: an entry of another leader came first; its answer is known now.
      if (result.outcome === 'stale' || result.outcome === 'repeated') continue
      mustBeDone(result)
      return { configNumber: result.configNumber, note: outcome.note, migrations: result.migrations ?? [] }
    }
    throw overtaken()
  }
}

function overtaken(): OstrakaError {
  return new OstrakaError('OVERLOADED', 'other changes kept coming first', true, { waitMs: 500 })
}

/** The answer of the first time. Throws where another change was asked for then. */
function repeated({ id, requested }: NonNullable<Waiting['request']>, answered: AnsweredChange): Answer {
  const { configNumber, migrations } = answered
  if (answered.requested === 0 || answered.requested === requested) return { configNumber, migrations, note: '' }
  throw refused(
    `another change was made under the request id '${utf8Text(id)}' (config ${configNumber}): choose one of its own for each change`,
  )
}

function entryOf(outcome: Exclude<Outcome, { kind: 'nothing' }>, requested: number): ControllerEntry {
  if (outcome.kind === 'change') return { kind: 'change', change: { ...outcome.change, requested } }
  return { kind: 'controllers', controllers: { ...outcome.change, requested } }
}
