import { OstrakaError } from '../proto/errors.ts'
import type { Invocation } from './invocation.ts'
import { type Look, MigrationHistory } from './migration-history.ts'
import { hasEnded } from './migration-json.ts'
import { MigrationRates } from './migration-rates.ts'
import { sumLines } from './migration-sums.ts'
import { migrationLine, migrationsTable } from './migrations-table.ts'
import type { Controllers } from './world.ts'

const refreshMs = 500
/** Ended ones that the live view still shows. */
const endedShown = 10

export async function showMigrations(invocation: Invocation, controllers: Controllers): Promise<void> {
  const { migrations, waiting } = await new MigrationHistory().look(controllers, invocation.timeoutMs())
  await invocation.printDrawn(migrations, () => migrationsTable(migrations, Date.now()))
  for (const line of waiting) invocation.say(line)
}

/** Ends with ^C, and with an error other than that no controller answers; with that one too where none ever did. */
export async function watchMigrations(invocation: Invocation, controllers: Controllers): Promise<never> {
  const { stdout } = invocation.world
  const view: View = !invocation.json && stdout.isTTY === true ? new LiveView(stdout) : new ChangeLog(invocation)
  const history = new MigrationHistory()
  for (let isFirst = true; ; isFirst = false) {
    try {
      await view.show(await history.look(controllers, invocation.timeoutMs()))
    } catch (error) {
      if (isFirst || !(error instanceof OstrakaError) || error.code !== 'UNAVAILABLE') throw error
      view.lost(`${error.message}; asking again until ^C`)
    }
    await new Promise((resolve) => setTimeout(resolve, refreshMs))
  }
}

interface View {
  show(look: Look): Promise<void> | void
  /** Nobody answers, and who watches sees what was last. */
  lost(why: string): void
}

interface Screen {
  write(text: string): boolean
  readonly rows?: number
  readonly columns?: number
}

/** Draws over what it drew before. */
class LiveView implements View {
  readonly #output: Screen
  readonly #rates = new MigrationRates()
  #lines = 0
  #text = ''

  constructor(output: Screen) {
    this.#output = output
  }

  async show({ migrations, waiting }: Look): Promise<void> {
    this.#rates.look(migrations, performance.now())
    const running = migrations.filter((migration) => !hasEnded(migration))
    const ended = migrations.filter(hasEnded).slice(-endedShown)
    const nowMs = Date.now()
    const table = await migrationsTable([...ended, ...running], nowMs, this.#rates)
    this.#text = [`${running.length} running`, ...waiting, ...sumLines(migrations, nowMs), table].join('\n')
    this.#draw(this.#text)
  }

  lost(why: string): void {
    this.#draw(`${why}\n${this.#text}`)
  }

  #draw(text: string): void {
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
class ChangeLog implements View {
  readonly #invocation: Invocation
  readonly #rates = new MigrationRates()
  #told: Map<number, string> | undefined
  #waiting = ''
  #isLost = false

  constructor(invocation: Invocation) {
    this.#invocation = invocation
  }

  show({ migrations, waiting }: Look): void {
    this.#rates.look(migrations, performance.now())
    if (this.#isLost) this.#invocation.say('the controllers answer again')
    this.#isLost = false
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
  lost(why: string): void {
    if (!this.#isLost) this.#invocation.say(why)
    this.#isLost = true
  }
}
