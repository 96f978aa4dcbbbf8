/** Faults one after the other, under load: after each the cluster heals, and how long writes were away is measured. */
import { setTimeout as delay } from 'node:timers/promises'
import type { SeededRandom } from '../../../base/random.ts'
import { diskFaults } from '../faults/disk-faults.ts'
import { type Fault, type FaultMaker, pick } from '../faults/fault.ts'
import { linkFaults } from '../faults/link-faults.ts'
import { processFaults } from '../faults/process-faults.ts'
import { type Figures, fail, type Stage } from './stage.ts'

const makers: Readonly<Record<string, FaultMaker>> = { ...processFaults, ...linkFaults, ...diskFaults }

export type FaultKind = keyof typeof processFaults | keyof typeof linkFaults | keyof typeof diskFaults

export const pauses: readonly FaultKind[] = ['pause-leader', 'pause-node', 'pause-controller']
export const partitions = Object.keys(linkFaults) as FaultKind[]
export const kills: readonly FaultKind[] = ['kill-leader', 'kill-node', 'kill-controller', 'kill-controllers', 'kill-nodes']
export const powerCuts: readonly FaultKind[] = ['power-cut', 'power-cut-of-all']
export const failingSyncs: readonly FaultKind[] = ['fsync-error', 'fsync-stall']
export const restarts: readonly FaultKind[] = ['restart', 'restart-controller']

export interface FaultsOptions {
  readonly kinds: readonly FaultKind[]
  /** At least so long. */
  readonly seconds: number
  /** Election timeouts in which writes must have resumed: in the median, and at most. */
  readonly resumeTimeouts: { readonly median: number; readonly max: number }
}

/** Between two faults, ms: from so long to twice. */
const restMs = 800
/** A median of fewer says nothing. */
const outagesOfMedian = 10
/** Whatever the limits are: a group that takes no write for so long is down, and how long it was away is not to be told. */
const resumedMsMax = 60_000
/** After a fault's end its consequences are looked at for so many election timeouts. */
const afterTimeouts = 2

export async function faults(stage: Stage, options: FaultsOptions): Promise<Figures> {
  const { cluster, prober, random } = stage
  const { electionTimeoutMs } = cluster.options
  const record = new Outages(electionTimeoutMs)
  const order = shuffled(random, options.kinds)
  const end = performance.now() + options.seconds * 1000
  for (let turn = 0; performance.now() < end; turn++) {
    await cluster.healthy()
    await delay(restMs * (1 + random.next()))
    const kind = order[turn] ?? pick(random, order) ?? 'restart'
    const leaders = await cluster.leaders()
    const fault = makers[kind]?.({ cluster, random, leaders, images: stage.images, shim: stage.shim })
    if (fault === undefined) continue
    const beginMs = performance.now()
    prober.forgetBefore(beginMs)
    await fault.begin()
    await delay(fault.lastsMs)
    await fault.end()
    const endMs = performance.now()
    await cluster.healthy()
    await delay(Math.max(0, endMs + afterTimeouts * electionTimeoutMs - performance.now()))
    const fromMs = fault.resumesFrom === 'begin' ? beginMs : endMs
    for (const group of cluster.groups) await prober.resumed(group, fromMs, resumedMsMax)
    record.add(kind, fault, stage, fromMs, beginMs)
  }
  const figures = record.figures()
  record.judge(options.resumeTimeouts, figures)
  return figures
}

/** Each kind once, then at random: so a run that is long enough has had them all. */
function shuffled(random: SeededRandom, kinds: readonly FaultKind[]): FaultKind[] {
  const order = [...kinds]
  for (let i = order.length - 1; i > 0; i--) {
    const j = random.below(i + 1)
    const [a, b] = [order[i], order[j]]
    if (a !== undefined && b !== undefined) [order[i], order[j]] = [b, a]
  }
  return order
}

/** What became of writes in each fault. */
class Outages {
  readonly #electionTimeoutMs: number
  readonly #counts: { [kind: string]: number } = {}
  readonly #resumesMs: number[] = []
  readonly #silencesMs: number[] = []
  #bystanderMs = 0
  #slowest = ''
  #slowestMs = 0
  #slowestBystander = ''

  constructor(electionTimeoutMs: number) {
    this.#electionTimeoutMs = electionTimeoutMs
  }

  add(kind: FaultKind, fault: Fault, { cluster, prober }: Stage, fromMs: number, beginMs: number): void {
    this.#counts[kind] = (this.#counts[kind] ?? 0) + 1
    const told: string[] = []
    for (const group of cluster.groups) {
      const isHit = fault.hits.includes(group)
      const outage = prober.outageSince(group, isHit ? fromMs : beginMs)
      if (outage === undefined) throw new Error(`${fault.what}: ${group} took no write after it`)
      told.push(`${group} ${Math.round(outage.resumeMs)}/${Math.round(outage.silenceMs)} ms${isHit ? '' : ' (not hit)'}`)
      if (isHit) this.#addHit(fault, outage.resumeMs, outage.silenceMs)
      else if (outage.silenceMs > this.#bystanderMs) {
        this.#bystanderMs = outage.silenceMs
        this.#slowestBystander = `${group} while ${fault.what}`
      }
    }
    console.log(`  ${fault.what}: ${told.join(', ')}`)
  }

  figures() {
    const median = (values: readonly number[]) => Math.round([...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0)
    const max = (values: readonly number[]) => Math.round(Math.max(0, ...values))
    return {
      faults: Object.values(this.#counts).reduce((sum, count) => sum + count, 0),
      byKind: this.#counts,
      outages: this.#resumesMs.length,
      resumeMedianMs: median(this.#resumesMs),
      resumeMaxMs: max(this.#resumesMs),
      silenceMedianMs: median(this.#silencesMs),
      silenceMaxMs: max(this.#silencesMs),
      slowest: this.#slowest,
      notHitSilenceMaxMs: Math.round(this.#bystanderMs),
      slowestNotHit: this.#slowestBystander,
    }
  }

  judge(timeouts: FaultsOptions['resumeTimeouts'], figures: ReturnType<Outages['figures']>): void {
    const limitMs = (count: number) => count * this.#electionTimeoutMs
    if (figures.outages >= outagesOfMedian && figures.resumeMedianMs > limitMs(timeouts.median))
      fail(`writes resume after more than ${timeouts.median} timeouts`, figures)
    if (figures.silenceMaxMs > limitMs(timeouts.max)) fail(`writes were away for more than ${timeouts.max} timeouts`, figures)
  }

  #addHit(fault: Fault, resumeMs: number, silenceMs: number): void {
    this.#resumesMs.push(resumeMs)
    this.#silencesMs.push(silenceMs)
    if (silenceMs <= this.#slowestMs) return
    this.#slowestMs = silenceMs
    this.#slowest = fault.what
  }
}
