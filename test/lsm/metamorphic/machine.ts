import type { Executor } from '../../../base/executor.ts'
import { InlineExecutor } from '../../../base/inline-executor.ts'
import { MemoryFileSystem } from '../../../base/memory-file-system.ts'
import { NodeExecutor } from '../../../base/node-executor.ts'
import { BlockCache, lsmJobs, TableFiles } from '../../../lsm/index.ts'
import { type Environment, environmentOf, onNode, openDatabase, simulate } from '../environment.ts'
import { HastyClock } from '../hasty-clock.ts'
import { type History, playHistory } from './history.ts'
import type { Opening, OptionSet } from './option-sets.ts'
import type { Step } from './steps.ts'

/** Plays lists of steps to databases. Keeps its threads from one to the next: to be closed. */
export class Machine {
  readonly #flusher: Executor
  readonly #compactor: Executor

  /** `worker`: lsm/worker.ts as JavaScript. */
  constructor(worker: URL) {
    this.#flusher = new NodeExecutor({ entry: worker })
    this.#compactor = new NodeExecutor({ entry: worker })
  }

  async close(): Promise<void> {
    await this.#flusher.close()
    await this.#compactor.close()
  }

  /** `seed`: of the simulator, for the sets that run there. */
  async play(steps: readonly Step[], set: OptionSet, seed: number): Promise<History> {
    if (set.where === 'memory') return inMemory((environment) => this.#playIn(steps, set, environment))
    if (set.where === 'simulator') {
      const { world, process } = simulate(seed)
      return world.settle(this.#playIn(steps, set, environmentOf(process)), 100_000_000)
    }
    let history: History = []
    await onNode(async (environment) => {
      history = await this.#playIn(steps, set, { ...environment, clock: new HastyClock() })
    })
    return history
  }

  #playIn(steps: readonly Step[], set: OptionSet, environment: Environment): Promise<History> {
    const { wal, wrapExecutor = (executor: Executor) => executor } = set
    const openings: readonly Opening[] = [set, ...(set.later ?? [])]
    let opens = 0
    return playHistory(steps, environment, {
      wal,
      sync: set.sync,
      open: (folder, isCheckpoint) => {
        const { options, cacheBytes, openTables, inline } = openings[(isCheckpoint ? opens : opens++) % openings.length] as Opening
        const inThreads = set.where === 'threads' && inline !== true
        const executor = wrapExecutor(inThreads ? this.#flusher : environment.executor)
        return openDatabase(
          { ...environment, executor },
          {
            ...wholly(options),
            wal,
            folder,
            compactionExecutor: inThreads ? wrapExecutor(this.#compactor) : executor,
            blockCache: new BlockCache(cacheBytes ?? 64 * 1024 * 1024),
            tableFiles: new TableFiles(openTables ?? 1000),
          },
        )
      },
    })
  }
}

/** The database's own defaults where a set does not say: not those of `openDatabase`. */
function wholly(options: OptionSet['options']): OptionSet['options'] {
  const MiB = 1024 * 1024
  return {
    memtableBytes: 64 * MiB,
    targetTableBytes: 16 * MiB,
    blockBytes: 4096,
    level0CompactionTrigger: 4,
    level1Bytes: 64 * MiB,
    levelFactor: 10,
    ...options,
  }
}

async function inMemory(play: (environment: Environment) => Promise<History>): Promise<History> {
  const fileSystem = new MemoryFileSystem()
  await fileSystem.makeFolder('data')
  const clock = new HastyClock()
  const executor = new InlineExecutor(lsmJobs, { fileSystem, clock })
  try {
    return await play({ fileSystem, executor, clock, folder: 'data' })
  } finally {
    await executor.close()
  }
}
