import { emptyBytes, utf8Text } from '../base/bytes.ts'
import type { Config } from '../proto/config.ts'
import { pb } from '../proto/messages.ts'
import { encodeMigration } from '../proto/migration.ts'
import { decodeBirth, type ShardBirth } from '../proto/migration-list.ts'
import { birthKey, migrationKey, plain, type RecordReader, type RecordWriter, recordsOf, tombstoneKey } from './config-records.ts'
import { decodeRecord, encodeRecord, isOpen, isSettled, type MigrationRecord } from './migration-record.ts'
import { isWhole, mayFollow } from './migration-transition.ts'

/** Migrations that are over and that nobody has to act upon: so many of those that are done are kept, and so many of the others, that no success drives a failure out. */
export const settledMax = 1000
/** Versions of the list whose changes are kept in memory, for watchers that know an older one. */
const changesMax = 1024

/** What one entry does to the migrations, checked against the state: all of it or nothing. */
export interface MigrationsEdit {
  readonly changed: readonly MigrationRecord[]
  readonly planned: readonly MigrationRecord[]
  readonly births: readonly ShardBirth[]
  readonly born: readonly ShardBirth[]
  readonly removedGroups: readonly string[]
}

/** Where an entry takes the configs. */
export interface ConfigSpan {
  readonly before: Config
  readonly after: Config
}

/**
 * All that the controllers agree on about moving shards. Part of the replicated state: it changes by `commit` alone, and writes down in
 * records what it changes.
 *
 * - A shard is in at most one open migration.
 * - A shard changes its owner only by a commit, a give-back or a birth, and each raises its epoch by one.
 */
export class Migrations {
  /** By rising id: those that run, those that ended and that a group has not confirmed, and of the others the newest `settledMax` that are done and as many that are not. */
  readonly byId = new Map<number, MigrationRecord>()
  /** By shard: given up, to be made empty, and not confirmed by the group. */
  readonly births = new Map<number, ShardBirth>()
  /** Uids of the groups that were removed, forever. */
  readonly tombstones = new Set<string>()
  /** The next id to hand out. Only rises. */
  next = 1
  /** Of the list of migrations and births: rises with each change. */
  version = 0
  readonly #openByShard = new Map<number, number>()
  /** What the newest versions changed, oldest first. */
  readonly #changes: { readonly ids: readonly number[]; readonly births: readonly number[] }[] = []
  readonly #settled = { done: 0, undone: 0 }

  /** The open migration of a shard; undefined: it stays where it is. */
  openOf(shard: number): MigrationRecord | undefined {
    const id = this.#openByShard.get(shard)
    return id === undefined ? undefined : this.byId.get(id)
  }

  /** For people, by id: those that are not settled, and of the others the newest `settledMax`. */
  history(): MigrationRecord[] {
    let left = this.#settled.done + this.#settled.undone - settledMax
    return [...this.byId.values()].filter((record) => !isSettled(record) || left-- <= 0)
  }

  /** The same of those that run or have changed since version `known`; undefined: that is too long ago. */
  changedSince(known: number): MigrationRecord[] | undefined {
    const behind = this.version - known
    if (known === 0 || behind < 0 || behind > this.#changes.length) return undefined
    const changed = behind === 0 ? [] : this.#changes.slice(-behind).flatMap(({ ids }) => ids)
    const running = this.open().map(({ id }) => id)
    return ascending([...changed, ...running]).flatMap((id) => this.byId.get(id) ?? [])
  }

  /** All open ones, by id. */
  open(): MigrationRecord[] {
    return [...this.byId.values()].filter(isOpen)
  }

  /** What groups may have to act upon: what changed of it since version `known`, or all of it where that is too long ago. */
  list(known = 0): pb.v1.MigrationList.$Properties {
    const { version } = this
    const behind = version - known
    if (known === 0 || behind > this.#changes.length) {
      const migrations = [...this.byId.values()].filter((record) => !isSettled(record)).map(encodeMigration)
      return { version, migrations, births: [...this.births.values()].sort((a, b) => a.shard - b.shard) }
    }
    const changes = behind === 0 ? [] : this.#changes.slice(-behind)
    const list = {
      version,
      since: known,
      migrations: [] as Listed[],
      settled: [] as number[],
      births: [] as ShardBirth[],
      born: [] as number[],
    }
    for (const id of ascending(changes.flatMap(({ ids }) => ids))) {
      const record = this.byId.get(id)
      if (record === undefined || isSettled(record)) list.settled.push(id)
      else list.migrations.push(encodeMigration(record))
    }
    for (const shard of ascending(changes.flatMap(({ births }) => births))) {
      const birth = this.births.get(shard)
      if (birth === undefined) list.born.push(shard)
      else list.births.push(birth)
    }
    return list
  }

  /** Whether a migration or a birth still waits for group `uid`. */
  concerns(uid: string): boolean {
    for (const record of this.byId.values()) if (waitsFor(record, uid)) return true
    for (const birth of this.births.values()) if (birth.group === uid) return true
    return false
  }

  /** What the entry would do; undefined: it does not fit the state. Throws RangeError on what cannot be read. */
  prepare(change: pb.v1.ConfigChange.$Properties, span: ConfigSpan): MigrationsEdit | undefined {
    const edit: MigrationsEdit = {
      changed: (change.changed ?? []).map(decodeRecord),
      planned: (change.planned ?? []).map(decodeRecord),
      births: (change.births ?? []).map(decodeBirth),
      born: (change.born ?? []).map(decodeBirth),
      removedGroups: (change.steps ?? []).flatMap((step) => step.removedGroups ?? []),
    }
    const fits =
      this.#changesFit(edit) && this.#plansFit(edit, span.after) && ownersFit(edit, this.byId, span) && this.#removalsFit(edit, span.after)
    return fits && edit.born.every((birth) => isSameBirth(birth, this.births.get(birth.shard))) ? edit : undefined
  }

  commit(edit: MigrationsEdit, records: RecordWriter): void {
    for (const record of [...edit.changed, ...edit.planned]) this.#put(record, records)
    this.next += edit.planned.length
    for (const { shard } of edit.born) {
      this.births.delete(shard)
      records.delete(birthKey(shard))
    }
    for (const birth of edit.births) {
      this.births.set(birth.shard, birth)
      records.put(birthKey(birth.shard), pb.v1.ShardBirth.encode(birth).finish())
    }
    for (const uid of edit.removedGroups) {
      this.tombstones.add(uid)
      records.put(tombstoneKey(uid), emptyBytes)
    }
    const ids = [...edit.changed, ...edit.planned].map(({ id }) => id)
    const births = [...edit.births, ...edit.born].map(({ shard }) => shard)
    if (ids.length + births.length > 0) {
      this.version++
      this.#changes.push({ ids, births })
      if (this.#changes.length > changesMax) this.#changes.shift()
    }
    this.#forget(records)
  }

  async load(database: RecordReader, meta: { readonly nextMigration: number; readonly migrationsVersion: number }): Promise<void> {
    this.next = Math.max(1, meta.nextMigration)
    this.version = meta.migrationsVersion
    for await (const { value } of recordsOf(database, 'g')) this.#take(decodeRecord(pb.v1.Migration.decode(plain(value))))
    for await (const { value } of recordsOf(database, 'b')) {
      const birth = decodeBirth(pb.v1.ShardBirth.decode(plain(value)))
      this.births.set(birth.shard, birth)
    }
    for await (const { key } of recordsOf(database, 't')) this.tombstones.add(utf8Text(plain(key.subarray(1))))
  }

  #put(record: MigrationRecord, records: RecordWriter): void {
    this.#take(record)
    records.put(migrationKey(record.id), pb.v1.Migration.encode(encodeRecord(record)).finish())
  }

  #take(record: MigrationRecord): void {
    const before = this.byId.get(record.id)
    this.byId.set(record.id, record)
    if (isSettled(record) && (before === undefined || !isSettled(before))) this.#settled[endOf(record)]++
    for (const shard of record.shards) {
      if (isOpen(record)) this.#openByShard.set(shard, record.id)
      else if (this.#openByShard.get(shard) === record.id) this.#openByShard.delete(shard)
    }
  }

  #forget(records: RecordWriter): void {
    const settled = this.#settled
    const isOver = () => settled.done > settledMax || settled.undone > settledMax
    for (const record of isOver() ? this.byId.values() : []) {
      if (!isOver()) return
      if (!isSettled(record) || settled[endOf(record)] <= settledMax) continue
      this.byId.delete(record.id)
      records.delete(migrationKey(record.id))
      settled[endOf(record)]--
    }
  }

  #changesFit({ changed }: MigrationsEdit): boolean {
    if (new Set(changed.map(({ id }) => id)).size !== changed.length) return false
    return changed.every((after) => {
      const before = this.byId.get(after.id)
      return before !== undefined && mayFollow(before, after)
    })
  }

  #plansFit({ changed, planned }: MigrationsEdit, config: Config): boolean {
    const ended = new Set(changed.filter((record) => !isOpen(record)).map(({ id }) => id))
    const taken = new Set<number>()
    return planned.every((record, at) => {
      if (record.id !== this.next + at || record.phase !== 'copying' || record.paused || !isWhole(record)) return false
      if (config.groupByUid(record.to)?.state !== 'active') return false
      return record.shards.every((shard) => {
        const open = this.#openByShard.get(shard)
        if (taken.has(shard) || (open !== undefined && !ended.has(open)) || config.groupOf(shard)?.uid !== record.from) return false
        taken.add(shard)
        return true
      })
    })
  }

  /** Who is removed has nothing more to say. */
  #removalsFit({ changed, planned, births, born, removedGroups }: MigrationsEdit, config: Config): boolean {
    if (removedGroups.length === 0) return true
    const after = new Map([...changed, ...planned].map((record) => [record.id, record]))
    const pending = new Map(this.births)
    for (const { shard } of born) pending.delete(shard)
    for (const birth of births) pending.set(birth.shard, birth)
    return removedGroups.every((uid) => {
      if (config.groupByUid(uid) !== undefined) return false
      for (const record of this.byId.values()) if (waitsFor(after.get(record.id) ?? record, uid)) return false
      return [...pending.values()].every(({ group }) => group !== uid)
    })
  }
}

/** Of one that is settled. */
function endOf({ phase }: MigrationRecord): 'done' | 'undone' {
  return phase === 'done' ? 'done' : 'undone'
}

type Listed = pb.v1.Migration.$Properties

/** Each once. */
function ascending(numbers: readonly number[]): number[] {
  return [...new Set(numbers)].sort((a, b) => a - b)
}

/** Whether `uid` may have to act upon it yet. */
function waitsFor(record: MigrationRecord, uid: string): boolean {
  return (record.from === uid && !record.fromConfirmed) || (record.to === uid && !record.toConfirmed)
}

function isSameBirth(a: ShardBirth, b: ShardBirth | undefined): boolean {
  return b !== undefined && a.group === b.group && a.epoch === b.epoch
}

/** Every change of owner is decided by this entry, as this entry says, and raises the epoch by one; what is decided has happened. */
function ownersFit(edit: MigrationsEdit, known: ReadonlyMap<number, MigrationRecord>, { before, after }: ConfigSpan): boolean {
  const decided = decisions(edit, known)
  if (before === after) return decided.size === 0
  for (let shard = 0; shard < after.shardCount; shard++) {
    const epoch = after.epochOf(shard)
    const owner = after.groupOf(shard)?.uid
    const decision = decided.get(shard)
    if (decision !== undefined) {
      if (decision.group !== owner || decision.epoch !== epoch || epoch !== before.epochOf(shard) + 1) return false
    } else if (before.groupOf(shard)?.uid !== owner || before.epochOf(shard) !== epoch) {
      if (before.epochOf(shard) !== 0 || epoch !== 1 || owner === undefined) return false
    }
  }
  for (const shard of decided.keys()) if (shard >= after.shardCount) return false
  return true
}

function decisions(edit: MigrationsEdit, known: ReadonlyMap<number, MigrationRecord>): Map<number, { group: string; epoch: number }> {
  const decided = new Map<number, { group: string; epoch: number }>()
  for (const record of edit.changed) {
    const isNew = known.get(record.id)?.phase !== record.phase
    if (!isNew || (record.phase !== 'committed' && record.phase !== 'given-back')) continue
    const group = record.phase === 'committed' ? record.to : record.from
    for (const [at, shard] of record.shards.entries()) decided.set(shard, { group, epoch: record.epochs[at] ?? 0 })
  }
  for (const { shard, group, epoch } of edit.births) decided.set(shard, { group, epoch })
  return decided
}
