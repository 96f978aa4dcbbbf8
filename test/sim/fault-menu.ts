/**
 * What a seed may suffer. Each seed draws some kinds of fault and leaves the others out (a swarm): a fault that always comes with ten others
 * hides what it does alone. The menu follows from the seed only, so it can be told before and after a run.
 */
import { SeededRandom } from '../../base/random.ts'
import type { Rhythm } from './load.ts'

export type FaultKind =
  // Processes
  | 'kill'
  | 'power-loss'
  | 'power-loss-of-all'
  | 'bounce'
  | 'pause'
  | 'shut-down'
  // Leadership
  | 'transfer'
  | 'depose'
  // The network
  | 'partition'
  | 'flaky'
  | 'slow-network'
  | 'clog'
  // Disks
  | 'slow-disk'
  | 'disk-stall'
  | 'sync-fails'
  | 'folder-sync-fails'
  | 'read-fails'
  | 'disk-full'
  // Disks, for good: at most a minority of each group's machines.
  | 'bit-rot'
  | 'misdirected-write'
  | 'stale-read'
  | 'truncation'
  | 'lying-sync'
  | 'wipe'
  // Clocks
  | 'wall-jump'
  | 'wall-strobe'

/** Drawn from a stream of their own, and in half of the seeds none of them: what the other half plays is as it was before there were these. */
const laterWeights = {
  'folder-sync-fails': 1,
  'read-fails': 1,
  'stale-read': 0.5,
  truncation: 0.5,
  'wall-strobe': 1,
} as const

const weights: Readonly<Record<Exclude<FaultKind, keyof typeof laterWeights>, number>> = {
  kill: 4,
  'power-loss': 4,
  'power-loss-of-all': 1,
  bounce: 4,
  pause: 3,
  'shut-down': 2,
  transfer: 3,
  depose: 2,
  partition: 5,
  flaky: 2,
  'slow-network': 1,
  clog: 2,
  'slow-disk': 2,
  'disk-stall': 1,
  'sync-fails': 1,
  'disk-full': 1,
  'bit-rot': 0.5,
  'misdirected-write': 0.5,
  'lying-sync': 0.5,
  wipe: 0.5,
  'wall-jump': 1,
}

const kinds = Object.entries(weights) as [FaultKind, number][]
const laterKinds = Object.entries(laterWeights) as [FaultKind, number][]

/** Faults of machines whose disks are never touched by them: what three bare replicas of a map are put through. */
export const plainFaults: ReadonlySet<FaultKind> = new Set<FaultKind>([
  'kill',
  'power-loss',
  'power-loss-of-all',
  'bounce',
  'pause',
  'shut-down',
  'transfer',
  'depose',
  'partition',
  'flaky',
  'clog',
])

/** Those that leave a machine damaged for good. */
export const lastingFaults: ReadonlySet<FaultKind> = new Set<FaultKind>([
  'bit-rot',
  'misdirected-write',
  'stale-read',
  'truncation',
  'lying-sync',
  'wipe',
])

/** Everything that passes. */
export const passingFaults: ReadonlySet<FaultKind> = new Set(
  [...kinds, ...laterKinds].map(([kind]) => kind).filter((kind) => !lastingFaults.has(kind)),
)

const kindProbability = 0.55
const laterProbability = 0.5

export interface FaultMenu {
  /** Kind → weight: the odds among those that are on the menu. */
  readonly faults: ReadonlyMap<FaultKind, number>
  /** Mean time between two faults. */
  readonly intervalMs: number
  /** Monotonic clocks run at rates from 1 - drift to 1 + drift. */
  readonly clockDrift: number
  /** When the faults end a minority stays broken for a while: the rest must serve. */
  readonly deadMinority: boolean
  /** Undefined: clients call all the time. */
  readonly rhythm: Rhythm | undefined
  /** All clients together, rests included. */
  readonly callsPerSecond: number
}

export interface MenuOptions {
  readonly seed: number
  /** Mean over all seeds. */
  readonly intervalMs: number
  /** Kinds that may be on it; all if not given. */
  readonly kinds?: ReadonlySet<FaultKind>
}

export function drawMenu({ seed, intervalMs, kinds: offered }: MenuOptions): FaultMenu {
  const random = new SeededRandom((seed ^ 0x5eed_fa17) >>> 0)
  const faults = new Map<FaultKind, number>()
  const draw = (source: SeededRandom, [kind, usual]: readonly [FaultKind, number], isOffered: boolean) => {
    // Always the same draws: a kind that is not offered does not change the others' luck.
    const isChosen = source.next() < kindProbability
    const weight = usual * (0.3 + source.next() * 1.7)
    if (isChosen && isOffered && (offered === undefined || offered.has(kind))) faults.set(kind, weight)
  }
  for (const kind of kinds) draw(random, kind, true)
  const later = new SeededRandom((seed ^ 0x1a7e_fa17) >>> 0)
  const isLater = later.next() < laterProbability
  for (const kind of laterKinds) draw(later, kind, isLater)
  if (faults.size === 0) faults.set('kill', 1)
  return {
    faults,
    intervalMs: intervalMs * (0.25 + random.next() * 1.75),
    clockDrift: [0, 0.001, 0.05][random.below(3)] ?? 0,
    deadMinority: random.next() < 0.5,
    rhythm: drawRhythm(random),
    callsPerSecond: 20 + random.below(25),
  }
}

/** In most runs the groups are to go quiet again and again. */
function drawRhythm(random: SeededRandom): Rhythm | undefined {
  const rests = random.next() < 0.75
  const burstMs = 200 + random.below(1000)
  const restMs = Math.round(burstMs * (2 + 6 * random.next()))
  return rests ? { burstMs, restMs } : undefined
}

/** One line for people. */
export function describeMenu({ faults, intervalMs, clockDrift, deadMinority, rhythm }: FaultMenu): string {
  const names = [...faults].sort((a, b) => b[1] - a[1]).map(([kind, weight]) => `${kind} ${weight.toFixed(1)}`)
  const rests = rhythm === undefined ? '' : `; clients call for ${rhythm.burstMs} ms and rest for ${rhythm.restMs} ms`
  return `a fault each ${Math.round(intervalMs)} ms of ${names.join(', ')}; clocks ±${clockDrift * 100} %${deadMinority ? '; a minority stays broken for a while' : ''}${rests}`
}

/** One of the menu; `draw` from 0 to 1. */
export function pickFault({ faults }: FaultMenu, draw: number): FaultKind {
  let ticket = draw * [...faults.values()].reduce((sum, weight) => sum + weight, 0)
  for (const [kind, weight] of faults) {
    ticket -= weight
    if (ticket < 0) return kind
  }
  return [...faults.keys()][0] ?? 'kill'
}
