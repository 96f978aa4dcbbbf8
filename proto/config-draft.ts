import { Config, checkedEpoch, decodeGroup, type Group, sortedGroups } from './config.ts'
import type { pb } from './messages.ts'

type ConfigDifference = pb.v1.ConfigDifference.$Properties

/**
 * A config that differences are laid over, one after the other. Shards are copied and groups sorted once for all of them, not once for each:
 * moving a set of shards is a number for each of them.
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
      epochs: this.#changed.epochs,
      pins: this.#changed.pins,
      ...sorted(this.#changed),
    })
    this.#changed = undefined
    return this.#config
  }

  /** A group of the config so far. */
  group(uid: string): Group | undefined {
    return this.#changed === undefined ? this.#config.groupByUid(uid) : this.#changed.slots[this.#changed.slotOf.get(uid) ?? -1]
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
    changeGroups(this.#changed, change)
    changeShards(this.#changed, change)
    changePins(this.#changed, change)
    this.#to = to
    this.#number = to.number ?? 0
  }
}

/** What belongs to the draft alone. Groups have slots, which stay where they are while groups come and go: sorted they are once at the end. */
interface Parts {
  /** Undefined: removed. */
  readonly slots: (Group | undefined)[]
  /** Uid → slot. */
  readonly slotOf: Map<string, number>
  /** Name → uid. */
  readonly names: Map<string, string>
  /** By shard: slot plus 1; 0: none. */
  readonly assignment: Uint16Array
  readonly epochs: Float64Array
  readonly pins: Map<number, string>
}

function partsOf(config: Config): Parts {
  return {
    slots: [...config.groups],
    slotOf: new Map(config.groups.map(({ uid }, at) => [uid, at])),
    names: new Map(config.groups.map(({ name, uid }) => [name, uid])),
    assignment: config.assignment.slice(),
    epochs: config.epochs.slice(),
    pins: new Map(config.pins),
  }
}

/** Groups sorted by name, and assignments to positions among them. */
function sorted({ slots, slotOf, assignment: bySlot }: Parts): { groups: readonly Group[]; assignment: Uint16Array } {
  const groups = sortedGroups(slots.filter((group) => group !== undefined))
  const positions = new Uint16Array(slots.length + 1)
  for (const [at, { uid }] of groups.entries()) positions[(slotOf.get(uid) ?? 0) + 1] = at + 1
  const assignment = new Uint16Array(bySlot.length)
  for (let shard = 0; shard < bySlot.length; shard++) assignment[shard] = positions[bySlot[shard] ?? 0] ?? 0
  return { groups, assignment }
}

function changeGroups({ slots, slotOf, names }: Parts, change: ConfigDifference): void {
  for (const uid of change.removedGroups ?? []) {
    const slot = slotOf.get(uid)
    if (slot === undefined) continue
    names.delete(slots[slot]?.name ?? '')
    slots[slot] = undefined
    slotOf.delete(uid)
  }
  for (const group of (change.groups ?? []).map(decodeGroup)) {
    const { uid, name, weight } = group
    if ((names.get(name) ?? uid) !== uid) throw new RangeError(`no config: group ${name} twice`)
    if (!(weight > 0 && Number.isFinite(weight))) throw new RangeError(`no config: weight ${weight} of ${uid}`)
    const slot = slotOf.get(uid) ?? slots.length
    if (slot >= slotsMax) throw new RangeError('no config: too many groups')
    slots[slot] = group
    slotOf.set(uid, slot)
    names.set(name, uid)
  }
}

function changeShards({ slots, slotOf, assignment, epochs }: Parts, change: ConfigDifference): void {
  for (const { shard: number, group, epoch } of change.shards ?? []) {
    const shard = number ?? 0
    const slot = group ? slotOf.get(group) : -1
    if (slot === undefined || shard >= assignment.length) throw new RangeError(`no config: shard ${shard} goes to ${group}`)
    assignment[shard] = slot + 1
    epochs[shard] = checkedEpoch(shard, epoch ?? 0, slot !== -1)
  }
  if ((change.removedGroups ?? []).length === 0) return
  const orphan = assignment.findIndex((position) => position > 0 && slots[position - 1] === undefined)
  if (orphan >= 0) throw new RangeError(`no config: shard ${orphan} was left to a group that is no more`)
}

function changePins({ pins, assignment }: Parts, change: ConfigDifference): void {
  for (const shard of change.unpinned ?? []) pins.delete(shard)
  for (const { shard, group } of change.pins ?? []) {
    if ((shard ?? 0) >= assignment.length) throw new RangeError(`no config: pin of shard ${shard}`)
    pins.set(shard ?? 0, group ?? '')
  }
}

/** A slot plus 1 has 16 bits. */
const slotsMax = 65_534
