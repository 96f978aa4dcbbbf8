import type { pb } from './messages.ts'
import { decodeMigration, type Migration } from './migration.ts'

/** A shard that is to be made empty at an epoch above 1, because its data was given up. */
export interface ShardBirth {
  readonly shard: number
  /** Uid. */
  readonly group: string
  readonly epoch: number
}

/** What groups may have to act upon. */
export interface MigrationList {
  /** Rises with each change of any migration or birth; 0: nothing known, or nothing ever moved. */
  readonly version: number
  /** Those that run, and those that ended and that a group has not confirmed yet; by id. */
  readonly migrations: readonly Migration[]
  /** Those that their group has not confirmed yet. */
  readonly births: readonly ShardBirth[]
}

export const noMigrations: MigrationList = { version: 0, migrations: [], births: [] }

/**
 * What is known once `message`, a whole list or what changed after some version, has come: of two the newer. Throws RangeError where something
 * before it is missing, and on what is no list.
 */
export function mergeMigrationList(known: MigrationList, message: pb.v1.MigrationList.$Properties): MigrationList {
  const version = message.version ?? 0
  const since = message.since ?? 0
  if (version <= known.version) return known
  if (since > known.version) throw new RangeError(`migrations changed after version ${since} laid over ${known.version}`)
  const base = since === 0 ? noMigrations : known
  const migrations = new Map(base.migrations.map((migration) => [migration.id, migration]))
  for (const id of message.settled ?? []) migrations.delete(id)
  for (const migration of (message.migrations ?? []).map(decodeMigration)) migrations.set(migration.id, migration)
  const births = new Map(base.births.map((birth) => [birth.shard, birth]))
  for (const shard of message.born ?? []) births.delete(shard)
  for (const birth of (message.births ?? []).map(decodeBirth)) births.set(birth.shard, birth)
  return { version, migrations: [...migrations.values()], births: [...births.values()] }
}

/** Throws RangeError. */
export function decodeBirth(message: pb.v1.ShardBirth.$Properties): ShardBirth {
  const { shard, group, epoch } = message
  if (!group || !Number.isSafeInteger(epoch) || (epoch ?? 0) < 2)
    throw new RangeError(`no birth: shard ${shard}, group ${group}, epoch ${epoch}`)
  return { shard: shard ?? 0, group, epoch: epoch ?? 0 }
}
