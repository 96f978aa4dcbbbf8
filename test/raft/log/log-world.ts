import type { Entry } from '../../../raft/core/types.ts'
import type { GroupLog } from '../../../raft/log/group-log.ts'
import { SharedLog, type SharedLogOptions } from '../../../raft/log/shared-log.ts'
import type { SimDisk } from '../../sim/sim-disk.ts'
import { SimNetwork } from '../../sim/sim-network.ts'
import { SimProcess } from '../../sim/sim-process.ts'
import { World } from '../../sim/world.ts'

/** A log on a simulated disk, for looking at and tampering with its files between starts. */
export class LogWorld {
  readonly world: World
  readonly failures: Error[] = []
  process: SimProcess

  constructor(seed = 1) {
    this.world = new World({ seed })
    this.process = new SimProcess(this.world, { name: 'n1', network: new SimNetwork(this.world), disk: { recordTrace: true } })
  }

  get disk(): SimDisk {
    return this.process.disk
  }

  open(options: Partial<SharedLogOptions> = {}): Promise<SharedLog> {
    const { fileSystem, clock, logger } = this.process
    const onFailure = (error: Error) => this.failures.push(error)
    return this.world.settle(SharedLog.open({ fileSystem, clock, logger, folder: 'log', onFailure, ...options }))
  }

  /** Appends, and waits until it is durable. */
  append(log: GroupLog, entries: readonly Entry[], hardState?: { term: number; vote: number; commit: number }): Promise<void> {
    return this.world.settle(new Promise<void>((resolve) => log.append(entries, hardState, resolve)))
  }

  /** kill -9, and the next start. */
  restart(): void {
    this.process.kill()
    this.process = this.process.restart()
  }

  /** The segment files, oldest first. */
  files(): string[] {
    return this.disk.paths().filter((path) => path.endsWith('.log'))
  }
}

export function makeEntries(from: number, to: number, term: number, bytes: number): Entry[] {
  const entries: Entry[] = []
  for (let index = from; index <= to; index++) entries.push({ index, term, kind: 0, data: new Uint8Array(bytes).fill(index + term) })
  return entries
}
