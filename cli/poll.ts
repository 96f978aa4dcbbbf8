/** Asks until the answer is there: every 50 ms, then slower, for at most `timeoutMs`. Undefined: not within the time. */
export async function pollUntil<T>(timeoutMs: number, ask: (leftMs: number) => Promise<T | undefined>): Promise<T | undefined> {
  const startMs = performance.now()
  for (let waitMs = 50; ; waitMs = Math.min(waitMs * 1.2, 1_000)) {
    const leftMs = timeoutMs - (performance.now() - startMs)
    if (leftMs <= 0) return undefined
    const answer = await ask(leftMs)
    if (answer !== undefined) return answer
    await new Promise((resolve) => setTimeout(resolve, Math.min(waitMs, leftMs)))
  }
}
