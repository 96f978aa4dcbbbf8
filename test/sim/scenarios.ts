/** What the simulator's command can run, by name: scenarios, and deliberate breaks of the code under test. */
import { SeededRandom } from '../../base/random.ts'
import type { UnsafeRaft } from '../../raft/raft-host.ts'
import { type MigrationBreak, migrationBreaks } from '../../shardserver/migration-break.ts'
import { runCluster } from './cluster-run.ts'
import { runMap } from './map-run.ts'
import { hasScript, runScripts } from './move-scripts.ts'

export const scenarios = ['any', 'cluster', 'map', 'moves', 'scripts'] as const

/** 'any': cluster or moves, as the seed has it. 'scripts': `move-scripts.ts`. */
export type Scenario = (typeof scenarios)[number]

/** A disk that lies is the loss of its replica; one whose loss nobody is told of must be noticed. */
const lyingDisks = 'lying-disks'

const raftBreaks: Readonly<Record<string, UnsafeRaft>> = {
  'no-fsync': { noSync: true },
  'vote-not-persisted': { forgetVote: true },
  'old-term-counted': { countOldTermEntries: true },
  'read-without-quorum': { readWithoutQuorum: true },
}

export const breakNames: readonly string[] = [...Object.keys(raftBreaks), lyingDisks, ...migrationBreaks]

export interface ScenarioRun {
  /** What 'any' was. */
  readonly kind: Scenario
  readonly traceHash: string
  readonly traceLines?: readonly string[]
  readonly virtualMs: number
  readonly operations: number
  readonly faults: number
  readonly moves?: number
  readonly strikes?: readonly string[]
}

export interface RunOptions {
  readonly scenario: Scenario
  readonly seed: number
  /** One of `breakNames`. */
  readonly breakName?: string | undefined
  /** The faults that may happen, by name; all if not given. Not for maps and scripts. */
  readonly only?: ReadonlySet<string> | undefined
  readonly recordTrace?: boolean
}

/** The scenario in which a break is looked for where none is named. */
export function scenarioOf(breakName: string): Scenario {
  if (!isMigrationBreak(breakName)) return 'cluster'
  return hasScript(breakName) ? 'scripts' : 'moves'
}

export async function runScenario({ scenario, seed, breakName, only, recordTrace = false }: RunOptions): Promise<ScenarioRun> {
  const unsafe = breakName === undefined ? undefined : raftBreaks[breakName]
  const broken = breakName !== undefined && isMigrationBreak(breakName) ? breakName : undefined
  const kind = scenario === 'any' ? drawn(seed) : scenario
  if (kind === 'map') return { kind, ...(await runMap(seed, unsafe)) }
  if (kind === 'scripts') return { kind, ...(await runScripts(seed, broken, recordTrace)) }
  const run = await runCluster({
    seed,
    moves: kind === 'moves',
    recordTrace,
    lyingDisks: breakName === lyingDisks,
    ...(unsafe === undefined ? {} : { unsafe }),
    ...(broken === undefined ? {} : { breaks: new Set([broken]) }),
    ...(only === undefined ? {} : { only }),
  })
  return { kind, ...run }
}

const movesProbability = 0.25

function drawn(seed: number): Scenario {
  return new SeededRandom(seed).next() < movesProbability ? 'moves' : 'cluster'
}

function isMigrationBreak(name: string): name is MigrationBreak {
  return (migrationBreaks as readonly string[]).includes(name)
}
