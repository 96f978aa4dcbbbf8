import { SeededRandom } from '../../../base/random.ts'
import { SharedLog } from '../../../raft/log/shared-log.ts'
import type { DiskOptions, Fault } from '../../sim/sim-disk.ts'
import { SimNetwork } from '../../sim/sim-network.ts'
import { SimProcess } from '../../sim/sim-process.ts'
import { World } from '../../sim/world.ts'
import { LogModel } from './log-model.ts'

export interface TrialOptions {
  /** Of the operations that are issued. */
  readonly seed: number
  /** Of what the disk keeps in a crash, and of everything else. */
  readonly draw?: number
  /** Operations issued in each life of the process. */
  readonly steps: number
  /** What goes wrong, by number of the disk's operation; later numbers count from the end of the life before. `times`: so many in a row. */
  readonly faults?: readonly { readonly at: number; readonly fault: Fault | 'kill'; readonly times?: number }[]
  /** At most so many lives; the last one ends with a power loss and is looked at once more. */
  readonly lives?: number
  /** Lives that end by a kill in place of a power loss, from the first on: their page cache goes on to the next. */
  readonly killed?: number
  readonly dataBytes?: number
  readonly segmentBytes?: number
  readonly cacheBytes?: number
  readonly unsafe?: { noSync?: boolean }
  readonly disk?: DiskOptions
}

export interface TrialOutcome {
  /** The disk's operations at the end of each life. */
  readonly operations: readonly number[]
  readonly lost: number
  readonly wrong: number
  readonly what: string
  readonly acknowledged: number
  readonly failures: readonly string[]
  readonly disk: SimProcess['disk']
}

/** Runs a log through lives that end in crashes, and compares what each finds with the model. */
export async function runTrial(options: TrialOptions): Promise<TrialOutcome> {
  const trial = new Trial(options)
  return trial.run()
}

class Trial {
  readonly #options: TrialOptions
  readonly #world: World
  readonly #model = new LogModel()
  readonly #random: SeededRandom
  readonly #failures: string[] = []
  #process: SimProcess

  constructor(options: TrialOptions) {
    this.#options = options
    this.#world = new World({ seed: options.draw ?? 1 })
    this.#random = new SeededRandom(options.seed)
    const network = new SimNetwork(this.#world)
    this.#process = new SimProcess(this.#world, { name: 'n1', network, disk: options.disk ?? {} })
  }

  async run(): Promise<TrialOutcome> {
    const operations: number[] = []
    const lives = this.#options.lives ?? 1
    let problem: { verdict: 'lost' | 'wrong'; what: string } | undefined
    for (let life = 0; life <= lives && problem === undefined; life++) {
      const fault = life < lives ? this.#options.faults?.[life] : undefined
      if (fault !== undefined) this.#inject(fault)
      problem = await this.#live(life < lives ? this.#options.steps : 0)
      operations.push(this.#process.disk.operations)
      if (this.#process.alive) {
        if (life < (this.#options.killed ?? 0)) this.#process.kill()
        else this.#process.powerLoss()
      }
      this.#process = this.#process.restart()
    }
    return {
      operations,
      lost: problem?.verdict === 'lost' ? 1 : 0,
      wrong: problem?.verdict === 'wrong' ? 1 : 0,
      what: problem === undefined ? '' : `${JSON.stringify({ ...this.#options, life: operations.length - 1 })}: ${problem.what}`,
      acknowledged: this.#model.acknowledged,
      failures: this.#failures,
      disk: this.#process.disk,
    }
  }

  #inject(fault: { at: number; fault: Fault | 'kill'; times?: number }): void {
    const process = this.#process
    const at = process.disk.operations + fault.at
    if (fault.fault !== 'kill') for (let i = 0; i < (fault.times ?? 1); i++) process.disk.faultAt(at + i, fault.fault)
    else
      process.disk.inject = (operation) => {
        if (operation.index === at) process.schedule(0, 'kill', () => process.kill())
        return undefined
      }
  }

  /** One life: open, compare, issue operations until they are done, the process died, or the log failed. */
  async #live(steps: number): Promise<{ verdict: 'lost' | 'wrong'; what: string } | undefined> {
    const process = this.#process
    let result: { verdict: 'lost' | 'wrong'; what: string } | undefined
    let done = false
    const work = async () => {
      try {
        const log = await this.#open(process, () => {
          done = true
        })
        result = await this.#model.check(log)
        if (result === undefined) await this.#issue(process, log, steps)
      } catch (error) {
        this.#failures.push(String(error))
      }
      done = true
    }
    void work()
    await this.#world.runUntil(() => done || !process.alive)
    return result
  }

  #open(process: SimProcess, failed: () => void): Promise<SharedLog> {
    const { fileSystem, clock, logger } = process
    const { unsafe, segmentBytes = 6_000, cacheBytes = 8_000 } = this.#options
    const onFailure = (error: Error) => {
      this.#failures.push(String(error))
      failed()
    }
    return SharedLog.open({ fileSystem, clock, logger, folder: 'log', segmentBytes, cacheBytes, onFailure, ...(unsafe && { unsafe }) })
  }

  async #issue(process: SimProcess, log: SharedLog, steps: number): Promise<void> {
    const mix = { dataBytes: this.#options.dataBytes ?? 2_500 }
    let stepsLeft = steps
    while (stepsLeft > 0) {
      for (let i = this.#random.below(5); i >= 0 && stepsLeft > 0; i--, stepsLeft--) this.#model.step(log, this.#random, mix)
      const draw = this.#random.below(20)
      if (draw === 0) await new Promise<void>((resolve) => process.clock.setTimer(60, resolve))
      else if (draw < 12) await new Promise<void>((resolve) => process.clock.setTimer(this.#random.below(3), resolve))
      if (draw === 19) void log.reclaim().catch(() => undefined)
    }
    if (steps > 0) await log.reclaim()
  }
}
