import type { Clock, Timer } from '../base/clock.ts'
import type { pb } from '../proto/messages.ts'
import { type BalanceKnowledge, busyWith, computeBalanceStep, shardTable } from './auto-rebalance.ts'
import { type Episode, nextEpisode, noEpisode, unevenness } from './balance-episode.ts'
import { type BalanceRules, encodeRules } from './balance-rules.ts'
import type { Measure } from './balance-totals.ts'
import { type Compute, configOf, type LeaderView, type Outcome } from './leader-view.ts'
import type { Liveness } from './liveness.ts'
import { RestingShards } from './resting-shards.ts'
import type { Slices } from './slices.ts'
import type { ToldLoads } from './told-loads.ts'

const everyMs = 5000
/** After each migration, so that its effect is seen before the next one: sizes are told anew, and load has gone where the shard is. */
const pauseMs = 30_000
/** A leader that comes after one that died counts from nothing: three half-lives of what it tells. */
const settledMs = 90_000
const sizesUnknown = 'the size of a shard is not known'

export interface AutoRebalancerParts {
  readonly clock: Clock
  readonly view: () => LeaderView
  readonly isLeader: () => boolean
  readonly liveness: Pick<Liveness, 'leaderOf' | 'leaderSinceMs' | 'isKnown'>
  readonly loads: Pick<ToldLoads, 'isFresh' | 'rates'>
  /** Has the outcome of a computation proposed; never rejects. */
  readonly submit: (compute: Compute) => Promise<void>
}

/**
 * Moves shards without being asked for, where the rules say so: looks now and then how uneven the groups are, and plans a step where they have been
 * for long, one after the other. Only the controllers' leader does. The caller's duties: `begin` at each term in which this controller leads, `changed`
 * after each change of state, and `close`.
 */
export class AutoRebalancer {
  readonly #parts: AutoRebalancerParts
  readonly #resting = new RestingShards()
  readonly #episodes: Record<Measure, Episode> = { load: noEpisode, size: noEpisode }
  #timer: Timer | undefined
  #busy = false
  #closed = false

  constructor(parts: AutoRebalancerParts) {
    this.#parts = parts
  }

  begin(): void {
    this.#resting.begin(this.#parts.view().state.migrations, this.#nowMs)
    this.#reset()
    this.changed()
  }

  changed(): void {
    if (this.#closed || !this.#parts.isLeader()) return
    const { state } = this.#parts.view()
    this.#resting.look(state.migrations, this.#nowMs)
    if (state.balanceRules.on && this.#timer === undefined && !this.#busy) this.#wait()
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
  }

  /** For people. */
  status(): pb.v1.AutoRebalanceStatus.$Properties {
    const view = this.#parts.view()
    const rules = view.state.balanceRules
    const unknown = this.#unknown(view)
    const table = unknown === undefined ? shardTable(view, this.#knowledge(view)) : undefined
    const shown = (measure: Measure): pb.v1.Imbalance.$Properties => {
      if (table === undefined) return {}
      const { group, ratio } = unevenness(table, rules, measure)
      return { group, ratio, active: this.#episodes[measure].active }
    }
    const waitsFor = unknown ?? (table === undefined ? sizesUnknown : this.#waitsFor(view))
    return { rules: encodeRules(rules), load: shown('load'), size: shown('size'), waitsFor: waitsFor ?? '' }
  }

  get #nowMs(): number {
    return this.#parts.clock.monotonicMs()
  }

  #reset(): void {
    this.#episodes.load = noEpisode
    this.#episodes.size = noEpisode
  }

  #wait(): void {
    this.#timer = this.#parts.clock.setTimer(everyMs, () => this.#run())
  }

  #run(): void {
    this.#timer = undefined
    const rules = this.#rulesToFollow()
    if (rules === undefined) {
      this.#reset()
      return
    }
    this.#busy = true
    this.#look(rules).finally(() => {
      this.#busy = false
      if (this.#rulesToFollow() !== undefined) this.#wait()
    })
  }

  /** undefined: it is not to be done, or not by this controller. */
  #rulesToFollow(): BalanceRules | undefined {
    if (this.#closed || !this.#parts.isLeader()) return undefined
    const rules = this.#parts.view().state.balanceRules
    return rules.on ? rules : undefined
  }

  async #look(rules: BalanceRules): Promise<void> {
    const view = this.#parts.view()
    this.#resting.look(view.state.migrations, this.#nowMs)
    const table = this.#unknown(view) === undefined ? shardTable(view, this.#knowledge(view)) : undefined
    if (table === undefined) {
      this.#reset()
      return
    }
    const wanted: Measure[] = [...(rules.byLoad ? (['load'] as const) : []), ...(rules.bySize ? (['size'] as const) : [])]
    for (const measure of ['load', 'size'] as const) {
      const seen = unevenness(table, rules, measure)
      this.#episodes[measure] = wanted.includes(measure) ? nextEpisode(this.#episodes[measure], seen, rules, this.#nowMs) : noEpisode
    }
    if (this.#waitsFor(view) !== undefined) return
    for (const measure of wanted) if (this.#episodes[measure].active && (await this.#step(rules, measure))) return
  }

  /** Plans the next step. False: there is none that is worth it, which ends the episode. */
  async #step(rules: BalanceRules, measure: Measure): Promise<boolean> {
    let isFound = true
    const note = ({ kind }: Outcome) => {
      isFound = kind === 'change'
    }
    await this.#parts.submit((view) => noted(computeBalanceStep(view, this.#knowledge(view), rules, measure), note))
    if (!isFound) this.#episodes[measure] = noEpisode
    return isFound
  }

  #knowledge(view: LeaderView): BalanceKnowledge {
    const { shardCount } = configOf(view)
    const nowMs = this.#nowMs
    const { restMs } = view.state.balanceRules
    return { rates: this.#parts.loads.rates(shardCount, nowMs), isResting: (shard) => this.#resting.isResting(shard, restMs, nowMs) }
  }

  /** Why the figures say nothing; undefined: they do. */
  #unknown(view: LeaderView): string | undefined {
    const { liveness, loads } = this.#parts
    if (!liveness.isKnown) return 'the controllers have a new leader'
    for (const { uid, name } of configOf(view).groups) {
      const leader = liveness.leaderOf(uid)
      if (leader === '') return `${name} has no leader that is heard`
      if (!loads.isFresh(leader, this.#nowMs)) return `${leader} has not told what it serves`
      if (this.#nowMs - liveness.leaderSinceMs(uid) < settledMs) return `${name} has a new leader`
    }
    return undefined
  }

  /** Why nothing is moved now, however uneven it is. */
  #waitsFor(view: LeaderView): string | undefined {
    const nowMs = this.#nowMs
    const busy = busyWith(view)
    if (busy !== undefined) return busy
    if (nowMs - this.#resting.failedMs < view.state.balanceRules.restMs) return 'its last migration came to nothing'
    return nowMs - this.#resting.endedMs < pauseMs ? 'a migration ended a moment ago' : undefined
  }
}

function* noted(slices: Slices<Outcome>, note: (outcome: Outcome) => void): Slices<Outcome> {
  const outcome = yield* slices
  note(outcome)
  return outcome
}
