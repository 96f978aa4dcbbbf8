import { CorruptionError, NewerFormatError } from '../base/errors.ts'
import type { FileSystem } from '../base/file-system.ts'
import type { Logger } from '../base/logger.ts'
import type { DataDirectory, HeldReplica, RetiredReplica } from './data-directory.ts'
import type { LogDamage } from './log/recovery.ts'
import type { SharedLog } from './log/shared-log.ts'

export interface WholeLogOptions {
  readonly fileSystem: FileSystem
  readonly logger: Logger
  readonly directory: DataDirectory
  /** False: damage is an error, whichever replica lost something. */
  readonly retires: boolean
  open(): Promise<SharedLog>
}

/**
 * Opens a node's log for the replicas that are whole. One that lost a part of its log could vote twice in a term, or deny what it has acknowledged:
 * its number is retired, durably, before anything else happens; then what is left of its log goes. Where it is not known whose a damage is, all of
 * the node's replicas are lost, and the log with them. Repeating it changes nothing. Throws CorruptionError where damage is not to be mended so,
 * NewerFormatError where a newer release wrote the log: then nothing of it was touched.
 */
export async function openWholeLog(options: WholeLogOptions): Promise<SharedLog> {
  const { directory, logger, retires } = options
  let log = await options.open()
  const damage = log.damage.find(({ isNewer }) => isNewer) ?? log.damage[0]
  if (damage !== undefined) {
    if (damage.isNewer || !retires) {
      await log.close()
      const Refusal = damage.isNewer ? NewerFormatError : CorruptionError
      throw new Refusal(damage.file, damage.offset, `${damage.what}: ${lossOf(damage)}`)
    }
    const lost = lostBy(log, directory)
    await directory.retire(lost)
    for (const replica of lost) logger.error(replica, 'a replica is retired: a part of its log is lost, it must be replaced')
    if (log.damage.some(({ group }) => group === undefined)) {
      await log.close()
      await options.fileSystem.removeFolder(directory.logFolder)
      log = await options.open()
    }
  }
  for (const { uid, replica } of log.groups()) {
    if (directory.isRetired(uid, replica)) await removeLog(log, { group: uid, replica })
  }
  return log
}

/** Resolves when nothing of the replica's log is left, durably. */
export async function removeLog(log: SharedLog, { group, replica }: HeldReplica): Promise<void> {
  const key = log.groups().find(({ uid, replica: number }) => uid === group && number === replica)
  if (key !== undefined) await new Promise<void>((resolve) => log.group(key).remove(resolve))
}

function lostBy(log: SharedLog, directory: DataDirectory): RetiredReplica[] {
  const reasonOf = ({ file, offset, what }: LogDamage) => `the log is damaged: ${file} at offset ${offset}: ${what}`
  const whole = log.damage.find(({ group }) => group === undefined)
  if (whole === undefined) {
    return log.damage.flatMap((damage) =>
      damage.group === undefined ? [] : [{ group: damage.group.uid, replica: damage.group.replica, reason: reasonOf(damage) }],
    )
  }
  const named = log.groups().map(({ uid, replica }) => ({ group: uid, replica }))
  return [...directory.started, ...named].map((replica) => ({ ...replica, reason: reasonOf(whole) }))
}

function lossOf({ group, isNewer }: LogDamage): string {
  if (isNewer) return 'a newer version of ostraka wrote this log'
  const whose = group === undefined ? 'every replica of this node' : `replica ${group.replica} of group ${group.uid}`
  return `${whose} lost acknowledged log entries and must be replaced`
}
