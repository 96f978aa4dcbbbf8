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

/** Throws RangeError. */
export function decodeMigrationList(message: pb.v1.MigrationList.$Properties): MigrationList {
  return {
    version: message.version ?? 0,
    migrations: (message.migrations ?? []).map(decodeMigration),
    births: (message.births ?? []).map(decodeBirth),
  }
}

/** Throws RangeError. */
export function decodeBirth(message: pb.v1.ShardBirth.$Properties): ShardBirth {
  const { shard, group, epoch } = message
  if (!group || !Number.isSafeInteger(epoch) || (epoch ?? 0) < 2)
    throw new RangeError(`no birth: shard ${shard}, group ${group}, epoch ${epoch}`)
  return { shard: shard ?? 0, group, epoch: epoch ?? 0 }
}
