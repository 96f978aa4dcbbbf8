import { pb } from '../proto/messages.ts'
import { decodeConfChange } from './core/conf-change-codec.ts'
import { changeConf } from './core/conf-changer.ts'
import { initialConf } from './core/membership.ts'
import { type ConfChange, type ConfState, type Entry, EntryKind, type ReplicaNumber, type SnapshotMeta } from './core/types.ts'

/**
 * Where a state machine stands: up to which entry, and who the group's replicas are as of there and where they are found. All of it follows
 * from the group's first standing and its log alone.
 */
export interface Standing extends SnapshotMeta {
  /** Node of each replica of `conf`; of a joint one, of both halves. */
  readonly nodes: ReadonlyMap<ReplicaNumber, string>
  /** Index of the entry that made this membership; 0: the group's first. */
  readonly changedAt: number
  /** Number of the config whose wish the newest change carried out; 0: none did. Only rises. */
  readonly configNumber: number
}

/** What an entry that changes the membership says beside the change. */
export interface MembersContext {
  /** Node of each replica that it adds. */
  readonly nodes: ReadonlyMap<ReplicaNumber, string>
  readonly configNumber: number
}

/** An entry that this version cannot apply: its replica stops. */
export class BadMembershipChange extends Error {
  override readonly name = 'BadMembershipChange'
  readonly index: number

  constructor(index: number, what: string) {
    super(`log entry ${index} changes the membership: ${what}`)
    this.index = index
  }
}

/** A group before its first entry: who is in `nodes` votes. */
export function firstStanding(nodes: ReadonlyMap<ReplicaNumber, string>): Standing {
  const voters = [...nodes.keys()].sort((a, b) => a - b)
  return { index: 0, term: 0, conf: initialConf(voters), nodes, changedAt: 0, configNumber: 0 }
}

export function encodeMembersContext({ nodes, configNumber }: MembersContext): Uint8Array {
  return pb.v1.MembersContext.encode({ nodes: encodeNodes(nodes), configNumber }).finish()
}

export function encodeNodes(nodes: ReadonlyMap<ReplicaNumber, string>): pb.v1.ReplicaNode.$Properties[] {
  return [...nodes].map(([replica, node]) => ({ replica, node })).sort((a, b) => a.replica - b.replica)
}

export function decodeNodes(nodes: readonly pb.v1.ReplicaNode.$Properties[]): Map<ReplicaNumber, string> {
  return new Map(nodes.map(({ replica, node }) => [replica ?? 0, node ?? '']))
}

/**
 * Where a state machine that stands at `before` stands behind `entry`, the next one. Pure: every state machine and every driver of the group comes
 * to the same. Throws BadMembershipChange where the entry cannot be applied by anyone, or not by this version.
 */
export function standBehind(before: Standing, entry: Entry): Standing {
  const { index, term } = entry
  if (entry.kind === EntryKind.Normal) return { ...before, index, term }
  const { change, context } = changeOf(entry)
  const outcome = changeConf(before.conf, change)
  if (!outcome.ok) throw new BadMembershipChange(index, `it does not fit the membership (${outcome.reason})`)
  const nodes = nodesOf(outcome.conf, before.nodes, context.nodes)
  return { index, term, conf: outcome.conf, nodes, changedAt: index, configNumber: Math.max(before.configNumber, context.configNumber) }
}

/** What an entry of kind ConfChange says. Throws BadMembershipChange. */
export function changeOf({ index, kind, data }: Entry): { readonly change: ConfChange; readonly context: MembersContext } {
  const decoded = kind === EntryKind.ConfChange ? decodeConfChange(data) : undefined
  if (decoded === undefined)
    throw new BadMembershipChange(index, `an entry of kind ${kind}, ${data.length} bytes, which this version does not know`)
  try {
    const { nodes, configNumber } = pb.v1.MembersContext.decode(decoded.context)
    return { change: decoded.change, context: { nodes: decodeNodes(nodes), configNumber } }
  } catch {
    throw new BadMembershipChange(index, 'malformed context')
  }
}

/** Those of the replicas of `conf`. A replica's node never changes: numbers are handed out once, to one data directory. */
function nodesOf(
  conf: ConfState,
  before: ReadonlyMap<ReplicaNumber, string>,
  added: ReadonlyMap<ReplicaNumber, string>,
): ReadonlyMap<ReplicaNumber, string> {
  const nodes = new Map<ReplicaNumber, string>()
  for (const replica of [...conf.voters, ...conf.votersOutgoing, ...conf.learners]) {
    const node = before.get(replica) ?? added.get(replica)
    if (node !== undefined) nodes.set(replica, node)
  }
  return nodes
}
