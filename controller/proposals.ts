import { assert, unreachable } from '../base/assert.ts'
import { OstrakaError } from '../proto/errors.ts'
import type { ReplicaApi } from '../raft/replica-api.ts'
import type { ConfigResult } from './config-state.ts'
import { type ControllerEntry, encodeEntry } from './entry.ts'

const overloadedWaitMs = 100

/** The controllers' replica as promises that reject with typed errors. `hint` gives the address of a controller by its replica number, '' if unknown. */
export class Proposals {
  readonly #replica: ReplicaApi<ConfigResult>

  constructor(replica: ReplicaApi<ConfigResult>) {
    this.#replica = replica
  }

  /** Resolves when everything acknowledged before the call is applied here: read in the same turn. */
  readIndex(hint: (replica: number) => string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#replica.readIndex((outcome) => {
        if (outcome.kind === 'ready') resolve()
        else reject(refusal(outcome.reason, outcome.leader, hint))
      })
    })
  }

  /** What became of the entry. Rejects with UNKNOWN (indefinite) where leadership was lost with it. */
  propose(entry: ControllerEntry, hint: (replica: number) => string): Promise<ConfigResult> {
    return new Promise((resolve, reject) => {
      this.#replica.propose(encodeEntry(entry), (outcome) => {
        if (outcome.kind === 'applied') resolve(outcome.result)
        else if (outcome.kind === 'refused') reject(refusal(outcome.reason, outcome.leader, hint))
        else
          reject(
            new OstrakaError('UNKNOWN', 'the controller lost its leadership with the change in its log: it may still take effect', false),
          )
      })
    })
  }
}

function refusal(reason: 'not-leader' | 'overloaded' | 'stopped', leader: number, hint: (replica: number) => string): OstrakaError {
  switch (reason) {
    case 'not-leader':
      return notLeader(hint(leader))
    case 'overloaded':
      return new OstrakaError('OVERLOADED', 'the controller has too much in flight', true, { waitMs: overloadedWaitMs })
    case 'stopped':
      return new OstrakaError('UNAVAILABLE', 'this controller is stopping', true)
    default:
      return unreachable(reason)
  }
}

export function notLeader(leaderHint: string): OstrakaError {
  const text =
    leaderHint === '' ? 'this controller does not lead, and knows of no leader' : `this controller does not lead; ${leaderHint} may`
  return new OstrakaError('NOT_LEADER', text, true, { leaderHint })
}

/** For results that a leader's own checks rule out. */
export function mustBeDone(result: ConfigResult): void {
  assert(result.outcome === 'applied' || result.outcome === 'repeated', `an entry was ${result.outcome} that the leader had checked`)
}
