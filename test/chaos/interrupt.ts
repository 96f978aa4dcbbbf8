/** Somebody wants the run to end before it is done: what was mounted and started must not stay behind. */

export class Interrupted extends Error {
  override readonly name = 'Interrupted'
}

/** Rejects with Interrupted at the first SIGINT or SIGTERM; the second ends the process, as ever. */
export class Interrupt {
  readonly happened: Promise<never>
  readonly #listeners: (readonly [NodeJS.Signals, () => void])[] = []

  constructor() {
    this.happened = new Promise((_, reject) => {
      for (const signal of ['SIGINT', 'SIGTERM'] as const) {
        const listener = () => {
          this.dispose()
          console.log(`${signal}: cleaning up`)
          reject(new Interrupted(signal))
        }
        this.#listeners.push([signal, listener])
        process.on(signal, listener)
      }
    })
    this.happened.catch(() => {})
  }

  dispose(): void {
    for (const [signal, listener] of this.#listeners) process.off(signal, listener)
  }
}
