/** What the simulator's command can run, by name: scenarios, and deliberate breaks of the code under test. */
import { SeededRandom } from '../../base/random.ts'
import type { UnsafeRaft } from '../../raft/raft-host.ts'
import { type MigrationBreak, migrationBreaks } from '../../shardserver/migration-break.ts'
import { runCluster } from './cluster-run.ts'
import { runMap } from './map-run.ts'
import { hasScript, runScripts } from './move-scripts.ts'
import { runMoves } from './moves-run.ts'

export const scenarios = ['any', 'cluster', 'map', 'moves', 'scripts'] as const

/** 'any': cluster or moves, as the seed has it. 'scripts': `move-scripts.ts`. */
export type Scenario = (typeof scenarios)[number]

const raftBreaks: Readonly<Record<string, UnsafeRaft>> = {
  'no-fsync': { noSync: true },
  'vote-not-persisted': { forgetVote: true },
  'old-term-counted': { countOldTermEntries: true },
  'read-without-quorum': { readWithoutQuorum: true },
}

export const breakNames: readonly string[] = [...Object.keys(raftBreaks), ...migrationBreaks]

export interface ScenarioRun {
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
  readonly recordTrace?: boolean
}

/** The scenario in which a break is looked for where none is named. */
export function scenarioOf(breakName: string): Scenario {
  if (!isMigrationBreak(breakName)) return 'cluster'
  return hasScript(breakName) ? 'scripts' : 'moves'
}

export async function runScenario({ scenario, seed, breakName, recordTrace = false }: RunOptions): Promise<ScenarioRun> {
  const unsafe = breakName === undefined ? undefined : raftBreaks[breakName]
  const broken = breakName !== undefined && isMigrationBreak(breakName) ? breakName : undefined
  switch (scenario === 'any' ? drawn(seed) : scenario) {
    case 'map':
      return await runMap(seed, unsafe)
    case 'moves':
      return await runMoves({ seed, recordTrace, ...(broken === undefined ? {} : { breaks: new Set([broken]) }) })
    case 'scripts':
      return await runScripts(seed, broken, recordTrace)
    default:
      return await runCluster({ seed, recordTrace, ...(unsafe === undefined ? {} : { unsafe }) })
  }
}

function drawn(seed: number): Scenario {
  return new SeededRandom(seed).next() < 0.5 ? 'cluster' : 'moves'
}

function isMigrationBreak(name: string): name is MigrationBreak {
  return (migrationBreaks as readonly string[]).includes(name)
}
