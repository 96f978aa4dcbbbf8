/**
 * Deliberate breaks of the migration protocol, named as its model names them: for proving that the simulator catches them. Never set otherwise.
 *
 *     activate-before-commit   the target serves as soon as it has caught up
 *     release-before-commit    the source releases when the target asks for the commit
 *     replay-without-cursor    a replay is applied whatever its start is
 *     sessions-left-behind     the session table does not move
 *     late-excise              an outcome of an older id is obeyed after the shard came back
 *     fence-forgotten          the excise takes the newest migration id with it
 *     ingest-before-majority   one replica with the files is enough to ingest
 *     released-reads           a source that has released still answers reads
 *     delta-misses-refusals    commands refused in apply are not in the delta
 *     born-again               a group that a config makes the owner makes the shard empty at an epoch above 1
 */
export const migrationBreaks = [
  'activate-before-commit',
  'release-before-commit',
  'replay-without-cursor',
  'sessions-left-behind',
  'late-excise',
  'fence-forgotten',
  'ingest-before-majority',
  'released-reads',
  'delta-misses-refusals',
  'born-again',
] as const

export type MigrationBreak = (typeof migrationBreaks)[number]
