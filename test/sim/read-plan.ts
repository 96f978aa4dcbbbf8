/**
 * How the clients of a run read, and whether its nodes hold leases. Follows from the seed alone, by a stream of its own. Leases and bounds on
 * staleness rest on clocks: where either is played no clock stands while its process is paused, and clocks keep to the bound of a lease.
 */
import { assert } from '../../base/assert.ts'
import { SeededRandom } from '../../base/random.ts'
import type { ReadMode } from '../../client/types.ts'

export interface ReadPlan {
  /** Nodes answer by a lease where they hold one, and a call allows it. */
  readonly leases: boolean
  /** Clocks go on while their processes are paused. */
  readonly trustsClocks: boolean
  /** Of the clients, in turn. Only gets are made stale: what reads many keys checks more than an order. */
  readonly modes: readonly ReadMode[]
  /** Of stale reads. */
  readonly maxStalenessMs: number
}

const allModes: readonly ReadMode[] = ['linearizable', 'lease', 'follower', 'stale']
/** Those that rest on no clock. */
const clocklessModes: readonly ReadMode[] = ['linearizable', 'follower']
/** No clock may be so much faster than a leader's that holds a lease: docs/decisions/0016-leases.md. */
const clockRatioMax = 1 / 0.9

export function drawReads(seed: number, clients: number): ReadPlan {
  const random = new SeededRandom((seed ^ 0x0ead_c10c) >>> 0)
  const trustsClocks = random.next() < 0.6
  const leases = random.next() < 0.7
  const maxStalenessMs = 100 + random.below(900)
  const offered = trustsClocks ? allModes : clocklessModes
  const modes = Array.from({ length: clients }, () => offered[random.below(offered.length)] ?? 'linearizable')
  return { leases: trustsClocks && leases, trustsClocks, modes, maxStalenessMs }
}

/** How old, by true time, a stale answer may be where clocks run at rates from 1 - `clockDrift` on. */
export function staleForMs({ maxStalenessMs }: ReadPlan, clockDrift: number): number {
  return maxStalenessMs / (1 - clockDrift)
}

/** Throws where the plan rests on more than clocks keep. */
export function checkClocks({ leases, trustsClocks, modes }: ReadPlan, clockDrift: number): void {
  assert(trustsClocks || !(leases || modes.includes('stale')), 'leases and stale reads need clocks that never stand')
  assert(!leases || (1 + clockDrift) / (1 - clockDrift) <= clockRatioMax, `clocks that drift by ${clockDrift} are too bad for leases`)
}

/** For people. */
export function describeReads({ leases, trustsClocks, modes, maxStalenessMs }: ReadPlan): string {
  const told = modes.map((mode) => (mode === 'stale' ? `stale (${maxStalenessMs} ms)` : mode))
  return `nodes ${leases ? 'with' : 'without'} leases, reads ${told.join(', ')}${trustsClocks ? '; no clock stands, whatever a pause says' : ''}`
}
