import { Config, checkedEpoch, checkGroups, decodeGroup, type Group, sortedGroups } from './config.ts'
import type { pb } from './messages.ts'

type ConfigDifference = pb.v1.ConfigDifference.$Properties

/**
 * A config that differences are laid over, one after the other. All shards are copied once for a run of differences, not once for each, unless
 * groups change: moving a set of shards is a number for each of them.
 */
export class ConfigDraft {
  #config: Config
  /** Undefined: as in `#config`. */
  #changed: Parts | undefined
  /** Of the newest difference; `#config` is older where anything is changed. */
  #to: NonNullable<ConfigDifference['to']>
  #number: number

  constructor(config: Config) {
    this.#config = config
    this.#number = config.number
    this.#to = {}
  }

  /** Of the config so far. */
  get number(): number {
    return this.#number
  }

  /** The config so far. */
  get config(): Config {
    if (this.#changed === undefined) return this.#config
    const { atMs, cause, author } = this.#to
    this.#config = new Config({
      number: this.#number,
      atMs: atMs ?? 0,
      cause: cause ?? '',
      author: author ?? '',
      shardCount: this.#config.shardCount,
      ...this.#changed,
    })
    this.#changed = undefined
    return this.#config
  }

  /** A group of the config so far. */
  group(uid: string): Group | undefined {
    return this.#changed === undefined ? this.#config.groupByUid(uid) : this.#changed.groups[(this.#changed.positions.get(uid) ?? 0) - 1]
  }

  /** Lays a difference over it. Throws RangeError where that cannot be: the draft is of no use then. */
  add(change: ConfigDifference): void {
    const to = change.to ?? {}
    const { shardCount } = this.#config
    const from = change.from ?? 0
    if (from !== this.#number && (from > this.#number || (to.number ?? 0) <= this.#number))
      throw new RangeError(`difference from config ${from} to ${to.number} laid over ${this.#number}`)
    if (to.shardCount !== shardCount) throw new RangeError(`difference of ${to.shardCount} shards laid over ${shardCount}`)
    this.#changed ??= partsOf(this.#config)
    if ((change.groups ?? []).length + (change.removedGroups ?? []).length > 0) changeGroups(this.#changed, change)
    changeShards(this.#changed, change)
    changePins(this.#changed, change)
    this.#to = to
    this.#number = to.number ?? 0
  }
}

/** What belongs to the draft alone. */
interface Parts {
  /** Sorted by name. */
  groups: readonly Group[]
  /** Uid → position in `groups` plus 1. */
  positions: ReadonlyMap<string, number>
  /** By shard: position plus 1. */
  assignment: Uint16Array
  epochs: Float64Array
  pins: Map<number, string>
}

function partsOf(config: Config): Parts {
  return {
    groups: config.groups,
    positions: positionsOf(config.groups),
    assignment: config.assignment.slice(),
    epochs: config.epochs.slice(),
    pins: new Map(config.pins),
  }
}

function positionsOf(groups: readonly Group[]): ReadonlyMap<string, number> {
  return new Map(groups.map((group, at) => [group.uid, at + 1]))
}

function changeGroups(parts: Parts, change: ConfigDifference): void {
  const changed = (change.groups ?? []).map(decodeGroup)
  const gone = new Set([...(change.removedGroups ?? []), ...changed.map((group) => group.uid)])
  const groups = sortedGroups([...parts.groups.filter((group) => !gone.has(group.uid)), ...changed])
  checkGroups(groups)
  const moved = positionsIn(parts.groups, groups)
  for (let shard = 0; shard < parts.assignment.length; shard++) parts.assignment[shard] = moved[parts.assignment[shard] ?? 0] ?? absent
  parts.groups = groups
  parts.positions = positionsOf(groups)
}

function changeShards({ assignment, epochs, positions }: Parts, change: ConfigDifference): void {
  for (const { shard: number, group, epoch } of change.shards ?? []) {
    const shard = number ?? 0
    const position = group ? positions.get(group) : 0
    if (position === undefined || shard >= assignment.length) throw new RangeError(`no config: shard ${shard} goes to ${group}`)
    assignment[shard] = position
    epochs[shard] = checkedEpoch(shard, epoch ?? 0, position !== 0)
  }
  if ((change.removedGroups ?? []).length === 0) return
  const orphan = assignment.indexOf(absent)
  if (orphan >= 0) throw new RangeError(`no config: shard ${orphan} was left to a group that is no more`)
}

function changePins({ pins, assignment }: Parts, change: ConfigDifference): void {
  for (const shard of change.unpinned ?? []) pins.delete(shard)
  for (const { shard, group } of change.pins ?? []) {
    if ((shard ?? 0) >= assignment.length) throw new RangeError(`no config: pin of shard ${shard}`)
    pins.set(shard ?? 0, group ?? '')
  }
}

/** No position: a group that is no more. Above every position that a config has. */
const absent = 65_535

/** Position plus 1 among `from` → position plus 1 among `to`, both sorted by name. */
function positionsIn(from: readonly Group[], to: readonly Group[]): Uint16Array {
  const positions = new Uint16Array(from.length + 1)
  for (let at = 0, next = 0; at < from.length; at++) {
    const group = from[at]
    while (group !== undefined && (to[next]?.name ?? group.name) < group.name) next++
    positions[at + 1] = to[next]?.uid === group?.uid ? next + 1 : absent
  }
  return positions
}
