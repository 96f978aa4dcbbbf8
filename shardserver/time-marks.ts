import type { ReplicaApi } from '../raft/replica-api.ts'
import type { ProposalOutcome } from '../raft/state-machine.ts'
import type { GroupResult } from './apply-run.ts'
import { encodeTimeMark } from './entry.ts'

type Done = (outcome: ProposalOutcome<GroupResult>) => void

interface Mark {
  readonly timeMs: number
  readonly waiting: Done[]
}

/** Brings a group's time into its log where a read needs it; reads that need the same are served by one entry. */
export class TimeMarks {
  readonly #underWay = new Map<ReplicaApi<GroupResult>, Mark>()

  /** `done` is called, never within this call, when an entry of at least `timeMs` is applied, or none will be. */
  mark(replica: ReplicaApi<GroupResult>, timeMs: number, done: Done): void {
    const present = this.#underWay.get(replica)
    if (present !== undefined && present.timeMs >= timeMs) {
      present.waiting.push(done)
      return
    }
    const mark: Mark = { timeMs: Math.ceil(Math.max(timeMs, replica.groupTimeMs())), waiting: [done] }
    this.#underWay.set(replica, mark)
    replica.propose(encodeTimeMark(mark.timeMs), (outcome) => {
      if (this.#underWay.get(replica) === mark) this.#underWay.delete(replica)
      for (const waiting of mark.waiting) waiting(outcome)
    })
  }
}
