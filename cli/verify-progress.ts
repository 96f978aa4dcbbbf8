import type { SingleBar } from 'cli-progress'
import type { Invocation } from './invocation.ts'
import { byteText, durationText } from './units.ts'

const lineEveryMs = 5_000

/** How much has been read, for who waits: a bar on a terminal, else now and then a line on stderr, with --json nothing. */
export class VerifyProgress {
  readonly #invocation: Invocation
  readonly #totalBytes: number
  #bar: SingleBar | undefined
  #bytes = 0
  #toldMs = performance.now()

  private constructor(invocation: Invocation, totalBytes: number, bar: SingleBar | undefined) {
    this.#invocation = invocation
    this.#totalBytes = totalBytes
    this.#bar = bar
  }

  static async start(invocation: Invocation, totalBytes: number): Promise<VerifyProgress> {
    const { stderr } = invocation.world
    if (invocation.json || stderr.isTTY !== true) return new VerifyProgress(invocation, totalBytes, undefined)
    const { Presets, SingleBar } = await import('cli-progress')
    const format = '{bar} {percentage} % | {value}/{total} bytes | {eta_formatted} left'
    const formatTime = (seconds: number) => durationText(Number.isFinite(seconds) ? seconds * 1000 : 0)
    const bar = new SingleBar({ format, formatTime, stream: stderr, clearOnComplete: true }, Presets.shades_classic)
    bar.start(totalBytes, 0)
    return new VerifyProgress(invocation, totalBytes, bar)
  }

  add(bytes: number): void {
    // Files of a running node may have grown since they were counted.
    this.#bytes = Math.min(this.#bytes + bytes, this.#totalBytes)
    this.#bar?.update(this.#bytes)
    if (this.#bar !== undefined || this.#invocation.json || performance.now() - this.#toldMs < lineEveryMs) return
    this.#toldMs = performance.now()
    this.#invocation.say(`ostraka: ${byteText(this.#bytes)} of ${byteText(this.#totalBytes)} read`)
  }

  stop(): void {
    this.#bar?.stop()
    this.#bar = undefined
  }
}
