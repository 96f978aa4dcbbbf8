import { isShardCount } from '../base/slot.ts'
import { pb } from './messages.ts'

/**
 * The config model: one committed assignment of shards to groups. A `Config` never changes once made; what changes makes the next one.
 * Everything that comes from bytes is checked here: a broken message is a RangeError, never a broken `Config`.
 */

export type GroupState = 'active' | 'draining'

/** What the group's leader has to make of a replica; the group's own log is the truth about its members (docs/membership.md). */
export type MemberState = 'voter' | 'joining' | 'leaving'

/** One replica of a group. */
export interface Member {
  /** Id of the node that holds it. One node may hold one that leaves and one that joins. */
  readonly node: string
  /** Its number, handed out once in the life of the cluster; from 1. */
  readonly replica: number
  readonly state: MemberState
}

export interface Group {
  /** Name and config number of the join: 'g1@12'. Never used again. */
  readonly uid: string
  /** Unique among the groups of one config. */
  readonly name: string
  /** Above 0: its share of the shards relative to the others'. */
  readonly weight: number
  readonly state: GroupState
  readonly members: readonly Member[]
}

interface ConfigHead {
  readonly number: number
  readonly atMs: number
  readonly cause: string
  readonly author: string
  readonly shardCount: number
  /** In any order. */
  readonly groups: readonly Group[]
  /** Shard → name of the group that it is held in. */
  readonly pins: ReadonlyMap<number, string>
}

export interface ConfigParts extends ConfigHead {
  /** For each shard the uid of its group; undefined: none. */
  readonly owner: (shard: number) => string | undefined
  readonly epoch: (shard: number) => number
}

/** The same, with the shards as a `Config` keeps them: checked already, taken over, never changed afterwards. */
export interface ConfigArrays extends ConfigHead {
  /** Positions plus 1 in `sortedGroups(groups)`. */
  readonly assignment: Uint16Array
  readonly epochs: Float64Array
}

export class Config {
  /** From 1; 0: before the first. */
  readonly number: number
  /** When it was committed by the leader's wall clock, milliseconds since 1970. For people. */
  readonly atMs: number
  /** What made it: 'join g3'. */
  readonly cause: string
  readonly author: string
  readonly shardCount: number
  /** Sorted by name. */
  readonly groups: readonly Group[]
  /** For each shard the position of its group in `groups` plus 1; 0: none. Not to be written. */
  readonly assignment: Uint16Array
  /** For each shard: 0 before its birth, 1 from then on, raised by each change of owner. Not to be written. */
  readonly epochs: Float64Array
  /** Shard → name of the group that it is held in. */
  readonly pins: ReadonlyMap<number, string>
  /** Made at the first look-up: most configs of a long history are never asked. */
  #byUid: Map<string, Group> | undefined
  #byName: Map<string, Group> | undefined

  /** Throws RangeError where the parts do not fit together. */
  constructor(parts: ConfigParts | ConfigArrays) {
    check(Number.isSafeInteger(parts.number) && parts.number >= 0, 'config number out of range')
    check(isShardCount(parts.shardCount), `shard count ${parts.shardCount}`)
    check(parts.groups.length < 65_535, 'too many groups')
    this.number = parts.number
    this.atMs = parts.atMs
    this.cause = parts.cause
    this.author = parts.author
    this.shardCount = parts.shardCount
    this.groups = sortedGroups(parts.groups)
    this.pins = parts.pins
    for (const [at, group] of this.groups.entries()) {
      check(this.groups[at + 1]?.name !== group.name, `group ${group.name} twice`)
      check(group.weight > 0 && Number.isFinite(group.weight), `weight ${group.weight} of ${group.uid}`)
    }
    if ('assignment' in parts) {
      this.assignment = parts.assignment
      this.epochs = parts.epochs
    } else {
      this.assignment = assignmentOf(parts, this.groups)
      this.epochs = epochsOf(parts, this.assignment)
    }
    check(this.assignment.length === parts.shardCount && this.epochs.length === parts.shardCount, 'shards of another count')
    for (const shard of parts.pins.keys()) check(Number.isInteger(shard) && shard >= 0 && shard < parts.shardCount, `pin of shard ${shard}`)
  }

  /** The group that owns `shard`, in [0, shardCount); undefined: none yet. */
  groupOf(shard: number): Group | undefined {
    return this.groups[(this.assignment[shard] ?? 0) - 1]
  }

  epochOf(shard: number): number {
    return this.epochs[shard] ?? 0
  }

  groupByUid(uid: string): Group | undefined {
    this.#byUid ??= new Map(this.groups.map((group) => [group.uid, group]))
    return this.#byUid.get(uid)
  }

  groupByName(name: string): Group | undefined {
    this.#byName ??= new Map(this.groups.map((group) => [group.name, group]))
    return this.#byName.get(name)
  }

  /** The shards of a group, ascending. */
  shardsOf(uid: string): number[] {
    const group = this.groupByUid(uid)
    const shards: number[] = []
    if (group === undefined) return shards
    const position = this.groups.indexOf(group) + 1
    for (let shard = 0; shard < this.shardCount; shard++) if (this.assignment[shard] === position) shards.push(shard)
    return shards
  }

  /** How many shards each group owns, in the order of `groups`. */
  shardCounts(): Uint32Array {
    const counts = new Uint32Array(this.groups.length)
    for (const position of this.assignment) if (position > 0) counts[position - 1] = (counts[position - 1] ?? 0) + 1
    return counts
  }
}

/** In the order of their names. */
export function sortedGroups(groups: readonly Group[]): readonly Group[] {
  return [...groups].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
}

function assignmentOf(parts: ConfigParts, groups: readonly Group[]): Uint16Array {
  const positions = new Map(groups.map((group, at) => [group.uid, at + 1]))
  return Uint16Array.from({ length: parts.shardCount }, (_, shard) => {
    const uid = parts.owner(shard)
    const position = uid === undefined ? 0 : positions.get(uid)
    check(position !== undefined, `shard ${shard} belongs to ${uid}, which is no group`)
    return position
  })
}

function epochsOf(parts: ConfigParts, assignment: Uint16Array): Float64Array {
  const epochs = new Float64Array(parts.shardCount)
  for (let shard = 0; shard < parts.shardCount; shard++) {
    epochs[shard] = checkedEpoch(shard, parts.epoch(shard), assignment[shard] !== 0)
  }
  return epochs
}

/** `epoch`, or a RangeError: a shard that is owned was born. */
export function checkedEpoch(shard: number, epoch: number, owned: boolean): number {
  check(Number.isSafeInteger(epoch) && epoch >= (owned ? 1 : 0), `epoch ${epoch} of shard ${shard}`)
  return epoch
}

export function emptyConfig(shardCount: number): Config {
  return new Config({
    number: 0,
    atMs: 0,
    cause: '',
    author: '',
    shardCount,
    groups: [],
    owner: () => undefined,
    epoch: () => 0,
    pins: new Map(),
  })
}

export const memberStates = {
  voter: pb.v1.MemberState.VOTER,
  joining: pb.v1.MemberState.JOINING,
  leaving: pb.v1.MemberState.LEAVING,
} as const satisfies Record<MemberState, pb.v1.MemberState>

/** Throws RangeError. */
export function decodeMemberState(state: pb.v1.MemberState, uid: string): MemberState {
  const name = (Object.keys(memberStates) as MemberState[]).find((known) => memberStates[known] === state)
  check(name !== undefined, `state of a member of ${uid}`)
  return name
}

export function encodeMember({ node, replica, state }: Member): pb.v1.Member.$Properties {
  return { node, replica, state: memberStates[state] }
}

export function encodeGroup(group: Group): pb.v1.Group.$Properties {
  return {
    uid: group.uid,
    name: group.name,
    weight: group.weight,
    state: group.state === 'draining' ? pb.v1.GroupState.DRAINING : pb.v1.GroupState.ACTIVE,
    members: group.members.map(encodeMember),
  }
}

/** Throws RangeError. */
export function decodeGroup(message: pb.v1.Group.$Properties): Group {
  const uid = message.uid ?? ''
  const name = message.name ?? ''
  const isItsUid = uid.startsWith(`${name}@`) && /^[0-9]+$/.test(uid.slice(name.length + 1))
  check(name !== '' && isItsUid, `group '${uid}' named '${name}'`)
  check(message.state === pb.v1.GroupState.ACTIVE || message.state === pb.v1.GroupState.DRAINING, `state of ${uid}`)
  return {
    uid,
    name,
    weight: message.weight ?? 0,
    state: message.state === pb.v1.GroupState.DRAINING ? 'draining' : 'active',
    members: (message.members ?? []).map((member) => {
      check((member.node ?? '') !== '' && (member.replica ?? 0) > 0, `member of ${uid}`)
      return { node: member.node ?? '', replica: member.replica ?? 0, state: decodeMemberState(member.state ?? 0, uid) }
    }),
  }
}

export function encodeConfig(config: Config): pb.v1.Config {
  return new pb.v1.Config({
    number: config.number,
    atMs: config.atMs,
    cause: config.cause,
    author: config.author,
    shardCount: config.shardCount,
    groups: config.groups.map(encodeGroup),
    assignment: Array.from(config.assignment),
    epochs: Array.from(config.epochs),
    pins: encodePins(config.pins),
  })
}

/** Throws RangeError where the message is no config. */
export function decodeConfig(message: pb.v1.Config.$Properties): Config {
  const groups = (message.groups ?? []).map(decodeGroup)
  const assignment = message.assignment ?? []
  const epochs = message.epochs ?? []
  const shardCount = message.shardCount ?? 0
  check(assignment.length === shardCount && epochs.length === shardCount, `${assignment.length} shards of ${shardCount}`)
  return new Config({
    number: message.number ?? 0,
    atMs: message.atMs ?? 0,
    cause: message.cause ?? '',
    author: message.author ?? '',
    shardCount,
    groups,
    owner: (shard) => {
      const position = assignment[shard] ?? 0
      if (position === 0) return undefined
      const group = groups[position - 1]
      if (group === undefined) throw new RangeError(`shard ${shard} belongs to group ${position} of ${groups.length}`)
      return group.uid
    },
    epoch: (shard) => epochs[shard] ?? 0,
    pins: decodePins(message.pins),
  })
}

function encodePins(pins: ReadonlyMap<number, string>): pb.v1.Pin.$Properties[] {
  return [...pins].map(([shard, group]) => ({ shard, group })).sort((a, b) => a.shard - b.shard)
}

export function decodePins(pins: readonly pb.v1.Pin.$Properties[] | null | undefined): Map<number, string> {
  return new Map((pins ?? []).map((pin) => [pin.shard ?? 0, pin.group ?? '']))
}

function check(condition: boolean, what: string): asserts condition {
  if (!condition) throw new RangeError(`no config: ${what}`)
}
