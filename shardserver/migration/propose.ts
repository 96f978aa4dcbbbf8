import { OstrakaError } from '../../proto/errors.ts'
import { encodeMigration } from '../entry.ts'
import type { MigrationStep } from '../migration-entry.ts'
import type { MigrationNode, MovingReplica } from './node.ts'

/** The time that the next entry of the group carries, ms. */
export function entryTimeMs({ replica, stateMachine }: MovingReplica): number {
  return Math.max(replica.groupTimeMs(), stateMachine.timeMs)
}

/**
 * Resolves once `step` is applied and was taken. Rejects with OstrakaError: FAILED_PRECONDITION where it was refused in `apply` (nothing
 * happened), INVALID_ARGUMENT where it is no step (a peer sent nonsense), NOT_LEADER, OVERLOADED or UNAVAILABLE where it is in no log, UNKNOWN where leadership was lost with it.
 */
export function proposeStep(node: MigrationNode, hosted: MovingReplica, step: MigrationStep): Promise<void> {
  const what = `${step.kind} of migration ${step.id}`
  let entry: Uint8Array
  try {
    entry = encodeMigration(entryTimeMs(hosted), step)
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    return Promise.reject(new OstrakaError('INVALID_ARGUMENT', `${what}: ${error.message}`, true))
  }
  return propose(node, hosted, entry, what)
}

export function propose(node: MigrationNode, hosted: MovingReplica, entry: Uint8Array, what: string): Promise<void> {
  return new Promise((resolve, reject) => {
    hosted.replica.propose(entry, (outcome) => {
      if (outcome.kind === 'lost') reject(new OstrakaError('UNKNOWN', `${what}: leadership was lost`, false))
      else if (outcome.kind === 'refused') reject(notTaken(node, hosted, outcome.reason, what))
      else if (outcome.result.kind === 'migrated') resolve()
      else {
        const why = outcome.result.kind === 'not-migrated' ? outcome.result.reason : outcome.result.kind
        reject(new OstrakaError('FAILED_PRECONDITION', `${what}: ${why}`, true))
      }
    })
  })
}

function notTaken(node: MigrationNode, { replica }: MovingReplica, reason: 'not-leader' | 'overloaded' | 'stopped', what: string) {
  if (reason === 'not-leader') return notLeader(node, replica.group, replica.leader)
  return new OstrakaError(reason === 'overloaded' ? 'OVERLOADED' : 'UNAVAILABLE', `${what}: the replica is ${reason}`, true)
}

export function notLeader(node: MigrationNode, group: string, leader: number): OstrakaError {
  const leaderHint = node.nodeOf(group, leader)
  return new OstrakaError('NOT_LEADER', leaderHint === '' ? `no leader of ${group} is known here` : `${leaderHint} leads ${group}`, true, {
    leaderHint,
  })
}

/** Resolves in a turn in which all that was committed before the call is applied here, this replica being the leader. */
export function confirmLead(node: MigrationNode, { replica }: MovingReplica): Promise<void> {
  return new Promise((resolve, reject) => {
    replica.readIndex((outcome) => {
      if (outcome.kind === 'ready' && replica.role === 'leader') resolve()
      else reject(notLeader(node, replica.group, replica.leader))
    })
  })
}
