import { anyBase, type Change, type ChangeFlags, outcomeJson, outcomeText, waitSeconds } from './change.ts'
import { type ExitCode, usageError } from './exit-code.ts'
import type { Invocation } from './invocation.ts'

const requestIdBytesMax = 64

/** Makes a change, waits for its end if asked to, and tells the config number. */
export async function runChange(invocation: Invocation, change: Change, flags: ChangeFlags): Promise<ExitCode | undefined> {
  const wait = flags.wait === true
  const named = flags.requestId === undefined ? {} : { requestId: checkedRequestId(flags.requestId) }
  const timeoutMs = invocation.timeoutMs(wait ? waitSeconds : undefined)
  const startMs = performance.now()
  await invocation.withControllers(async (controllers) => {
    const outcome = await change.make(controllers, anyBase, { timeoutMs, ...named })
    if (wait) {
      const { waitForChange } = await import('./wait.ts')
      await waitForChange(invocation, controllers, change, outcome, timeoutMs - (performance.now() - startMs))
    }
    invocation.print(outcomeJson(outcome), outcomeText(outcome))
  })
  return undefined
}

function checkedRequestId(id: string): string {
  const bytes = Buffer.byteLength(id)
  if (bytes > 0 && bytes <= requestIdBytesMax) return id
  throw usageError(`--request-id of ${bytes} bytes: give 1 to ${requestIdBytesMax}`)
}
