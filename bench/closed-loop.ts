import { build } from 'hdr-histogram-js'

export interface LoopResult {
  readonly operations: number
  readonly errors: number
  readonly seconds: number
  readonly perSecond: number
  /** Milliseconds. */
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

/** Keeps `inFlight` calls under way for `seconds`: each that ends begins the next. Latencies in a histogram of 3 digits. */
export async function closedLoop(inFlight: number, seconds: number, call: (n: number) => Promise<unknown>): Promise<LoopResult> {
  const histogram = build({ lowestDiscernibleValue: 1, highestTrackableValue: 60_000_000, numberOfSignificantValueDigits: 3 })
  const start = performance.now()
  const end = start + seconds * 1000
  let operations = 0
  let errors = 0
  let next = 0
  const worker = async () => {
    while (performance.now() < end) {
      const began = performance.now()
      try {
        await call(next++)
        operations++
      } catch {
        errors++
      }
      histogram.recordValue(Math.max(1, Math.round((performance.now() - began) * 1000)))
    }
  }
  await Promise.all(Array.from({ length: inFlight }, worker))
  const took = (performance.now() - start) / 1000
  return {
    operations,
    errors,
    seconds: took,
    perSecond: operations / took,
    p50: histogram.getValueAtPercentile(50) / 1000,
    p99: histogram.getValueAtPercentile(99) / 1000,
    p999: histogram.getValueAtPercentile(99.9) / 1000,
    max: histogram.maxValue / 1000,
  }
}
