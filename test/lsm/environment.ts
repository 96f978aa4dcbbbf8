import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import type { Clock } from '../../base/clock.ts'
import type { Executor } from '../../base/executor.ts'
import type { FileSystem } from '../../base/file-system.ts'
import { InlineExecutor } from '../../base/inline-executor.ts'
import { silentLogger } from '../../base/logger.ts'
import { NodeClock } from '../../base/node-clock.ts'
import { NodeFileSystem } from '../../base/node-file-system.ts'
import { Database, type DatabaseOptions, lsmJobs } from '../../lsm/index.ts'
import type { SimDisk } from '../sim/sim-disk.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'

/** Where a database under test lives. */
export interface Environment {
  readonly fileSystem: FileSystem
  readonly executor: Executor
  readonly clock: Clock
  /** Exists, and is empty at first. */
  readonly folder: string
}

/** Small enough that a few hundred records fill memtables, tables and levels. */
export const smallOptions = {
  memtableBytes: 4096,
  targetTableBytes: 2048,
  blockBytes: 256,
  level0CompactionTrigger: 2,
  level1Bytes: 4096,
  levelFactor: 3,
} as const

export function openDatabase(environment: Environment, options: Partial<DatabaseOptions> = {}): Promise<Database> {
  const { fileSystem, executor, clock, folder } = environment
  return Database.open({ fileSystem, executor, clock, logger: silentLogger, folder: `${folder}/db`, ...smallOptions, ...options })
}

/** Runs `test` over the real file system in a temporary folder. */
export async function onNode(test: (environment: Environment) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'ostraka-lsm-'))
  const fileSystem = new NodeFileSystem()
  const clock = new NodeClock()
  const executor = new InlineExecutor(lsmJobs, { fileSystem, clock })
  try {
    await test({ fileSystem, executor, clock, folder })
  } finally {
    await executor.close()
    await rm(folder, { recursive: true })
  }
}

export interface Simulation {
  readonly world: World
  readonly process: SimProcess
  readonly disk: SimDisk
}

export function simulate(seed: number): Simulation {
  const world = new World({ seed })
  const process = new SimProcess(world, { name: 'db', network: new SimNetwork(world), jobs: lsmJobs })
  process.disk.makeFolder('data')
  process.disk.beginFolderSync('')()
  return { world, process, disk: process.disk }
}

export function environmentOf(process: SimProcess): Environment {
  return { fileSystem: process.fileSystem, executor: process.executor, clock: process.clock, folder: 'data' }
}

/** Runs `test` on a simulated machine. */
export async function onSimulator(test: (environment: Environment) => Promise<void>): Promise<void> {
  const { world, process } = simulate(7)
  await world.settle(test(environmentOf(process)), 10_000_000)
}
