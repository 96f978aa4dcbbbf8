import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { z } from 'zod'
import { exitCode } from './exit-code.ts'

/** Ends that a new start cannot mend. */
const finalCodes: ReadonlySet<number | null> = new Set([exitCode.damaged, exitCode.diskError, exitCode.wrongDirectory])

const RESTART_AFTER_MS = 200
/** From one start to the next. */
const RESTART_INTERVAL_MS = 1_000
/** What a child may take after it was asked to end: its own five seconds and a little. */
const STOP_MS = 6_000

const readySchema = z.object({ ready: z.literal(true), id: z.string(), address: z.string(), http: z.string().optional() })

export type ReadyLine = z.output<typeof readySchema>

export interface ChildOptions {
  readonly id: string
  readonly command: string
  readonly parameters: readonly string[]
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly restart: boolean
  /** One line for people. */
  readonly report: (text: string) => void
  /** It has ended and stays so. */
  readonly onGone: (code: number | null) => void
}

/**
 * A server process under `up`: in the same process group, its stdin a pipe whose end it takes as the order to close; so it also ends when
 * `up` is killed. Started again when it dies, unless that cannot help.
 */
export class Child {
  readonly id: string
  readonly #options: ChildOptions
  #process: ChildProcess | undefined
  #startedMs = 0
  #timer: NodeJS.Timeout | undefined
  #stopping = false
  #ready: Promise<ReadyLine>
  #setReady: (line: ReadyLine) => void = () => {}
  #wasReady = false
  #onExit: () => void = () => {}

  constructor(options: ChildOptions) {
    this.id = options.id
    this.#options = options
    this.#ready = new Promise((resolve) => {
      this.#setReady = resolve
    })
    this.#start()
  }

  get pid(): number {
    return this.#process?.pid ?? 0
  }

  /** The first ready line. Never rejects: a child that dies before it is told by `onGone`. */
  get ready(): Promise<ReadyLine> {
    return this.#ready
  }

  /** Asks it to end, kills it if it does not, resolves when it is gone. */
  async stop(): Promise<void> {
    this.#stopping = true
    clearTimeout(this.#timer)
    const child = this.#process
    if (child === undefined) return
    const gone = new Promise<void>((resolve) => {
      this.#onExit = resolve
    })
    child.stdin?.end()
    const timer = setTimeout(() => this.kill(), STOP_MS)
    await gone
    clearTimeout(timer)
  }

  kill(): void {
    this.#process?.kill('SIGKILL')
  }

  #start(): void {
    this.#startedMs = performance.now()
    const { command, parameters, environment } = this.#options
    const child = spawn(command, parameters, { stdio: ['pipe', 'pipe', 'inherit'], env: { ...environment } })
    this.#process = child
    // A child that dies takes the pipe with it; its end is told below.
    child.stdin?.on('error', () => {})
    createInterface({ input: child.stdout }).on('line', (line) => this.#hear(line))
    child.on('error', (error) => this.#ended(exitCode.failed, error.message))
    child.on('exit', (code, signal) => this.#ended(code, signal === null ? `exit code ${code}` : signal))
  }

  #hear(line: string): void {
    const ready = readySchema.safeParse(tryJson(line))
    if (!ready.success) return
    if (this.#wasReady) this.#options.report(`${this.id} is back (pid ${this.pid})`)
    this.#wasReady = true
    this.#setReady(ready.data)
  }

  #ended(code: number | null, how: string): void {
    if (this.#process === undefined) return
    this.#process = undefined
    this.#onExit()
    if (this.#stopping) return
    // A first start that fails (a port in use, a folder locked) will fail again; a kill (no code) says nothing of the kind.
    const again = this.#options.restart && (this.#wasReady || code === null) && !finalCodes.has(code)
    const waitMs = Math.max(RESTART_AFTER_MS, this.#startedMs + RESTART_INTERVAL_MS - performance.now())
    this.#options.report(`${this.id} has ended (${how})${again ? `, starting it again in ${Math.ceil(waitMs)} ms` : ''}`)
    if (again) this.#timer = setTimeout(() => this.#start(), waitMs)
    else this.#options.onGone(code)
  }
}

function tryJson(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}
