import { emptyBytes, equalBytes } from '../base/bytes.ts'
import { decodeMemberState, type Group, type Member, memberStates } from '../proto/config.ts'
import type { pb } from '../proto/messages.ts'
import type { Standing } from '../raft/standing.ts'
import { plain } from './config-records.ts'
import { nextReplicaAfter } from './members.ts'

/** Uid and name of the controllers' own group. */
export const controllerGroup = 'controller'

/** One of the controllers. `node`: its id. */
export interface ControllerMember extends Member {
  /** Of the data directory that has claimed the number; empty: none yet, or it is of the formation, whose peers remember it. */
  readonly nonce: Uint8Array
}

/** What the controllers' log wants of the controllers themselves, and what it has handed out. A value: each change makes the next. */
export interface ControllerMembers {
  /** Rises with each change; 0: nothing was ever wanted, they are those of the formation. */
  readonly version: number
  /** Empty at version 0. */
  readonly members: readonly ControllerMember[]
  /** The next number to hand out; 0 at version 0. */
  readonly next: number
}

export const formedControllers: ControllerMembers = { version: 0, members: [], next: 0 }

/** The list after a change; a text: what is wrong with it. Pure and total. */
export function controllersAfter(
  before: ControllerMembers,
  change: pb.v1.ControllersChange.$Properties,
): ControllerMembers | 'stale' | 'refused' {
  if ((change.base ?? 0) !== before.version) return 'stale'
  const members = decoded(change.members ?? [])
  if (members === undefined) return 'refused'
  // The first change names those of the formation: all that do not join by it.
  const old = before.version > 0 ? before.members : members.filter(({ state }) => state !== 'joining').map(formed)
  const firstNext = Math.max(0, ...old.map(({ replica }) => replica)) + 1
  const next = nextReplicaAfter(old, members, before.version > 0 ? before.next : firstNext)
  if (next === undefined || !members.every((member) => mayHaveNonce(old, member))) return 'refused'
  return { version: before.version + 1, members, next }
}

function formed(member: ControllerMember): ControllerMember {
  return { ...member, state: 'voter', nonce: emptyBytes }
}

/** A number is claimed once, by who has it. */
function mayHaveNonce(before: readonly ControllerMember[], { replica, nonce }: ControllerMember): boolean {
  const known = before.find((member) => member.replica === replica)
  if (known === undefined) return nonce.length === 0
  return equalBytes(known.nonce, nonce) || (known.nonce.length === 0 && known.state === 'joining')
}

export function encodeControllers(members: readonly ControllerMember[]): pb.v1.ControllerMember.$Properties[] {
  return members.map(({ node, replica, state, nonce }) => ({ id: node, replica, state: memberStates[state], nonce }))
}

/** Throws RangeError. */
export function decodeControllers(members: readonly pb.v1.ControllerMember.$Properties[]): ControllerMember[] {
  return members.map(({ id, replica, state, nonce }) => {
    if (!id || !replica) throw new RangeError('a controller without id or number')
    return { node: id, replica, state: decodeMemberState(state ?? 0, controllerGroup), nonce: plain(nonce ?? emptyBytes) }
  })
}

function decoded(members: readonly pb.v1.ControllerMember.$Properties[]): ControllerMember[] | undefined {
  try {
    return decodeControllers(members)
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

/** The controllers as a group: as they are wanted, or where nothing was ever wanted as they are. */
export function controllersGroup(wanted: ControllerMembers, { conf, nodes }: Pick<Standing, 'conf' | 'nodes'>): Group {
  const present = conf.voters.map((replica) => ({ node: nodes.get(replica) ?? '', replica, state: 'voter' as const }))
  const members = wanted.version > 0 ? wanted.members : present
  return { uid: controllerGroup, name: controllerGroup, weight: 1, state: 'active', members }
}

/** The claim of a number of a controller that joins, as a change; 'lost' where another directory has claimed it, undefined where it is not given to `id`. */
export function claimController(
  wanted: ControllerMembers,
  claim: { readonly node: string; readonly replica: number; readonly nonce: Uint8Array },
): pb.v1.ControllersChange.$Properties | 'claimed' | 'lost' | undefined {
  const member = wanted.members.find(({ node, replica }) => node === claim.node && replica === claim.replica)
  if (member === undefined) return undefined
  if (member.nonce.length > 0) return equalBytes(member.nonce, claim.nonce) ? 'claimed' : 'lost'
  if (member.state !== 'joining') return 'lost'
  const members = wanted.members.map((one) => (one === member ? { ...one, nonce: claim.nonce } : one))
  return { base: wanted.version, members: encodeControllers(members) }
}
