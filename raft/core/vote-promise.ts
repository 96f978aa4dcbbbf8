import { type CoreOptions, type Message, MessageType } from './types.ts'

/**
 * A replica's word to its leader, on which the leader's lease rests: for T ticks after it heard from it, it helps nobody into office, neither
 * another nor itself, whatever it has become meanwhile. Unlike the refusal to whoever disturbs a leader (thesis, 4.2.3) this outlasts a change
 * of term, a campaign and a restart: it begins again at every start, since it may have been given right before the crash. Only where leases
 * are on.
 */
export class VotePromise {
  /** Its answers to heartbeats say that it is given. */
  readonly isGiven: boolean
  readonly #ticks: number
  #elapsed = 0

  constructor(options: Pick<CoreOptions, 'leases' | 'electionTicks' | 'unsafe'>) {
    this.isGiven = options.leases === true
    this.#ticks = this.isGiven && options.unsafe?.breakPromise !== true ? options.electionTicks : 0
  }

  get holds(): boolean {
    return this.#elapsed < this.#ticks
  }

  tick(count = 1): void {
    this.#elapsed += count
  }

  /** A leader was heard. */
  renew(): void {
    this.#elapsed = 0
  }

  /** Whether a request for votes gets no answer. The leader's own wish (context 1) is no breach: it gave its lease up before. */
  forbids(message: Message): boolean {
    return (message.type === MessageType.Vote || message.type === MessageType.PreVote) && message.context !== 1 && this.holds
  }
}
