import { DiskSpace, type Space } from '../base/disk-space.ts'
import type { Seams } from '../base/seams.ts'
import type { DataDirectory } from './data-directory.ts'
import type { ProcessSettings } from './process.ts'
import { RaftHost } from './raft-host.ts'

/** Opens the host of a server process as its settings say. `resolve` and `onFatal`: see RaftHostOptions. Throws as `RaftHost.open` does. */
export function openHost(
  settings: ProcessSettings,
  seams: Seams,
  directory: DataDirectory,
  space: Space,
  resolve: (node: string) => string | undefined,
  onFatal: (error: Error) => void,
): Promise<RaftHost> {
  const { clock, random, fileSystem, transport, logger } = seams
  directory.waitForRoom(space)
  const { electionTimeoutMs, heartbeatMs, snapshotLogBytes, snapshotBytesPerSecond, readMode, maxAppendBytes, onReplica, unsafe } = settings
  return RaftHost.open({
    clock,
    random,
    fileSystem,
    transport,
    logger,
    directory,
    retiresDamaged: directory.role === 'server',
    electionTimeoutMs,
    heartbeatMs,
    snapshotLogBytes,
    snapshotBytesPerSecond,
    space,
    leases: readMode === 'lease',
    resolve,
    onFatal,
    ...(maxAppendBytes === undefined ? {} : { maxAppendBytes }),
    ...(onReplica === undefined ? {} : { onReplica }),
    ...(unsafe === undefined ? {} : { unsafe }),
  })
}

/** Watches the disk of a server process's data directory, which is there. `memtableBytes`: what must still find room when nothing new is taken in. */
export function openSpace({ data, diskReserveBytes }: ProcessSettings, seams: Seams, memtableBytes: number): Promise<DiskSpace> {
  const { fileSystem, clock, logger } = seams
  const lowBytes = memtableBytes + diskReserveBytes
  return DiskSpace.open({ fileSystem, clock, logger, folder: data, reserveBytes: diskReserveBytes, lowBytes })
}
