import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { untilStdinEndsFlag } from '../../../cli/until-stdin-ends.ts'
import { nodeFlags, threadPoolSize } from '../../../cli/up-run.ts'
import { bin } from '../../../testing/up.ts'

export interface ServerProcessOptions {
  readonly id: string
  readonly kind: 'controller' | 'server'
  readonly parameters: readonly string[]
  readonly environment: Readonly<Record<string, string>>
  /** Its stderr of all starts, one behind the other. */
  readonly logFile: string
  /** A new process runs. */
  readonly onStart: (pid: number) => Promise<void>
}

/** How a process ended: its exit code, or -1 after a signal that it does not handle. */
export type ExitCode = number

/** One controller or node, started and ended by hand. It ends with this process, since its stdin does. */
export class ServerProcess {
  readonly id: string
  readonly kind: 'controller' | 'server'
  /** Ends that nobody has asked for. */
  readonly crashes: string[] = []
  isPaused = false
  readonly #options: ServerProcessOptions
  #child: ChildProcess | undefined
  #exited: Promise<ExitCode> = Promise.resolve(0)
  #isEndExpected = false
  #isReady = false
  #whenReady: Promise<void> = Promise.resolve()

  constructor(options: ServerProcessOptions) {
    this.id = options.id
    this.kind = options.kind
    this.#options = options
  }

  get pid(): number {
    return this.#child?.pid ?? 0
  }

  get isRunning(): boolean {
    return this.#child !== undefined
  }

  /** It runs and has said that it is ready. */
  get isReady(): boolean {
    return this.#isReady
  }

  /** Resolves when it is ready; rejects where it ends before. */
  get whenReady(): Promise<void> {
    return this.#whenReady
  }

  /** Resolves with how the process that runs ends, or the last one has ended. */
  get exited(): Promise<ExitCode> {
    return this.#exited
  }

  /** Resolves when the process runs, long before it is ready. */
  async start(): Promise<void> {
    const { kind, parameters, environment, logFile, onStart } = this.#options
    const log = openSync(logFile, 'a')
    const child = spawn(process.execPath, [...nodeFlags, bin, kind, ...parameters, untilStdinEndsFlag], {
      stdio: ['pipe', 'pipe', log],
      env: { ...process.env, UV_THREADPOOL_SIZE: threadPoolSize, ...environment },
    })
    closeSync(log)
    this.#child = child
    this.#isEndExpected = false
    this.isPaused = false
    child.stdin?.on('error', () => {})
    this.#whenReady = new Promise((resolve, reject) => {
      createInterface({ input: child.stdout as NodeJS.ReadableStream }).once('line', () => {
        this.#isReady = child === this.#child
        resolve()
      })
      child.once('exit', () => reject(new Error(`${this.id} has ended before it was ready`)))
    })
    // Not everybody waits for it.
    this.#whenReady.catch(() => {})
    this.#exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#child = undefined
        this.#isReady = false
        if (!this.#isEndExpected) this.crashes.push(`${this.id} has ended by itself (${signal ?? `exit code ${code}`})`)
        resolve(code ?? -1)
      })
    })
    await onStart(this.pid)
  }

  /** Resolves when it is gone. */
  async kill(): Promise<void> {
    this.signal('SIGKILL')
    await this.#exited
  }

  /** Resolves with its exit code. */
  async terminate(): Promise<ExitCode> {
    this.signal('SIGTERM')
    return await this.#exited
  }

  signal(signal: 'SIGKILL' | 'SIGTERM' | 'SIGSTOP' | 'SIGCONT'): void {
    if (signal === 'SIGKILL' || signal === 'SIGTERM') this.expectEnd()
    if (signal === 'SIGSTOP') this.isPaused = true
    if (signal === 'SIGCONT') this.isPaused = false
    this.#child?.kill(signal)
  }

  /** The next end of this process is no crash. */
  expectEnd(): void {
    this.#isEndExpected = true
  }

  /** The last lines that it wrote. */
  async lastWords(lines = 10): Promise<string> {
    const text = await readFile(this.#options.logFile, 'utf8')
    return text.trimEnd().split('\n').slice(-lines).join('\n')
  }
}
