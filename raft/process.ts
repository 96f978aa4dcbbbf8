import type { ListenAddress } from '../base/transport.ts'
import type { pb } from '../proto/messages.ts'
import type { UnsafeRaft } from './raft-host.ts'
import type { Replica } from './replica.ts'

/** What every server process, controller or shardserver, is told at its start. */
export interface ProcessSettings {
  readonly id: string
  readonly listen: readonly ListenAddress[]
  /** What others are told, by listener name; a listener without one is told as it was bound. */
  readonly advertise: readonly ListenAddress[]
  /** Data directory. */
  readonly data: string
  /** Process id, for people and tests. */
  readonly pid: number
  /** Where it serves HTTP, as told to others; empty: nowhere. */
  readonly http: string
  readonly electionTimeoutMs: number
  readonly heartbeatMs: number
  readonly snapshotLogBytes: number
  /** Of all snapshots into this process together; undefined: as fast as it goes. */
  readonly snapshotBytesPerSecond?: number | undefined
  readonly memtableBytes: number
  /** Held in a file of no use, and given back when the disk is full. */
  readonly diskReserveBytes: number
  readonly blockCacheBytes: number
  readonly readMode: 'linearizable' | 'lease'
  /** Bytes of entries in one Raft append; the simulator makes it small. */
  readonly maxAppendBytes?: number
  /** Told of each replica before it does anything. The simulator's observers listen. */
  onReplica?(replica: Replica<unknown>): void
  /** Deliberate breaks, for proving that the simulator catches them. Never set otherwise. */
  readonly unsafe?: UnsafeRaft
}

export interface RunningProcess {
  /** The listeners as bound. */
  readonly addresses: readonly ListenAddress[]
  status(request: pb.v1.NodeStatusRequest.$Properties): Promise<pb.v1.NodeStatusReply>
  /** Hands the leadership of a group to another node; what fails is in the reply. */
  transferLeader(request: pb.v1.TransferLeaderRequest.$Properties): Promise<pb.v1.TransferLeaderReply>
  /** A leader is known for every group hosted. */
  ready(): boolean
  /**
   * Ends in good order, within five seconds: what it leads is handed over, what waits is answered, what was acknowledged is durable. `onUnneeded`
   * is called once others lead what was led here; not where nobody took it.
   */
  close(onUnneeded?: () => void): Promise<void>
}

/** What others are told: the advertised addresses, and for a listener without one the address bound. */
export function advertisedAddresses(bound: readonly ListenAddress[], advertise: readonly ListenAddress[]): ListenAddress[] {
  return bound.map(({ name, address }) => advertise.find((given) => given.name === name) ?? { name, address })
}
