import type { pb } from '../proto/messages.ts'
import { CommandError, exitCode } from './exit-code.ts'

/** The id of who listens at an address, as the controllers know it. */
export function nodeAt(status: pb.v1.ClusterStatusReply, among: 'nodes' | 'controllers', address: string): string {
  const id = status[among].find((process) => process.address === address)?.id
  if (id) return id
  const known = status[among].map((process) => process.address).join(', ')
  throw new CommandError(exitCode.failed, 'NOT_FOUND', `nobody listens at ${address}; known are ${known}`)
}
