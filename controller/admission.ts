import { equalBytes, fromHex, toHex } from '../base/bytes.ts'
import { type Clock, sleep } from '../base/clock.ts'
import { DataDirectoryMismatch } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { Transport } from '../base/transport.ts'
import type { ControllerClient } from '../proto/controller-client.ts'
import { OstrakaError } from '../proto/errors.ts'
import { protocolVersion } from '../proto/limits.ts'
import type { pb } from '../proto/messages.ts'
import { sameCluster } from '../raft/cluster-id.ts'
import type { DataDirectory } from '../raft/data-directory.ts'
import { askPeer } from '../raft/formation.ts'
import { controllerGroup } from './controller-members.ts'

const askAgainMs = 500
const claimTimeoutMs = 5000
/** Which of its peers answers first may not have heard yet that it was named. */
const namedWithinRounds = 10

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
 * Resolves when that is done; 0: given up, the process is closing. Throws DataDirectoryMismatch where the controllers answer and nobody names it.
 */
export async function admission(options: AdmissionOptions): Promise<number> {
  const { directory, peers, clock } = options
  const started = directory.startedReplica(controllerGroup)
  if (started !== undefined) return started
  const isFormed = directory.formed.length > 0
  if (directory.formed.some((peer) => isSelf(directory, peer.id, fromHex(peer.nonce)))) return placeAmong(directory.formed, directory.id)
  const others = peers.filter(({ id }) => id !== directory.id)
  let roundsUnnamed = 0
  while (!options.cancelled()) {
    const replies = await Promise.all(others.map((peer) => askPeer(options, peer)))
    const formed = replies.filter((reply): reply is pb.v1.HelloReply => reply !== undefined && reply.formed.length > 0)
    const remembered = formed.some((reply) => reply.formed.some(({ id, nonce }) => isSelf(directory, id ?? '', nonce ?? undefined)))
    // Nobody has begun: it is formed with all of --peers. Or it was, and this one was killed before it wrote that down.
    if ((formed.length === 0 && !isFormed) || remembered) return placeAmong(peers, directory.id)
    for (const reply of formed) mustFit(directory, reply)
    const naming = formed.find((reply) => numberOf(directory, reply) > 0)
    const number = naming === undefined ? 0 : await claimed(options, naming)
    if (number > 0) return number
    if (naming === undefined && formed[0] !== undefined && ++roundsUnnamed >= namedWithinRounds) throw unnamed(directory, formed[0])
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

function mustFit({ clusterId }: DataDirectory, reply: pb.v1.HelloReply): void {
  if (reply.protocolVersion === protocolVersion && sameCluster(reply.clusterId, clusterId)) return
  throw new DataDirectoryMismatch(`controller ${reply.id} belongs to another cluster, or speaks another protocol: mend --peers`)
}

/** The number that is this directory's to claim; 0: none. */
function numberOf({ id }: DataDirectory, reply: pb.v1.HelloReply): number {
  return Math.max(0, ...reply.joining.filter((peer) => peer.id === id).map(({ replica }) => replica ?? 0))
}

/** Claims the number that `reply` says is this one's; 0: that holds no more, or nobody can say so now. */
async function claimed(options: AdmissionOptions, reply: pb.v1.HelloReply): Promise<number> {
  const { directory, logger, client } = options
  const replica = numberOf(directory, reply)
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

function unnamed(directory: DataDirectory, reply: pb.v1.HelloReply): DataDirectoryMismatch {
  const { id } = directory
  if (reply.formed.some((peer) => peer.id === id)) return emptied(directory, reply)
  return new DataDirectoryMismatch(
    `${id} is none of the controllers of this cluster (says ${reply.id}): name it first (ostraka admin replace-node OLD ${id}=HOST:PORT), then start it`,
  )
}

function emptied({ folder, id }: DataDirectory, reply: pb.v1.HelloReply): DataDirectoryMismatch {
  return new DataDirectoryMismatch(
    `${folder} is not the directory with which controller ${id} joined its cluster (controller ${reply.id} remembers another): restore it, or have it replaced (ostraka admin replace-node ${id} ${id}=HOST:PORT); an emptied controller must not vote under its old id`,
  )
}
