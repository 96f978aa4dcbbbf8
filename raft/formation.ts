import { equalBytes, toHex } from '../base/bytes.ts'
import { type Clock, sleep } from '../base/clock.ts'
import { DataDirectoryMismatch } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { type Route, type Transport, unaryRoute } from '../base/transport.ts'
import { protocolVersion } from '../proto/limits.ts'
import { pb } from '../proto/messages.ts'
import { raftMethods } from '../proto/methods.ts'
import { sameCluster } from './cluster-id.ts'
import type { DataDirectory, FormedPeer } from './data-directory.ts'

/** What this version can do, beyond the protocol's version. */
export const featureLevel = 1
const askAgainMs = 250
const askTimeoutMs = 2000

/** The route by which a process says who it is: cluster id, protocol version, feature level, and with whom its first log was formed. */
export function helloRoute(directory: DataDirectory, joining: () => readonly pb.v1.JoiningPeer.$Properties[] = () => []): Route {
  return unaryRoute(raftMethods.hello, async () => {
    return new pb.v1.HelloReply({
      id: directory.id,
      nonce: directory.nonce,
      clusterId: directory.clusterId,
      protocolVersion,
      featureLevel,
      formed: directory.formed.map(({ id, nonce }) => new pb.v1.FormedPeer({ id, nonce: Buffer.from(nonce, 'hex') })),
      joining: joining().map((peer) => new pb.v1.JoiningPeer(peer)),
    })
  })
}

export interface FormationOptions {
  readonly directory: DataDirectory
  readonly peers: readonly { readonly id: string; readonly address: string }[]
  readonly transport: Transport
  readonly clock: Clock
  readonly logger: Logger
  /** True: give up, the process is closing. */
  cancelled(): boolean
}

/**
 * The peers of a controller that has taken part give the replica numbers and the members: they are those with which it was formed, at
 * whatever addresses. Throws DataDirectoryMismatch for others.
 */
export function checkFormedPeers(directory: DataDirectory, peers: readonly { readonly id: string }[]): void {
  if (directory.formed.length === 0) return
  const formed = directory.formed.map(({ id }) => id).sort()
  const given = peers.map(({ id }) => id).sort()
  if (formed.length === given.length && formed.every((id, i) => id === given[i])) return
  throw new DataDirectoryMismatch(
    `--peers names ${given.join(', ')}, but ${directory.folder} was formed with ${formed.join(', ')}: name those controllers`,
  )
}

/**
 * A controller with an empty directory takes part only after every peer has said that its directory is empty too, or that it was formed with
 * this very directory. So a wiped controller never votes again under its old id: its peers remember another nonce, and it ends with
 * DataDirectoryMismatch. Resolves when this directory may take part; at once if it was formed before.
 */
export async function formController(options: FormationOptions): Promise<void> {
  const { directory, peers, clock, logger } = options
  if (directory.formed.length > 0) return
  const self: FormedPeer = { id: directory.id, nonce: toHex(directory.nonce) }
  const heard = new Map<string, FormedPeer>([[directory.id, self]])
  for (let round = 0; heard.size < peers.length; round++) {
    if (options.cancelled()) return
    for (const peer of peers) {
      if (heard.has(peer.id)) continue
      const reply = await askPeer(options, peer)
      if (reply !== undefined) heard.set(peer.id, accept(options, peer, reply))
    }
    if (heard.size === peers.length) break
    const missing = peers.filter(({ id }) => !heard.has(id)).map(({ id, address }) => `${id} at ${address}`)
    if (round % 20 === 0) logger.info({ missing }, 'waiting for the other controllers before the first start')
    await sleep(clock, askAgainMs)
  }
  await directory.markFormed([...heard.values()].sort((a, b) => (a.id < b.id ? -1 : 1)))
}

/** undefined: it does not answer. */
export async function askPeer(
  options: Omit<FormationOptions, 'peers' | 'cancelled'>,
  peer: { id: string; address: string },
): Promise<pb.v1.HelloReply | undefined> {
  const { directory, transport, logger } = options
  const channel = transport.connect(peer.address)
  try {
    const request = new pb.v1.HelloRequest({ id: directory.id, nonce: directory.nonce, clusterId: directory.clusterId, protocolVersion })
    return await channel.unary(raftMethods.hello, request, { timeoutMs: askTimeoutMs })
  } catch (error) {
    logger.debug({ peer: peer.id, address: peer.address, error: String(error) }, 'a controller does not answer yet')
    return undefined
  } finally {
    channel.close()
  }
}

/** Checks what a peer says of itself. Throws DataDirectoryMismatch where this directory must not take part. */
function accept(options: FormationOptions, peer: { id: string; address: string }, reply: pb.v1.HelloReply): FormedPeer {
  const { directory } = options
  if (reply.id !== peer.id)
    throw new DataDirectoryMismatch(`the controller at ${peer.address} is ${reply.id}, not ${peer.id}: mend --peers`)
  if (reply.protocolVersion !== protocolVersion) {
    throw new DataDirectoryMismatch(
      `controller ${peer.id} speaks protocol ${reply.protocolVersion}, this one ${protocolVersion}: run one version`,
    )
  }
  if (!sameCluster(reply.clusterId, directory.clusterId))
    throw new DataDirectoryMismatch(`controller ${peer.id} belongs to another cluster`)
  if (reply.formed.length > 0) {
    const remembered = reply.formed.find(({ id }) => id === directory.id)
    if (remembered === undefined || !equalBytes(remembered.nonce ?? new Uint8Array(0), directory.nonce)) {
      throw new DataDirectoryMismatch(
        `${directory.folder} is not the directory with which controller ${directory.id} joined its cluster (controller ${peer.id} remembers another): restore it, or have it replaced (ostraka admin replace-node ${directory.id} ${directory.id}=HOST:PORT); an emptied controller must not vote under its old id`,
      )
    }
  }
  return { id: reply.id, nonce: toHex(reply.nonce) }
}
