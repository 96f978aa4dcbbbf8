import { encodeNodeEntry, type NodeEntry } from '../proto/directory.ts'
import type { pb } from '../proto/messages.ts'
import { type LeaderView, refused } from './leader-view.ts'
import type { CheckedMember } from './request-checks.ts'

/** First guesses of where those of `members` are that have not registered yet. Pure. Throws where there is none. */
export function guessedNodes({ state }: LeaderView, members: readonly CheckedMember[]): pb.v1.NodeEntry.$Properties[] {
  const guesses = new Map<string, NodeEntry>()
  for (const { node, address } of members) {
    if (state.nodes.has(node) || guesses.has(node)) continue
    const guess = address || members.find((member) => member.node === node && member.address !== '')?.address
    if (guess === undefined) throw refused(`node ${node} is not known: start it first, or give ${node}=HOST:PORT`)
    guesses.set(node, { id: node, addresses: [{ name: 'default', address: guess }], pid: 0, http: '', version: 0 })
  }
  return [...guesses.values()].map(encodeNodeEntry)
}
