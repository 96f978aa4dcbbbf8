/**
 * The load shares the processors with the cluster that it measures. A call that this process begins late, or an answer that it looks at late, counts as the cluster's;
 * so it goes first, as clients on machines of their own would. Linux, with the right to raise priorities; elsewhere nothing happens.
 */
import { readdir, writeFile } from 'node:fs/promises'
import os from 'node:os'

const niceness = -10
/** Of the session: where the kernel groups by session, niceness counts within a group only, and `ostraka up` has one of its own here. */
const sessionFile = '/proc/self/autogroup'

export class Precedence {
  readonly isHad: boolean
  readonly #before: number

  private constructor(isHad: boolean, before: number) {
    this.isHad = isHad
    this.#before = before
  }

  /** Processes that are started from now on have it, too. */
  static async take(): Promise<Precedence> {
    const before = os.getPriority()
    const isHad = process.platform === 'linux' && (await setNiceness(niceness))
    if (isHad) await setSessionNiceness(niceness)
    return new Precedence(isHad, before)
  }

  /** The session may be that of a shell. */
  async giveBack(): Promise<void> {
    if (!this.isHad) return
    await setNiceness(this.#before)
    await setSessionNiceness(0)
  }
}

/** Of all threads: the main one waits for those of the collector. */
async function setNiceness(value: number): Promise<boolean> {
  try {
    for (const thread of await readdir('/proc/self/task')) os.setPriority(Number(thread), value)
    return true
  } catch {
    return false
  }
}

/** A kernel may know no such groups. */
async function setSessionNiceness(value: number): Promise<void> {
  await writeFile(sessionFile, String(value)).catch(() => undefined)
}
