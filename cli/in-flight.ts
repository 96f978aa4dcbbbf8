/** Runs tasks side by side, as many as a count and a number of bytes allow; a window always admits one. */
export class InFlight {
  readonly #countMax: number
  readonly #bytesMax: number
  #count = 0
  #bytes = 0
  #failed = false
  #error: unknown
  #waiting: (() => void)[] = []

  constructor(countMax: number, bytesMax: number) {
    this.#countMax = countMax
    this.#bytesMax = bytesMax
  }

  /** Starts `task` as soon as there is room. Throws the first error of an earlier task. */
  async add(bytes: number, task: () => Promise<void>): Promise<void> {
    while (this.#count > 0 && (this.#count >= this.#countMax || this.#bytes + bytes > this.#bytesMax)) await this.#nextEnd()
    this.throwIfFailed()
    this.#count++
    this.#bytes += bytes
    task()
      .catch((error: unknown) => {
        if (!this.#failed) this.#error = error
        this.#failed = true
      })
      .finally(() => {
        this.#count--
        this.#bytes -= bytes
        for (const resolve of this.#waiting.splice(0)) resolve()
      })
  }

  /** Resolves when nothing runs any more. */
  async settled(): Promise<void> {
    while (this.#count > 0) await this.#nextEnd()
  }

  throwIfFailed(): void {
    if (this.#failed) throw this.#error
  }

  #nextEnd(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
    })
  }
}
