import type { Clock } from './clock.ts'
import type { CountingExecutor } from './executor.ts'
import type { FileSystem } from './file-system.ts'
import type { Logger } from './logger.ts'
import type { Random } from './random.ts'
import type { Transport } from './transport.ts'

/** The world of one process: Node's in production, seeded fakes in the simulator. */
export interface Seams {
  readonly clock: Clock
  readonly random: Random
  readonly fileSystem: FileSystem
  readonly executor: CountingExecutor
  readonly transport: Transport
  readonly logger: Logger
}
