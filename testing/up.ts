/** `ostraka up` as a user runs it: real processes, real sockets, real disks. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { World } from '../cli/world.ts'

/** The project's folder, also when this runs from dist/. */
export const root = fileURLToPath(new URL('../', import.meta.url)).replace(/dist\/$/, '')
/** The built command: the tests' script builds first. */
export const bin = join(root, 'dist/cli/main.js')

export interface ReadyLine {
  readonly ready: true
  readonly controllers: readonly string[]
  readonly nodes: readonly { readonly id: string; readonly address: string; readonly pid: number; readonly http: string }[]
}

export interface CommandResult {
  readonly code: number
  readonly stdout: string
  /** stdout as it came. */
  readonly bytes: Buffer
  readonly stderr: string
}

/** Runs `ostraka …` to its end. */
export function ostraka(
  parameters: readonly string[],
  input: string | Uint8Array = '',
  environment: NodeJS.ProcessEnv = {},
): Promise<CommandResult> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [bin, ...parameters],
      { env: { ...process.env, ...environment }, encoding: 'buffer', maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1
        resolve({ code, stdout: stdout.toString('utf8'), bytes: stdout, stderr: stderr.toString('utf8') })
      },
    )
    child.stdin?.on('error', () => {})
    child.stdin?.end(input)
  })
}

/**
 * Runs a command that is no server, or a server that is refused its start, to its end in this process: over the same sockets, disks and streams of
 * bytes, without the third of a second of a core that a process takes to start. That `main.ts` gives it its own streams and ends with its code,
 * `ostraka` shows.
 */
export async function ostrakaHere(
  parameters: readonly string[],
  input: string | Uint8Array = '',
  environment: World['environment'] = {},
): Promise<CommandResult> {
  const [stdout, stderr] = [new Collected(), new Collected()]
  const stdin = Readable.from(input.length === 0 ? [] : [Buffer.from(input)], { objectMode: false })
  const [{ runCommand }, { NodeWorld }] = await Promise.all([import('../cli/program.ts'), import('../cli/node-world.ts')])
  const world = new NodeWorld({ stdin, stdout, stderr, env: { ...process.env, ...environment } })
  const code = await runCommand(world, parameters)
  return { code, stdout: stdout.bytes.toString('utf8'), bytes: stdout.bytes, stderr: stderr.bytes.toString('utf8') }
}

class Collected extends Writable {
  readonly #chunks: Buffer[] = []

  get bytes(): Buffer {
    return Buffer.concat(this.#chunks)
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#chunks.push(Buffer.from(chunk))
    done()
  }
}

/** A base port of which all ports that `up` takes are free now. Below the ephemeral range, so that outgoing connections do not take them. */
export async function freeBasePort(): Promise<number> {
  for (;;) {
    const base = 10_000 + 50 * Math.floor(Math.random() * 440)
    const offsets = [0, 1, 2, ...range(10, 10), ...range(20, 3), ...range(30, 10)]
    if ((await Promise.all(offsets.map((offset) => isFree(base + offset)))).every(Boolean)) return base
  }
}

function range(from: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => from + i)
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}

/** A running `ostraka up`. */
export class Up {
  readonly data: string
  readonly basePort: number
  readonly #flags: readonly string[]
  #child: ChildProcess | undefined
  #exited: Promise<number> = Promise.resolve(0)
  #gone: Promise<void> = Promise.resolve()
  #ready: ReadyLine | undefined
  /** What came on stderr since the newest start; the last 200,000 characters. */
  stderr = ''

  private constructor(data: string, basePort: number, flags: readonly string[]) {
    this.data = data
    this.basePort = basePort
    this.#flags = flags
  }

  /** Starts on a new temporary folder and free ports; resolves at the ready line. */
  static async start(flags: readonly string[] = []): Promise<Up> {
    const up = new Up(await mkdtemp(join(tmpdir(), 'ostraka-e2e-')), await freeBasePort(), flags)
    await up.restart()
    return up
  }

  get ready(): ReadyLine {
    if (this.#ready === undefined) throw new Error('not started')
    return this.#ready
  }

  get controllers(): string {
    return this.ready.controllers.join(',')
  }

  get pid(): number {
    return this.#child?.pid ?? 0
  }

  /** Resolves when `up` and everything it started has ended: all of them hold its stderr. */
  get gone(): Promise<void> {
    return this.#gone
  }

  /** Resolves when `text` has come on stderr since the newest start. */
  async saw(text: string): Promise<void> {
    while (!this.stderr.includes(text)) {
      if (this.#child?.stderr == null) throw new Error('not started')
      await once(this.#child.stderr, 'data')
    }
  }

  /** What was given as --data. */
  get folder(): string {
    return join(this.data, 'up')
  }

  /** Starts (again) on the same data; `flags` instead of the first start's. */
  async restart(flags: readonly string[] = this.#flags): Promise<void> {
    const child = spawn(process.execPath, [bin, 'up', '--data', this.folder, '--base-port', String(this.basePort), ...flags], {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    this.#child = child
    this.stderr = ''
    child.stderr?.on('data', (chunk: Buffer) => {
      this.stderr = (this.stderr + chunk.toString('utf8')).slice(-200_000)
    })
    this.#exited = new Promise((resolve) => child.once('exit', (code, signal) => resolve(code ?? (signal === null ? -1 : 128))))
    this.#gone = new Promise((resolve) => child.once('close', () => resolve()))
    const lines = createInterface({ input: child.stdout })
    this.#ready = await new Promise<ReadyLine>((resolve, reject) => {
      lines.once('line', (line) => resolve(JSON.parse(line) as ReadyLine))
      void this.#exited.then((code) => reject(new Error(`ostraka up ended with ${code}: ${this.stderr.slice(-2000)}`)))
    })
  }

  /** A command that is no server. */
  run(parameters: readonly string[], input: string | Uint8Array = ''): Promise<CommandResult> {
    return ostrakaHere(parameters, input, { OSTRAKA_CONTROLLERS: this.controllers })
  }

  /** The same as a process of its own. */
  start(parameters: readonly string[], input: string | Uint8Array = ''): Promise<CommandResult> {
    return ostraka(parameters, input, { OSTRAKA_CONTROLLERS: this.controllers })
  }

  /** kill -9 of `up` and everything it started. */
  async killAll(): Promise<void> {
    const { pid } = this
    if (pid !== 0) process.kill(-pid, 'SIGKILL')
    await this.#exited
    await this.#gone
  }

  /** ^C. Resolves with the exit code. */
  async stop(): Promise<number> {
    if (this.#child?.exitCode === null && this.#child.signalCode === null) process.kill(this.pid, 'SIGTERM')
    return this.#exited
  }

  /** Stops and removes the data. */
  async dispose(): Promise<void> {
    await this.stop()
    await rm(this.data, { recursive: true, force: true })
  }
}
