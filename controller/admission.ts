import { equalBytes, fromHex, toHex } from '../base/bytes.ts'
import { type Clock, sleep } from '../base/clock.ts'
import type { Logger } from '../base/logger.ts'
import type { Transport } from '../base/transport.ts'
import type { ControllerClient } from '../proto/controller-client.ts'
import { OstrakaError } from '../proto/errors.ts'
import { protocolVersion } from '../proto/limits.ts'
import type { pb } from '../proto/messages.ts'
import { sameCluster } from '../raft/cluster-id.ts'
import { type DataDirectory, DataDirectoryMismatch } from '../raft/data-directory.ts'
import { askPeer } from '../raft/formation.ts'
import { controllerGroup } from './controller-members.ts'

const askAgainMs = 500
const claimTimeoutMs = 5000
/** How often who waits says so. */
const sayEvery = 20

export interface AdmissionOptions {
  readonly directory: DataDirectory
  /** Of --peers, this one included. */
  readonly peers: readonly { readonly id: string; readonly address: string }[]
  readonly transport: Transport
  readonly clock: Clock
  readonly logger: Logger
  readonly client: Pick<ControllerClient, 'claimReplica'>
  cancelled(): boolean
}

/**
 * The number under which this controller takes part, which never changes once it has begun a log. Where the cluster is being formed it is its
 * place among the sorted ids. Where it was formed without this directory, an administrator has to name it (`replace-node`, `add-replica
 * controller`) and it claims the number that it is given then: the first claim counts, so an emptied directory never gets an old number.
 * Resolves when that is done; 0: given up, the process is closing. Throws DataDirectoryMismatch for an emptied directory that nobody named.
 */
export async function admission(options: AdmissionOptions): Promise<number> {
  const { directory, peers, clock, logger } = options
  const started = directory.startedReplica(controllerGroup)
  if (started !== undefined) return started
  const isFormed = directory.formed.length > 0
  if (directory.formed.some((peer) => isSelf(directory, peer.id, fromHex(peer.nonce)))) return placeAmong(directory.formed, directory.id)
  const others = peers.filter(({ id }) => id !== directory.id)
  for (let round = 0; !options.cancelled(); round++) {
    const replies = await Promise.all(others.map((peer) => askPeer(options, peer)))
    const formed = replies.filter((reply): reply is pb.v1.HelloReply => reply !== undefined && reply.formed.length > 0)
    const remembered = formed.some((reply) => reply.formed.some(({ id, nonce }) => isSelf(directory, id ?? '', nonce ?? undefined)))
    // Nobody has begun: it is formed with all of --peers. Or it was, and this one was killed before it wrote that down.
    if ((formed.length === 0 && !isFormed) || remembered) return placeAmong(peers, directory.id)
    for (const reply of formed) {
      const number = await joined(options, reply)
      if (number > 0) return number
    }
    if (round % sayEvery === 0)
      logger.info({ id: directory.id }, 'the controllers do not know this one: name it (ostraka admin replace-node OLD NEW=HOST:PORT)')
    await sleep(clock, askAgainMs)
  }
  return 0
}

function isSelf(directory: DataDirectory, id: string, nonce: Uint8Array | undefined): boolean {
  return id === directory.id && nonce !== undefined && equalBytes(nonce, directory.nonce)
}

/** Sorted by id the places are the numbers, from 1. */
export function placeAmong(peers: readonly { readonly id: string }[], id: string): number {
  return (
    peers
      .map((peer) => peer.id)
      .sort()
      .indexOf(id) + 1
  )
}

/** Claims the number that `reply`, of a controller that takes part, says is this one's; 0: it says none, or what it says holds no more. */
async function joined(options: AdmissionOptions, reply: pb.v1.HelloReply): Promise<number> {
  const { directory, logger, client } = options
  if (reply.protocolVersion !== protocolVersion || !sameCluster(reply.clusterId, directory.clusterId)) {
    throw new DataDirectoryMismatch(`controller ${reply.id} belongs to another cluster, or speaks another protocol: mend --peers`)
  }
  const replica = Math.max(0, ...reply.joining.filter(({ id }) => id === directory.id).map((peer) => peer.replica ?? 0))
  if (replica === 0) {
    if (reply.formed.some(({ id }) => id === directory.id)) throw emptied(directory, reply)
    return 0
  }
  try {
    await client.claimReplica(
      { node: directory.id, group: controllerGroup, replica, nonce: directory.nonce },
      { timeoutMs: claimTimeoutMs },
    )
  } catch (error) {
    if (!(error instanceof OstrakaError)) throw error
    if (error.code === 'LOST') throw emptied(directory, reply)
    logger.info({ replica, error: error.message }, 'the number of this controller could not be claimed yet')
    return 0
  }
  await directory.joinCluster(Uint8Array.from(reply.clusterId))
  await directory.markFormed(reply.formed.map(({ id, nonce }) => ({ id: id ?? '', nonce: toHex(nonce ?? new Uint8Array(0)) })))
  return replica
}

function emptied({ folder, id }: DataDirectory, reply: pb.v1.HelloReply): DataDirectoryMismatch {
  return new DataDirectoryMismatch(
    `${folder} is not the directory with which controller ${id} joined its cluster (controller ${reply.id} remembers another): restore it, or have it replaced (ostraka admin replace-node ${id} ${id}=HOST:PORT); an emptied controller must not vote under its old id`,
  )
}
