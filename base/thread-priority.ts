/** How the system shares processors out among the threads of this process: on Linux, where each has a priority of its own. Elsewhere nothing happens. */
import { execFile } from 'node:child_process'
import { readlinkSync } from 'node:fs'
import os from 'node:os'

/** The system's number of the thread that asks, which Node does not tell but /proc does; undefined: not to be had. */
export function currentThread(): number | undefined {
  if (process.platform !== 'linux') return undefined
  try {
    return Number(/(\d+)$/.exec(readlinkSync('/proc/thread-self'))?.[1])
  } catch {
    return undefined
  }
}

/** Adds to the niceness of a thread, 19 at the most. */
export function lowerPriority(thread: number, niceness: number): void {
  try {
    os.setPriority(thread, Math.min(os.getPriority(thread) + niceness, 19))
  } catch {
    // Not allowed: the thread then runs at the process's priority, which is slower for others but not wrong.
  }
}

/**
 * 'idle': a thread gets a processor only where no other wants one, and gives way at once; 'fair': by its niceness. Node knows no such call: `chrt` of
 * util-linux or BusyBox makes it. Where there is none the thread stays what it was. Resolves when it is done or has failed.
 */
export function setScheduling(thread: number, policy: 'idle' | 'fair'): Promise<void> {
  return new Promise((resolve) => {
    execFile('chrt', [policy === 'idle' ? '-i' : '-o', '-p', '0', String(thread)], () => resolve())
  })
}
