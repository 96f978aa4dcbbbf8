import type { Seams } from '../base/seams.ts'
import type { DataDirectory } from './data-directory.ts'
import type { ProcessSettings } from './process.ts'
import { RaftHost } from './raft-host.ts'

/** Opens the host of a server process as its settings say. `resolve` and `onFatal`: see RaftHostOptions. Throws as `RaftHost.open` does. */
export function openHost(
  settings: ProcessSettings,
  seams: Seams,
  directory: DataDirectory,
  resolve: (node: string) => string | undefined,
  onFatal: (error: Error) => void,
): Promise<RaftHost> {
  const { clock, random, fileSystem, transport, logger } = seams
  const { electionTimeoutMs, heartbeatMs, snapshotLogBytes, maxAppendBytes, unsafe } = settings
  return RaftHost.open({
    clock,
    random,
    fileSystem,
    transport,
    logger,
    directory,
    electionTimeoutMs,
    heartbeatMs,
    snapshotLogBytes,
    resolve,
    onFatal,
    ...(maxAppendBytes === undefined ? {} : { maxAppendBytes }),
    ...(unsafe === undefined ? {} : { unsafe }),
  })
}
