import type { Clock } from '../base/clock.ts'

/** In this order within a turn: time passes, replicas do what they were woken for, and what that sent and appended leaves. */
const phases = ['tick', 'drain', 'leave'] as const

/**
 * What a process has to do for all its replicas at the end of a turn of its loop, in one callback: what arrives together is answered together, and
 * one frame to each peer and one write to the log carry it. A task may add tasks: those of a later phase run in this turn, others in the next.
 * A task that throws is a bug that ends the process: those behind it do not run.
 */
export class Turn {
  readonly #clock: Pick<Clock, 'soon'>
  #tasks = noTasks()
  #scheduled = false
  readonly #run = () => this.#runAll()

  constructor(clock: Pick<Clock, 'soon'>) {
    this.#clock = clock
  }

  /** The process's time goes on: before any replica looks at what else happened. */
  tick(task: () => void): void {
    this.#add('tick', task)
  }

  /** A replica was woken. */
  drain(task: () => void): void {
    this.#add('drain', task)
  }

  /** Frames that wait, and the batch that is written to the log. */
  leave(task: () => void): void {
    this.#add('leave', task)
  }

  #add(phase: (typeof phases)[number], task: () => void): void {
    this.#tasks[phase].push(task)
    if (this.#scheduled) return
    this.#scheduled = true
    this.#clock.soon(this.#run)
  }

  #runAll(): void {
    for (const phase of phases) {
      const tasks = this.#tasks[phase]
      this.#tasks[phase] = []
      for (const task of tasks) task()
    }
    this.#scheduled = phases.some((phase) => this.#tasks[phase].length > 0)
    if (this.#scheduled) this.#clock.soon(this.#run)
  }
}

function noTasks(): Record<(typeof phases)[number], (() => void)[]> {
  return { tick: [], drain: [], leave: [] }
}
