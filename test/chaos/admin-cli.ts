/** The admin's commands as a user types them, and what they print. */
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Cluster } from './cluster-under-load.ts'

export interface ConfigJson {
  readonly number: number
  readonly cause: string
  readonly shardCount: number
  readonly groups: Readonly<Record<string, { readonly state: string; readonly weight: number }>>
  readonly assignment: readonly (string | null)[]
  readonly pins: Readonly<Record<string, string>>
}

export interface MigrationJson {
  readonly id: number
  readonly shards: readonly number[]
  readonly from: string
  readonly to: string
  readonly phase: 'copying' | 'catching-up' | 'releasing' | 'done' | 'aborted'
  readonly pauseMs?: number
  readonly reason?: string
}

export interface ChangeJson {
  readonly configNumber: number
  readonly migrations: readonly number[]
}

interface ErrorJson {
  readonly error: { readonly message: string; readonly definite: boolean }
}

export class AdminFailed extends Error {
  override readonly name = 'AdminFailed'
  readonly code: number

  constructor(code: number, command: string, stderr: string) {
    super(`ostraka ${command} ended with ${code}: ${stderr.trim()}`)
    this.code = code
  }
}

const againMs = 500
const insistMsMax = 120_000

export class AdminCli {
  /** Commands that had to be given again. */
  repeated = 0
  readonly #cluster: Cluster
  readonly #members: string

  constructor(cluster: Cluster) {
    this.#cluster = cluster
    this.#members = cluster.ready.nodes.map(({ id, address }) => `${id}=${address}`).join(',')
  }

  join(group: string): Promise<unknown> {
    return this.#insist(['join', group, '--nodes', this.#members, '--wait'])
  }

  leave(group: string): Promise<unknown> {
    return this.#insist(['leave', group, '--wait'])
  }

  move(shard: number, group: string): Promise<unknown> {
    return this.#insist(['move', String(shard), group, '--wait'])
  }

  /** Without waiting for its end. Asked for under one id until the answer is known, so it is made once. undefined: it was refused, for sure. */
  async beginMove(shard: number, group: string): Promise<ChangeJson | undefined> {
    const words = ['admin', 'move', String(shard), group, '--json', '--request-id', randomUUID()]
    const end = performance.now() + insistMsMax
    for (;;) {
      const { code, stdout, stderr } = await this.#cluster.run(words)
      if (code === 0) return JSON.parse(stdout) as ChangeJson
      if ((code !== 1 && code !== 69) || performance.now() > end) throw new AdminFailed(code, words.join(' '), `${stderr} ${stdout}`)
      // That nobody answered is definite, too, and no refusal.
      if (code === 1 && (JSON.parse(stdout) as ErrorJson).error.definite) return undefined
      this.repeated++
      await delay(againMs)
    }
  }

  unpin(shard: number): Promise<unknown> {
    return this.#insist(['unpin', String(shard)])
  }

  rebalance(): Promise<unknown> {
    return this.#insist(['rebalance', '--wait'])
  }

  async config(number?: number): Promise<ConfigJson> {
    return (await this.#insist(['query', ...(number === undefined ? [] : [String(number)])])) as ConfigJson
  }

  async migrations(): Promise<readonly MigrationJson[]> {
    return (await this.#insist(['migrations'])) as readonly MigrationJson[]
  }

  /** As often as it takes: under kills a command may find nobody, and a migration may be aborted and has to be asked for again. */
  async #insist(parameters: readonly string[]): Promise<unknown> {
    const end = performance.now() + insistMsMax
    for (;;) {
      const { code, stdout, stderr } = await this.#cluster.run(['admin', ...parameters, '--json'])
      if (code === 0) return JSON.parse(stdout) as unknown
      if ((code !== 1 && code !== 69) || performance.now() > end) {
        throw new AdminFailed(code, `admin ${parameters.join(' ')}`, `${stderr} ${stdout}`)
      }
      this.repeated++
      await delay(againMs)
    }
  }
}
