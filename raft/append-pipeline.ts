import { type Entry, type HardState, type Message, NONE, type Ready } from './core/types.ts'

export interface AppendPipelineOptions {
  readonly log: {
    /** `onDurable` undefined: no sync is needed. Called in the order of the appends; never where the disk fails. */
    append(entries: readonly Entry[], hardState: HardState | undefined, onDurable: (() => void) | undefined): void
  }
  /** A deliberate break: leaves the vote out of what is persisted. */
  readonly forgetVote: boolean
  send(messages: readonly Message[]): void
  /** An append is on its way to the disk. */
  onHanded(): void
  /** The oldest append that is on its way is durable, with `last` as its last entry, and now `messages` may leave. */
  onDurable(last: Entry | undefined, messages: readonly Message[]): void
}

/**
 * Readys on their way to the disk, and the messages that must not leave before they are there (raft/README.md, duties 2, 4 and 5). Messages wait
 * for the append behind which they were made; those behind which nothing is unsynced leave at once.
 */
export class AppendPipeline {
  readonly #options: AppendPipelineOptions
  /** Messages that wait, by append; the last list is the newest append's. */
  readonly #unsynced: Message[][] = []

  constructor(options: AppendPipelineOptions) {
    this.#options = options
  }

  /** In the order of the Readys, before anything of a later one is done. */
  persist({ entries, hardState: moved, mustSync, messagesAfterAppend: messages }: Ready): void {
    const { log, forgetVote, send, onHanded, onDurable } = this.#options
    const hardState = forgetVote && moved !== undefined ? { ...moved, vote: NONE } : moved
    if (entries.length === 0 && (hardState === undefined || !mustSync)) {
      if (hardState !== undefined) log.append(entries, hardState, undefined)
      const newest = this.#unsynced.at(-1)
      if (newest === undefined) send(messages)
      else newest.push(...messages)
      return
    }
    const waiting = [...messages]
    this.#unsynced.push(waiting)
    const last = entries.at(-1)
    onHanded()
    log.append(entries, hardState, () => {
      this.#unsynced.shift()
      onDurable(last, waiting)
    })
  }
}
