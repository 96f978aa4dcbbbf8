/**
 * The load shares the processors with the cluster that it measures. A call that this process begins late, or an answer that it looks at late, counts as the cluster's;
 * so it goes first, as clients on machines of their own would. Linux, with the right to raise priorities; elsewhere nothing happens.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { codeOf } from '../../base/errors.ts'

const niceness = -10
/** Of the session. Where the kernel groups by session, niceness counts within one only, and `ostraka up` has its own here. */
const sessionFile = '/proc/self/autogroup'

export class Precedence {
  readonly isHad: boolean
  readonly #before = os.getPriority()
  readonly #sessionBefore = sessionNiceness()
  readonly #atExit = () => this.giveBack()

  /** Processes that are started from now on have it, too. */
  constructor() {
    this.isHad =
      process.platform === 'linux' && setNiceness(niceness) && (this.#sessionBefore === undefined || setSessionNiceness(niceness))
    // The session may be that of a shell.
    process.once('exit', this.#atExit)
  }

  giveBack(): void {
    process.off('exit', this.#atExit)
    if (os.getPriority() !== this.#before) setNiceness(this.#before)
    if (this.#sessionBefore !== undefined && sessionNiceness() !== this.#sessionBefore) setSessionNiceness(this.#sessionBefore)
  }
}

/** Of all threads: the main one waits for those of the collector. */
function setNiceness(value: number): boolean {
  try {
    for (const thread of readdirSync('/proc/self/task')) setNicenessOf(Number(thread), value)
    return true
  } catch {
    return false
  }
}

function setNicenessOf(thread: number, value: number): void {
  try {
    os.setPriority(thread, value)
  } catch (error) {
    // It has ended meanwhile.
    if (codeOf((error as { info?: unknown }).info) !== 'ESRCH') throw error
  }
}

/** Undefined: the kernel knows no such groups, or does not use them. */
function sessionNiceness(): number | undefined {
  try {
    if (readFileSync('/proc/sys/kernel/sched_autogroup_enabled', 'utf8').trim() !== '1') return undefined
    const found = /nice (-?\d+)/.exec(readFileSync(sessionFile, 'utf8'))
    return found === null ? undefined : Number(found[1])
  } catch {
    return undefined
  }
}

function setSessionNiceness(value: number): boolean {
  try {
    writeFileSync(sessionFile, String(value))
    return true
  } catch {
    return false
  }
}
