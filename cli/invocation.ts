import type { Command } from 'commander'
import { limits } from '../proto/limits.ts'
import { parseAddresses } from './address.ts'
import { type ExitCode, exitCode, failureOf, usageError } from './exit-code.ts'
import type { Controllers, Database, World } from './world.ts'

export const controllersDefault = '127.0.0.1:7400,127.0.0.1:7401,127.0.0.1:7402'

/** The four flags of every command. No defaults here: what was not given may come from elsewhere. */
export function addCommonOptions(command: Command): Command {
  return command
    .option('--json', 'print JSON on stdout and nothing else')
    .option('--controllers <addresses>', `HOST:PORT,… of the controllers (default: OSTRAKA_CONTROLLERS or ${controllersDefault})`)
    .option('--timeout <seconds>', 'give up after so long (default: 10)')
    .option('--debug', 'show the stack of a failure')
}

interface CommonOptions {
  readonly json?: boolean
  readonly controllers?: string
  readonly timeout?: string
  readonly debug?: boolean
}

/** One run of a command: its flags, and how it speaks. */
export class Invocation {
  readonly world: World
  readonly json: boolean
  readonly #options: CommonOptions

  constructor(world: World, command: Command) {
    this.world = world
    this.#options = command.optsWithGlobals<CommonOptions>()
    this.json = this.#options.json === true
  }

  get controllers(): string[] {
    return parseAddresses(this.#options.controllers ?? (this.world.environment.OSTRAKA_CONTROLLERS || controllersDefault))
  }

  timeoutMs(defaultSeconds = 10): number {
    const given = this.#options.timeout
    if (given === undefined) return defaultSeconds * 1000
    const seconds = Number(given)
    if (!/^\d*\.?\d+$/.test(given) || seconds <= 0 || seconds > 86_400) {
      throw usageError(`--timeout ${given}: give seconds, above 0 and at most 86400`)
    }
    return Math.ceil(seconds * 1000)
  }

  /** One line: JSON with `--json`, else `text`. */
  print(json: unknown, text: string): void {
    this.world.stdout.write(`${this.json ? JSON.stringify(json) : text}\n`)
  }

  /** JSON in one line with `--json`, else what `draw` makes of it, which needs a package to be loaded. */
  async printDrawn(json: unknown, draw: () => Promise<string>): Promise<void> {
    this.print(json, this.json ? '' : await draw())
  }

  /** For people. */
  say(text: string): void {
    this.world.stderr.write(`${text}\n`)
  }

  async withDatabase<T>(use: (database: Database, deadlineMs: number) => Promise<T>): Promise<T> {
    const deadlineMs = Math.min(this.timeoutMs(), limits.writeAgeMsMax)
    const database = await this.world.connect({ controllers: this.controllers, deadlineMs })
    try {
      return await use(database, deadlineMs)
    } finally {
      await database.close()
    }
  }

  async withControllers<T>(use: (controllers: Controllers) => Promise<T>): Promise<T> {
    const controllers = await this.world.controllers(this.controllers)
    try {
      return await use(controllers)
    } finally {
      controllers.close()
    }
  }
}

/** Tells a failure, and returns the exit code for it. */
export function reportFailure(world: World, error: unknown, options: { json: boolean; debug: boolean }): ExitCode {
  const failure = failureOf(error)
  world.stderr.write(`ostraka: ${failure.message}\n`)
  if (options.debug && error instanceof Error && error.stack !== undefined) world.stderr.write(`${error.stack}\n`)
  if (options.json) {
    const { code, message, definite } = failure
    world.stdout.write(`${JSON.stringify({ error: { code, message, definite } })}\n`)
  }
  return failure.exitCode
}

/** What a command does; returns its exit code, nothing for 0. */
export type Handler = (invocation: Invocation, command: Command) => Promise<ExitCode | undefined>

/** Where commands are hung up, and where the exit code of the one that ran is left. */
export class Registry {
  readonly world: World
  /** The words as typed: commander does not tell what stood behind '--'. */
  readonly words: readonly string[]
  exitCode: ExitCode = exitCode.done

  constructor(world: World, words: readonly string[]) {
    this.world = world
    this.words = words
  }

  /** Adds the common flags and the handler. */
  add(command: Command, handler: Handler): void {
    addCommonOptions(command)
    command.action(async () => {
      this.exitCode = (await handler(new Invocation(this.world, command), command)) ?? exitCode.done
    })
  }
}

/** 'Examples:' at the end of a command's help. */
export function examples(...lines: string[]): string {
  return `\nExamples:\n${lines.map((line) => `  $ ${line.includes('ostraka ') ? line : `ostraka ${line}`}`).join('\n')}`
}
