declare module 'abstract-level/test/index.js' {
  import type { AbstractLevel } from 'abstract-level'
  import type tape from 'tape'

  /** Registers all of its tests with `test`. `factory`: a database of its own, not opened, for each call. */
  export default function suite(options: {
    readonly test: typeof tape
    readonly factory: (options?: object) => AbstractLevel<Uint8Array>
  }): void
}
