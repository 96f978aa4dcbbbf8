import type { Invocation } from './invocation.ts'
import { hasEnded, type MigrationJson, migrationJson } from './migration-json.ts'
import { MigrationRates } from './migration-rates.ts'
import { sumLines } from './migration-sums.ts'
import { migrationLine, migrationsTable } from './migrations-table.ts'
import type { Controllers } from './world.ts'

const refreshMs = 500
/** Ended ones that the live view still shows. */
const endedShown = 10

interface Look {
  readonly migrations: readonly MigrationJson[]
  /** Lines: what is to move and no migration moves. */
  readonly waiting: readonly string[]
}

async function ask(invocation: Invocation, controllers: Controllers): Promise<Look> {
  const { migrations, waiting } = await controllers.listMigrations({}, { timeoutMs: invocation.timeoutMs() })
  return { migrations: migrations.map(migrationJson), waiting }
}

export async function showMigrations(invocation: Invocation, controllers: Controllers): Promise<void> {
  const { migrations, waiting } = await ask(invocation, controllers)
  await invocation.printDrawn(migrations, () => migrationsTable(migrations, Date.now()))
  for (const line of waiting) invocation.say(line)
}

/** Ends with ^C, or by the error of a controller that does not answer in time. */
export async function watchMigrations(invocation: Invocation, controllers: Controllers): Promise<never> {
  const { stdout } = invocation.world
  const view = !invocation.json && stdout.isTTY === true ? new LiveView(stdout) : new ChangeLog(invocation)
  for (;;) {
    await view.show(await ask(invocation, controllers))
    await new Promise((resolve) => setTimeout(resolve, refreshMs))
  }
}

interface Screen {
  write(text: string): boolean
  readonly rows?: number
  readonly columns?: number
}

/** Draws over what it drew before. */
class LiveView {
  readonly #output: Screen
  readonly #rates = new MigrationRates()
  #lines = 0

  constructor(output: Screen) {
    this.#output = output
  }

  async show({ migrations, waiting }: Look): Promise<void> {
    this.#rates.look(migrations, performance.now())
    const running = migrations.filter((migration) => !hasEnded(migration))
    const ended = migrations.filter(hasEnded).slice(-endedShown)
    const nowMs = Date.now()
    const table = await migrationsTable([...ended, ...running], nowMs, this.#rates)
    const text = [`${running.length} running`, ...waiting, ...sumLines(migrations, nowMs), table].join('\n')
    // What does not fit could not be drawn over.
    const { rows = 1000, columns = 1000 } = this.#output
    const lines = text
      .split('\n')
      .slice(0, Math.max(3, rows - 1))
      .map((line) => line.slice(0, columns))
    const up = this.#lines === 0 ? '' : `\u001b[${this.#lines}A\u001b[0J`
    this.#output.write(`${up}${lines.join('\n')}\n`)
    this.#lines = lines.length
  }
}

/** A line for each migration that is new or has changed; of what had ended before nothing. That it has begun to look, and what waits, is told on stderr. */
class ChangeLog {
  readonly #invocation: Invocation
  readonly #rates = new MigrationRates()
  #told: Map<number, string> | undefined
  #waiting = ''

  constructor(invocation: Invocation) {
    this.#invocation = invocation
  }

  show({ migrations, waiting }: Look): void {
    this.#rates.look(migrations, performance.now())
    if (this.#told === undefined) {
      const running = migrations.filter((migration) => !hasEnded(migration)).length
      this.#invocation.say(`watching, ${running} running; ^C ends`)
    }
    if (waiting.join('\n') !== this.#waiting) for (const line of waiting) this.#invocation.say(line)
    this.#waiting = waiting.join('\n')
    const now = new Map<number, string>()
    for (const migration of migrations) {
      const json = JSON.stringify(migration)
      now.set(migration.id, json)
      const isNews = this.#told === undefined ? !hasEnded(migration) : this.#told.get(migration.id) !== json
      if (isNews) this.#invocation.print(migration, migrationLine(migration, this.#rates.of(migration.id)))
    }
    this.#told = now
  }
}
