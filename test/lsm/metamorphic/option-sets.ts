import type { Executor } from '../../../base/executor.ts'
import { SeededRandom } from '../../../base/random.ts'
import type { DatabaseOptions } from '../../../lsm/index.ts'
import { smallOptions } from '../environment.ts'

/** With what a database is opened. */
export interface Opening {
  readonly options: Pick<
    DatabaseOptions,
    | 'memtableBytes'
    | 'boundaryOf'
    | 'targetTableBytes'
    | 'blockBytes'
    | 'bloomBitsPerKey'
    | 'compression'
    | 'level0CompactionTrigger'
    | 'level0SlowdownTrigger'
    | 'level0StopTrigger'
    | 'level1Bytes'
    | 'levelFactor'
    | 'maxCompactions'
    | 'compactionBytesPerSecond'
  >
  /** Default 64 MiB. */
  readonly cacheBytes?: number
  /** Default 1,000. */
  readonly openTables?: number
  /** With `threads`: jobs run on the calling thread all the same. */
  readonly inline?: boolean
}

/** How one of the databases that must all give the same history is made. */
export interface OptionSet extends Opening {
  readonly name: string
  /** Jobs run on the calling thread, but with `threads`, which is on the real disk. */
  readonly where: 'memory' | 'disk' | 'threads' | 'simulator'
  readonly wal: boolean
  /** In turn, at each further open, the first of them at the second one. Not given: it is opened the same each time. */
  readonly later?: readonly Opening[]
  /** In the place of what each write asks for. */
  readonly sync?: boolean
  /** A deliberate break. */
  readonly wrapExecutor?: (executor: Executor) => Executor
}

const tiny = {
  memtableBytes: 1024,
  blockBytes: 64,
  targetTableBytes: 1024,
  level0CompactionTrigger: 1,
  level1Bytes: 1024,
  levelFactor: 2,
} as const
const neverCompacts = { level0CompactionTrigger: 1000, level0SlowdownTrigger: 999, level0StopTrigger: 1000 } as const

/** Each as far from the one before as can be. */
const later: readonly Opening[] = [
  { options: { ...tiny, compression: 'deflate', maxCompactions: 3 }, cacheBytes: 0, openTables: 1, inline: true },
  { options: {} },
  {
    options: { ...smallOptions, blockBytes: 5000, compression: 'snappy', bloomBitsPerKey: 1, boundaryOf: { prefixBytes: 1 } },
    cacheBytes: 700,
  },
  { options: { ...tiny, blockBytes: 512, bloomBitsPerKey: 40, maxCompactions: 2 }, cacheBytes: 4000, openTables: 3 },
  { options: { ...smallOptions, ...neverCompacts, memtableBytes: 100_000 }, inline: true },
]

/** Extremes of each option, one by one. */
export const fixedSets: readonly OptionSet[] = [
  { name: 'defaults', where: 'memory', wal: true, options: {} },
  { name: 'small', where: 'memory', wal: true, options: smallOptions },
  { name: 'tiny', where: 'memory', wal: true, options: tiny, cacheBytes: 0 },
  { name: 'no-wal', where: 'memory', wal: false, options: smallOptions },
  { name: 'tiny-no-wal', where: 'memory', wal: false, options: tiny, cacheBytes: 700 },
  { name: 'no-cache', where: 'memory', wal: true, options: smallOptions, cacheBytes: 0 },
  { name: 'tiny-cache', where: 'memory', wal: true, options: smallOptions, cacheBytes: 700 },
  { name: 'one-open-table', where: 'memory', wal: true, options: tiny, cacheBytes: 700, openTables: 1 },
  { name: 'two-open-tables', where: 'simulator', wal: false, options: smallOptions, cacheBytes: 0, openTables: 2 },
  { name: 'one-bit-filter', where: 'memory', wal: true, options: { ...smallOptions, bloomBitsPerKey: 1 } },
  { name: 'long-filter', where: 'memory', wal: true, options: { ...smallOptions, bloomBitsPerKey: 40 } },
  { name: 'deflate', where: 'memory', wal: true, options: { ...smallOptions, compression: 'deflate' }, cacheBytes: 4000 },
  { name: 'snappy', where: 'threads', wal: true, options: { ...smallOptions, compression: 'snappy' } },
  { name: 'snappy-no-wal', where: 'simulator', wal: false, options: { ...smallOptions, compression: 'snappy' }, cacheBytes: 700 },
  { name: 'prefix', where: 'memory', wal: true, options: { ...smallOptions, targetTableBytes: 4096, boundaryOf: { prefixBytes: 1 } } },
  { name: 'never-compacts', where: 'memory', wal: true, options: { ...smallOptions, ...neverCompacts } },
  { name: 'four-compactions', where: 'memory', wal: true, options: { ...tiny, maxCompactions: 4 } },
  { name: 'four-throttled', where: 'simulator', wal: false, options: { ...tiny, maxCompactions: 4, compactionBytesPerSecond: 2 ** 20 } },
  { name: 'never-syncs', where: 'memory', wal: true, options: smallOptions, sync: false },
  { name: 'always-syncs', where: 'memory', wal: true, options: smallOptions, sync: true },
  { name: 'disk', where: 'disk', wal: true, options: smallOptions, cacheBytes: 4000 },
  { name: 'threads', where: 'threads', wal: true, options: smallOptions },
  { name: 'threads-no-wal', where: 'threads', wal: false, options: { ...smallOptions, boundaryOf: { prefixBytes: 2 } }, cacheBytes: 0 },
  { name: 'simulator', where: 'simulator', wal: true, options: smallOptions, cacheBytes: 2000 },
  { name: 'simulator-no-wal', where: 'simulator', wal: false, options: tiny },
  { name: 'other-each-time', where: 'memory', wal: true, options: smallOptions, later },
  { name: 'other-each-time-no-wal', where: 'simulator', wal: false, options: smallOptions, later },
  { name: 'other-each-time-threads', where: 'threads', wal: true, options: smallOptions, later },
]

/** A set with everything drawn, named after its seed. */
export function randomSet(seed: number): OptionSet {
  const random = new SeededRandom(seed)
  const name = `random-${seed}`
  const where = random.below(4) === 0 ? 'simulator' : 'memory'
  const wal = random.below(3) > 0
  const opening = randomOpening(random)
  const later = random.below(2) === 0 ? undefined : Array.from({ length: 3 }, () => randomOpening(random))
  return { name, where, wal, ...opening, ...(later === undefined ? {} : { later }) }
}

function randomOpening(random: SeededRandom): Opening {
  const upTo = (least: number, most: number) => Math.floor(least * (most / least) ** random.next())
  return {
    options: {
      memtableBytes: upTo(1024, 100_000),
      blockBytes: upTo(64, 10_000),
      bloomBitsPerKey: 1 + random.below(20),
      targetTableBytes: upTo(1024, 50_000),
      boundaryOf: random.below(2) === 0 ? 'none' : { prefixBytes: 1 + random.below(8) },
      level0CompactionTrigger: 1 + random.below(6),
      level1Bytes: upTo(1024, 50_000),
      levelFactor: 2 + random.below(9),
      compression: (['none', 'deflate', 'snappy'] as const)[random.below(3)] ?? 'none',
      maxCompactions: 1 + random.below(3),
    },
    cacheBytes: random.below(4) === 0 ? 0 : upTo(100, 100_000),
    openTables: upTo(1, 50),
  }
}

/** Throws an Error that names the sets there are. */
export function setByName(name: string): OptionSet {
  const seed = /^random-(\d+)$/.exec(name)?.[1]
  const found = seed === undefined ? fixedSets.find((set) => set.name === name) : randomSet(Number(seed))
  if (found === undefined) throw new Error(`no option set ${name}; known: ${fixedSets.map((set) => set.name).join(', ')}, random-SEED`)
  return found
}
