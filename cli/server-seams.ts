import { readFileSync } from 'node:fs'
import { GrpcTransport } from '../base/grpc-transport.ts'
import { NodeClock } from '../base/node-clock.ts'
import { NodeFileSystem } from '../base/node-file-system.ts'
import { letHeapGrow } from '../base/node-heap.ts'
import { type LogLevel, nodeLogger } from '../base/node-logger.ts'
import { NodeRandom } from '../base/node-random.ts'
import type { Seams } from '../base/seams.ts'
import { JobLanes } from '../lsm/job-lanes.ts'

/** The seams of a server process on this machine. `fields` are in every line that it logs. */
export function serverSeams(logLevel: LogLevel, fields: object): Seams {
  letHeapGrow()
  const logger = nodeLogger(logLevel, fields)
  return {
    logger,
    clock: new NodeClock(),
    random: new NodeRandom(),
    fileSystem: new NodeFileSystem(),
    executor: new JobLanes({ entry: new URL('../shardserver/worker.js', import.meta.url) }),
    transport: new GrpcTransport({ logger, descriptor: protoDescriptor() }),
  }
}

/** Made by the build from `proto/*.proto`. */
function protoDescriptor(): object {
  const descriptor: unknown = JSON.parse(readFileSync(new URL('../proto/gen/descriptor.json', import.meta.url), 'utf8'))
  return descriptor as object
}
