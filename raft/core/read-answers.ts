import type { ReadState } from './types.ts'

const NO_STATES: readonly ReadState[] = []
const NO_CONTEXTS: readonly number[] = []

/** What became of this replica's reads, until a Ready takes it. What was confirmed stays an answer, also when the office is lost afterwards. */
export class ReadAnswers {
  #states: ReadState[] = []
  #lost: number[] = []

  get isEmpty(): boolean {
    return this.#states.length === 0 && this.#lost.length === 0
  }

  confirm(context: number, index: number): void {
    this.#states.push({ context, index })
  }

  lose(context: number): void {
    this.#lost.push(context)
  }

  takeStates(): readonly ReadState[] {
    if (this.#states.length === 0) return NO_STATES
    const taken = this.#states
    this.#states = []
    return taken
  }

  takeLost(): readonly number[] {
    if (this.#lost.length === 0) return NO_CONTEXTS
    const taken = this.#lost
    this.#lost = []
    return taken
  }
}
