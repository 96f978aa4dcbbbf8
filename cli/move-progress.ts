import type { SingleBar } from 'cli-progress'
import type { Invocation } from './invocation.ts'
import { hasEnded, type MigrationJson, progressOf } from './migration-json.ts'

const lineEveryMs = 5_000

/** How far a change is, for who waits for it: a bar on a terminal, else now and then a line on stderr, with --json nothing. */
export class MoveProgress {
  readonly #invocation: Invocation
  #bar: SingleBar | undefined
  #toldMs = performance.now()
  #told = ''

  constructor(invocation: Invocation) {
    this.#invocation = invocation
  }

  async update(migrations: readonly MigrationJson[]): Promise<void> {
    if (this.#invocation.json || migrations.length === 0) return
    const total = migrations.reduce((sum, { shards }) => sum + shards.length, 0)
    const moved = migrations.filter(hasEnded).reduce((sum, { shards }) => sum + shards.length, 0)
    const progress = migrations.reduce((sum, migration) => sum + progressOf(migration) * migration.shards.length, 0)
    if (this.#invocation.world.stderr.isTTY === true) await this.#draw(total, moved, progress)
    else this.tell(`${moved} of ${total} shards have moved, ${Math.floor((progress / total) * 100)} %`)
  }

  async #draw(total: number, moved: number, progress: number): Promise<void> {
    if (this.#bar === undefined) {
      const { Presets, SingleBar } = await import('cli-progress')
      const format = '{bar} {percentage} % | {moved}/{total} shards | {duration_formatted}'
      this.#bar = new SingleBar({ format, stream: this.#invocation.world.stderr, clearOnComplete: false }, Presets.shades_classic)
      this.#bar.start(total, 0, { moved: 0 })
    }
    this.#bar.update(progress, { moved })
  }

  /** What is waited for, where there is nothing more to draw. */
  tell(text: string): void {
    if (this.#invocation.json || text === this.#told || performance.now() - this.#toldMs < lineEveryMs) return
    this.#told = text
    this.#toldMs = performance.now()
    this.#bar?.stop()
    this.#bar = undefined
    this.#invocation.say(`ostraka: ${text}`)
  }

  stop(): void {
    this.#bar?.stop()
  }
}
