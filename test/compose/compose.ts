/** The cluster of `docker-compose.yml`, driven through Docker's own commands. */
import { execFile, execFileSync } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import { type CommandResult, ostraka, root } from '../../testing/up.ts'

/** A project of its own, so that neither the volumes nor the image of a cluster that somebody uses are touched. */
const project = 'ostraka-test'
const label = `label=com.docker.compose.project=${project}`
export const image = 'ostraka-test:run'
export const controllers = ['c1', 'c2', 'c3'] as const
export const nodes = ['n1', 'n2', 'n3', 'n4', 'n5', 'n6'] as const

const QUICK_MS = 90_000
/** With npm in the build, on a machine that does other things too. */
const BUILD_MS = 600_000
const UP_MS = 360_000

export interface ClusterStatus {
  readonly configNumber: number
  readonly controllers: readonly { readonly id: string; readonly address: string; readonly role: string; readonly live: boolean }[]
  readonly nodes: readonly { readonly id: string; readonly address: string; readonly live: boolean }[]
  readonly groups: Readonly<Record<string, { readonly leader: string; readonly shards: number }>>
}

/** Compose 1 gives the engine a minute for each call: too little where every new container is a copy of the whole image. */
const ours = { COMPOSE_PROJECT_NAME: project, COMPOSE_HTTP_TIMEOUT: '300', OSTRAKA_IMAGE: image }

type Words = readonly string[]

/** The host's environment without what would lead the commands elsewhere. */
function environment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('OSTRAKA_') && !name.startsWith('COMPOSE_'))
  return { ...Object.fromEntries(kept), ...ours }
}

/** Resolves with stdout; rejects with what the command said last. */
function run([file = '', ...words]: Words, timeout: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { cwd: root, env: environment(), timeout, killSignal: 'SIGKILL', maxBuffer: 64 * 1024 * 1024 } as const
    const child = execFile(file, words, options, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout)
      const why = error.killed ? `not done after ${timeout / 1000} s` : `exit ${error.code}`
      reject(new Error(`${file} ${words.join(' ')}: ${why}: ${`${stdout}\n${stderr}`.trim().split('\n').slice(-12).join('\n')}`))
    })
    child.stdin?.end()
  })
}

/** Asks until there is an answer; rejects when there is none within the time. What a try throws counts as none, and is told at the end. */
export async function until<T>(what: string, timeoutMs: number, ask: () => Promise<T | undefined>): Promise<T> {
  const endMs = performance.now() + timeoutMs
  let last = ''
  while (performance.now() < endMs) {
    try {
      const answer = await ask()
      if (answer !== undefined) return answer
    } catch (error) {
      last = `: ${error instanceof Error ? error.message : String(error)}`
    }
    await delay(200)
  }
  throw new Error(`${what}: not within ${timeoutMs / 1000} s${last}`)
}

const linesOf = (text: string) => text.split('\n').filter((line) => line !== '')

export const container = (id: string) => `ostraka-${id}`

export class Compose {
  /** What ran them: version of the engine and of Compose. */
  readonly versions: string
  readonly #command: Words

  private constructor(command: Words, versions: string) {
    this.#command = command
    this.versions = versions
  }

  /** Compose 1 or 2 with an engine that answers; else the reason why there is none. */
  static async find(): Promise<Compose | string> {
    const engine = await run(['docker', 'version', '--format', '{{.Server.Version}}'], QUICK_MS).catch(() => undefined)
    if (engine === undefined) return 'no Docker engine answers'
    for (const command of [['docker-compose'], ['docker', 'compose']]) {
      const version = await run([...command, 'version', '--short'], QUICK_MS).catch(() => undefined)
      if (version !== undefined) return new Compose(command, `engine ${engine.trim()}, compose ${version.trim()}`)
    }
    return 'neither docker-compose nor docker compose is there'
  }

  docker(...words: string[]): Promise<string> {
    return run(['docker', ...words], QUICK_MS)
  }

  /** One service's build is everyone's image. */
  async build(): Promise<void> {
    await this.#compose(BUILD_MS, 'build', 'controller-1')
  }

  /** `up -d`, and then as a user waits: every server healthy, the one-shot join done. */
  async up(): Promise<void> {
    await this.#compose(UP_MS, 'up', '-d')
    await this.healthy(...controllers, ...nodes)
    const code = (await this.docker('wait', container('bootstrap'))).trim()
    if (code !== '0') throw new Error(`bootstrap ended with ${code}: ${await this.docker('logs', container('bootstrap'))}`)
  }

  async healthy(...ids: string[]): Promise<void> {
    const format = '{{.State.Health.Status}}'
    await until(`${ids.join(', ')} healthy`, 120_000, async () => {
      const states = await this.docker('inspect', '--format', format, ...ids.map(container))
      return states
        .trim()
        .split('\n')
        .every((state) => state === 'healthy')
        ? true
        : undefined
    })
  }

  /** SIGTERM to all; resolves with the exit codes by id. */
  async stop(): Promise<Record<string, number>> {
    await this.#compose(UP_MS, 'stop')
    const ids = [...controllers, ...nodes]
    const codes = await this.docker('inspect', '--format', '{{.State.ExitCode}}', ...ids.map(container))
    const list = codes.trim().split('\n').map(Number)
    return Object.fromEntries(ids.map((id, at) => [id, list[at] ?? -1]))
  }

  /** Containers and network go, volumes stay. */
  async down(): Promise<void> {
    await this.#compose(UP_MS, 'down')
  }

  /** Everything goes: containers, network, volumes, and the image with what its build left, unless it is to be kept. */
  async remove(keepImage: boolean): Promise<void> {
    await this.#compose(UP_MS, 'down', '-v', '--remove-orphans')
    if (keepImage) return
    await this.docker('rmi', '--force', image)
    await this.docker('image', 'prune', '--force', '--filter', 'label=ostraka.stage=build')
  }

  /** The same at once, for a signal handler; the image stays. */
  removeNow(): void {
    const [file = '', ...words] = [...this.#command, 'down', '-v', '--remove-orphans']
    execFileSync(file, words, { cwd: root, env: environment(), stdio: 'ignore', timeout: QUICK_MS })
  }

  /** What is there of this project, one line each, the kind in front. */
  async leftovers(): Promise<string[]> {
    const lists = await Promise.all([
      this.docker('ps', '-a', '--filter', label, '--format', 'container {{.Names}}'),
      this.docker('network', 'ls', '--filter', label, '--format', 'network {{.Name}}'),
      this.docker('volume', 'ls', '--filter', label, '--format', 'volume {{.Name}}'),
      this.docker('images', '--format', 'image {{.ID}}', image),
    ])
    return lists.flatMap(linesOf)
  }

  /** Every volume of the engine: one without a name bears no label. */
  async volumes(): Promise<string[]> {
    return linesOf(await this.docker('volume', 'ls', '--quiet'))
  }

  /** The command in a container that already runs. */
  exec(id: string, ...words: string[]): Promise<string> {
    return this.docker('exec', container(id), 'ostraka', ...words)
  }

  /** The command on the host, with its defaults. */
  host(...words: string[]): Promise<CommandResult> {
    return ostraka(words, '', { OSTRAKA_CONTROLLERS: undefined })
  }

  async status(): Promise<ClusterStatus> {
    const { code, stdout, stderr } = await this.host('admin', 'status', '--json')
    if (code !== 0) throw new Error(`admin status: ${code}: ${stderr}`)
    return JSON.parse(stdout) as ClusterStatus
  }

  #compose(timeoutMs: number, ...words: string[]): Promise<string> {
    return run([...this.#command, ...words], timeoutMs)
  }
}
