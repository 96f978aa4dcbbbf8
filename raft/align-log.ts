import { CorruptionError } from '../base/errors.ts'
import { type HardState, NONE, type SnapshotMeta } from './core/types.ts'

/** What is asked of a group's log when it is opened. */
export interface OpenedLog {
  readonly firstIndex: number
  readonly lastIndex: number
  readonly hardState: HardState
  term(index: number): number | undefined
  reset(index: number, term: number): void
}

/**
 * Makes one of a log and the state machine that lies in `folder`, as they were found on open, and returns the hard state to go on with. The
 * state machine wins: a log that does not hold its (index, term) is discarded and starts behind it (what was applied was committed, and a
 * power loss may take the end of the log that was not synced yet). Throws CorruptionError where one of them lost what it had promised.
 */
export function alignLog(log: OpenedLog, durable: SnapshotMeta, folder: string): HardState {
  const { index, term } = durable
  const { hardState } = log
  if (index < log.firstIndex - 1) {
    const text = `the state stands at ${index} and the log begins at ${log.firstIndex}: what lies between is lost, this replica must be replaced`
    throw new CorruptionError(folder, undefined, text)
  }
  const holds = log.term(index) === term
  if (hardState.commit > (holds ? log.lastIndex : index)) {
    const text = `the log ends before its commit index ${hardState.commit}: a part of it is lost, this replica must be replaced`
    throw new CorruptionError(folder, undefined, text)
  }
  if (!holds) log.reset(index, term)
  // The term was lost with the end of the log, and no vote in it had left: a vote waits for the disk. To stay in an older term would let
  // its leader count entries here that are not its own.
  return hardState.term >= term ? hardState : { term, vote: NONE, commit: hardState.commit }
}
