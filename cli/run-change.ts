import { anyBase, type Change, outcomeJson, outcomeText, waitSeconds } from './change.ts'
import type { ExitCode } from './exit-code.ts'
import type { Invocation } from './invocation.ts'

/** Makes a change, waits for its end if asked to, and tells the config number. */
export async function runChange(invocation: Invocation, change: Change, wait: boolean): Promise<ExitCode | undefined> {
  const timeoutMs = invocation.timeoutMs(wait ? waitSeconds : undefined)
  const startMs = performance.now()
  await invocation.withControllers(async (controllers) => {
    const outcome = await change.make(controllers, anyBase, { timeoutMs })
    if (wait) {
      const { waitForChange } = await import('./wait.ts')
      await waitForChange(invocation, controllers, change, outcome, timeoutMs - (performance.now() - startMs))
    }
    invocation.print(outcomeJson(outcome), outcomeText(outcome))
  })
  return undefined
}
