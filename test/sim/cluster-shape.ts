/** What kind of cluster a seed gets. */
import { SeededRandom } from '../../base/random.ts'
import type { SimClusterOptions } from './sim-cluster.ts'

export const shards = 16

/** Places of the groups of a cluster whose shards move: in some all groups share all nodes, in some none. */
const placements: readonly (readonly (readonly string[])[])[] = [
  [
    ['n1', 'n2', 'n3'],
    ['n1', 'n2', 'n3'],
    ['n1', 'n2', 'n3'],
  ],
  [
    ['n1', 'n2', 'n3'],
    ['n2', 'n3', 'n4'],
    ['n1', 'n3', 'n4'],
  ],
  [
    ['n1', 'n2', 'n3'],
    ['n3', 'n4', 'n5'],
    ['n1', 'n4', 'n5'],
  ],
  [
    ['n1', 'n2', 'n3'],
    ['n4', 'n5', 'n6'],
    ['n2', 'n4', 'n6'],
  ],
]

/** Three controllers, three groups, three nodes at least. Small memtables and short logs, so that flushes, compactions and snapshots fall into the run. */
export function drawShape(seed: number, moves: boolean): SimClusterOptions {
  const random = new SeededRandom(seed)
  const balance = new SeededRandom((seed ^ 0x1eade_55) >>> 0)
  const common = {
    controllers: 3,
    groups: 3,
    shards,
    memtableBytes: 16 * 1024 * (1 + random.below(4)),
    snapshotLogBytes: 32 * 1024 * (1 + random.below(4)),
    balanceLeaders: balance.next() < 0.5,
    // Under faults nothing is ever quiet for as long as production waits for it.
    leadersSettledMs: 500 + balance.below(1500),
  }
  if (!moves) return { ...common, nodes: 3 }
  const placement = placements[random.below(placements.length)] ?? []
  return {
    ...common,
    nodes: new Set(placement.flat()).size,
    placement,
    maxMigrations: 1 + random.below(3),
    // In some worlds a copy takes a second or more, so that much happens meanwhile.
    ...(random.next() < 0.4 ? { migrationBytesPerSecond: 2000 + random.below(30_000) } : {}),
  }
}
