import { type Message, MessageType, type ReplicaNumber } from './types.ts'

/**
 * A leader's way to a quiet group (docs/decisions/0017-quiet-groups.md). After a rest of an election timeout it asks every follower; once
 * all have agreed nobody of the group ticks or sends until something wakes one of them. A follower agrees only where its log ends and is
 * committed exactly where the leader's does. Only liveness rests on this: a quiet replica votes, appends and commits by the same rules.
 */
export class Quiescence {
  readonly #restTicks: number
  /** An attempt that not all have agreed to by then is given up. */
  readonly #patienceTicks: number
  /** What came from clients up to the newest tick, as the leader counts it. */
  #traffic = 0
  /** Ticks without traffic and with everything done. */
  #rested = 0
  /** Number of the newest attempt: an agreement to an earlier one counts for nothing. */
  #attempt = 0
  #asking = false
  readonly #agreed = new Set<ReplicaNumber>()

  constructor(electionTicks: number) {
    this.#restTicks = electionTicks
    this.#patienceTicks = Math.ceil(electionTicks / 2)
  }

  /** Followers are being asked: who has agreed must hear nothing else, or it wakes. */
  get asking(): boolean {
    return this.#asking
  }

  get attempt(): number {
    return this.#attempt
  }

  /** `atRest`: everything is done and everybody has it; `traffic`: a count that moves with every proposal and read. */
  tick(atRest: boolean, traffic: number): void {
    if (!atRest || traffic !== this.#traffic) {
      this.#traffic = traffic
      this.restart()
      return
    }
    this.#rested++
    if (this.#rested === this.#restTicks) this.#begin()
    else if (this.#rested >= this.#restTicks + this.#patienceTicks) this.restart()
  }

  hasAgreed(replica: ReplicaNumber): boolean {
    return this.#agreed.has(replica)
  }

  agree(replica: ReplicaNumber, attempt: number): void {
    if (this.#asking && attempt === this.#attempt) this.#agreed.add(replica)
  }

  /** The rest begins anew. */
  restart(): void {
    this.#rested = 0
    this.#asking = false
    this.#agreed.clear()
  }

  #begin(): void {
    this.#attempt++
    this.#asking = true
  }
}

/** Whether a message that reaches a quiet replica leaves it quiet: it only says again what both know. */
export function leavesQuiet(message: Message): boolean {
  return message.type === MessageType.Quiesce || (message.type === MessageType.QuiesceResponse && !message.reject)
}
