import { PassThrough, Readable } from 'node:stream'
import type { FileSystem } from '../../base/file-system.ts'
import { InlineExecutor } from '../../base/inline-executor.ts'
import { silentLogger } from '../../base/logger.ts'
import { NodeClock } from '../../base/node-clock.ts'
import { NodeFileSystem } from '../../base/node-file-system.ts'
import { SeededRandom } from '../../base/random.ts'
import type { Seams } from '../../base/seams.ts'
import { runCommand } from '../../cli/program.ts'
import type { Controllers, Database, World } from '../../cli/world.ts'
import type { Bytes, ScannedRecord } from '../../client/types.ts'
import type { Config } from '../../proto/config.ts'
import type { ChangeOutcome } from '../../proto/controller-client.ts'
import { Directory } from '../../proto/directory.ts'
import { OstrakaError } from '../../proto/errors.ts'
import { pb } from '../../proto/messages.ts'

/** A map behind the SDK's calls. */
export class FakeDatabase implements Database {
  readonly records = new Map<string, { value: Buffer; revision: number }>()
  /** Every call with its arguments, in order. */
  readonly calls: unknown[][] = []
  /** Thrown by every call. */
  failure: Error | undefined
  closed = false
  #revision = 0

  async put(key: Bytes, value: Bytes, options: object = {}): Promise<{ revision: number }> {
    this.#called('put', key, value, options)
    this.records.set(textOf(key), { value: Buffer.from(value), revision: ++this.#revision })
    return { revision: this.#revision }
  }

  async get(key: Bytes, options: object = {}) {
    this.#called('get', key, options)
    return this.records.get(textOf(key))
  }

  async delete(key: Bytes) {
    this.#called('delete', key)
    return { existed: this.records.delete(textOf(key)) }
  }

  async append(key: Bytes, value: Bytes) {
    this.#called('append', key, value)
    const old = this.records.get(textOf(key))?.value ?? Buffer.alloc(0)
    const { revision } = await this.put(key, Buffer.concat([old, Buffer.from(value)]))
    return { length: old.length + Buffer.byteLength(value), revision }
  }

  async increment(key: Bytes, by = 1n) {
    this.#called('increment', key, by)
    const value = BigInt(this.records.get(textOf(key))?.value.toString() ?? '0') + by
    const { revision } = await this.put(key, String(value))
    return { value, revision }
  }

  async compareAndSet(key: Bytes, condition: object, replacement: Bytes | { delete: true }, options: object = {}) {
    this.#called('compareAndSet', key, condition, replacement, options)
    const current = this.records.get(textOf(key))
    const expected = 'value' in condition ? String(condition.value) : undefined
    const applied = expected === current?.value.toString()
    if (applied && (typeof replacement === 'string' || replacement instanceof Uint8Array)) await this.put(key, replacement)
    return { applied, current: this.records.get(textOf(key)) }
  }

  async *scan(options: object = {}): AsyncGenerator<ScannedRecord> {
    this.#called('scan', options)
    for (const [key, record] of [...this.records].sort()) yield { key: Buffer.from(key, 'latin1'), ...record }
  }

  async explain(key: Bytes) {
    this.#called('explain', key)
    return { key: Buffer.from(key), slot: 15495, shard: 242, group: 'g1', leader: 'n2', configNumber: 7 }
  }

  async close(): Promise<void> {
    this.closed = true
  }

  #called(...call: unknown[]): void {
    this.calls.push(call)
    if (this.failure !== undefined) throw this.failure
  }
}

/** Keys are any bytes: latin1 keeps them apart in a map. */
function textOf(key: Bytes): string {
  return Buffer.from(key).toString('latin1')
}

export class FakeControllers implements Controllers {
  readonly calls: unknown[][] = []
  config: Config | undefined
  /** More controllers than c1, one list for each time that the status is asked for. */
  joining: pb.v1.ControllerStatus.$Properties[][] = []
  /** Answered one after the other, the last again and again, where there are any. */
  configs: Config[] = []
  failure: Error | undefined
  addresses: readonly string[] = []

  async query(number: number, options: object) {
    this.#called('query', number, options)
    const config = (this.configs.length > 1 ? this.configs.shift() : this.configs[0]) ?? this.config
    if (config === undefined) throw new OstrakaError('NOT_FOUND', `there is no config ${number}`, true)
    const node = { id: 'n1', addresses: [{ name: 'default', address: '127.0.0.1:7410' }], pid: 7, http: '', version: 1 }
    return { config, directory: new Directory(1, 'default', new Map([['n1', node]])) }
  }

  /** Answered by every change. */
  outcome: ChangeOutcome = { configNumber: 8, note: '', migrations: [] }
  /** Answered, or thrown, one after the other, the last again and again; undefined: no controller answers. */
  migrationLists: (pb.v1.Migration.$Properties[] | Error | undefined)[] = [[]]
  groups: pb.v1.GroupSummary.$Properties[] = [
    { name: 'g1', leader: 'n1', shards: 86, readsPerSecond: 12.3456, writesPerSecond: 250, bytes: 4096 },
  ]
  shards: pb.v1.ShardSummary.$Properties[] = []
  rebalancing: pb.v1.AutoRebalanceStatus.$Properties = {}

  async join(request: object, options: object) {
    return this.#changed('join', request, options)
  }

  async leave(request: object, options: object) {
    return this.#changed('leave', request, options)
  }

  async move(request: object, options: object) {
    return this.#changed('move', request, options)
  }

  async unpin(request: object, options: object) {
    return this.#changed('unpin', request, options)
  }

  async rebalance(request: object, options: object) {
    return this.#changed('rebalance', request, options)
  }

  async weigh(request: object, options: object) {
    return this.#changed('weigh', request, options)
  }

  async autoRebalance(request: object, options: object) {
    return this.#changed('autoRebalance', request, options)
  }

  async steer(request: object, options: object) {
    return this.#changed('steer', request, options)
  }

  async changeMembers(request: object, options: object) {
    return this.#changed('changeMembers', request, options)
  }

  async replaceNode(request: object, options: object) {
    return this.#changed('replaceNode', request, options)
  }

  /** Told with the lists, in turn. */
  versions: { version: number; since: number }[] = []
  /** Told with every list. */
  waiting: string[] = []

  async listMigrations(request: object, options: object) {
    this.#called('migrations', options, request)
    const list = this.migrationLists.length > 1 ? this.migrationLists.shift() : this.migrationLists[0]
    if (list === undefined) throw new OstrakaError('UNAVAILABLE', 'no controller leader answered', true)
    if (list instanceof Error) throw list
    return new pb.v1.MigrationsReply({ migrations: list, waiting: this.waiting, ...this.versions.shift() })
  }

  async plan(request: object, options: object) {
    this.#called('plan', request, options)
    return new pb.v1.PlanReply({
      configNumber: 7,
      migrationsMark: 4,
      moves: [{ shard: 3, from: '', to: 'g3', bytes: 2048 }],
      imbalanceBefore: 0.5,
      imbalanceAfter: 0.25,
      estimatedMs: 1500,
    })
  }

  async status(options: object) {
    this.#called('status', options)
    return new pb.v1.ClusterStatusReply({
      configNumber: 7,
      controllers: [{ id: 'c1', address: '127.0.0.1:7400', pid: 120, role: 'leader', live: true }, ...(this.joining.shift() ?? [])],
      nodes: [{ id: 'n1', address: '127.0.0.1:7410', pid: 123, live: true, http: '' }],
      groups: this.groups,
      shards: this.shards,
      autoRebalance: this.rebalancing,
    })
  }

  close(): void {}

  #changed(...call: unknown[]): ChangeOutcome {
    this.#called(...call)
    return this.outcome
  }

  #called(...call: unknown[]): void {
    this.calls.push(call)
    if (this.failure !== undefined) throw this.failure
  }
}

export interface Outcome {
  readonly code: number
  readonly stdout: Buffer
  readonly stderr: string
  /** stdout as JSON. */
  json(): unknown
}

export class FakeWorld implements World {
  stdin = Readable.from([])
  readonly stdout = new PassThrough({ highWaterMark: 1 << 30 })
  readonly stderr = new PassThrough({ highWaterMark: 1 << 30 })
  readonly author = 'tester@here'
  readonly database = new FakeDatabase()
  readonly fakeControllers = new FakeControllers()
  readonly asked: unknown[] = []
  readonly transfers: unknown[][] = []
  /** Thrown by the next transfers, one each. */
  transferRefusals: OstrakaError[] = []
  readonly connections: { controllers: string[]; deadlineMs: number }[] = []
  environment: Record<string, string | undefined> = {}
  yieldsProcessor = false

  async connect(options: { controllers: string[]; deadlineMs: number }): Promise<Database> {
    this.connections.push(options)
    return this.database
  }

  async controllers(addresses: readonly string[]): Promise<Controllers> {
    this.fakeControllers.addresses = addresses
    return this.fakeControllers
  }

  async nodeStatus(address: string, request: object, timeoutMs: number) {
    this.asked.push([address, request, timeoutMs])
    return new pb.v1.NodeStatusReply({
      id: 'n1',
      replicas: [
        {
          group: 'g1',
          role: 'leader',
          term: 3,
          leader: 'n1',
          commit: 120,
          applied: 120,
          lastIndex: 120,
          firstIndex: 40,
          logBytes: 9000,
          snapshotIndex: 39,
          configNumber: 7,
          shards: [
            { shard: 0, state: 'serving', readsPerSecond: 7.125, writesPerSecond: 0 },
            { shard: 5, state: 'exporting' },
          ],
          stateHash: 'abc',
          hashIndex: 120,
        },
      ],
    })
  }

  async transferLeader(address: string, request: { group?: string | null; node?: string | null }, timeoutMs: number) {
    this.transfers.push([address, request, timeoutMs])
    const refusal = this.transferRefusals.shift()
    if (refusal !== undefined) throw refusal
    return new pb.v1.TransferLeaderReply({ leader: request.node ?? '' })
  }

  readonly compactions: unknown[][] = []

  async compact(address: string, request: object, timeoutMs: number) {
    this.compactions.push([address, request, timeoutMs])
    return new pb.v1.CompactReply({ id: 'n1', replicas: [{ group: 'g1', bytesBefore: 3 * 1024 * 1024, bytesAfter: 1024 }] })
  }

  /** The real one, where not set otherwise. */
  files: FileSystem = new NodeFileSystem()

  async fileSystem(): Promise<FileSystem> {
    return this.files
  }

  async seams(): Promise<Seams> {
    const clock = new NodeClock()
    const fileSystem = new NodeFileSystem()
    return {
      clock,
      fileSystem,
      random: new SeededRandom(1),
      executor: new InlineExecutor({}, { fileSystem, clock }),
      transport: { listen: () => Promise.reject(new Error('no network')), connect: () => unreachableChannel() },
      logger: silentLogger,
    }
  }

  yieldProcessor(): void {
    this.yieldsProcessor = true
  }

  /** Runs a command in this world. */
  async run(...words: string[]): Promise<Outcome> {
    const code = await runCommand(this, words)
    const stdout = (this.stdout.read() as Buffer | null) ?? Buffer.alloc(0)
    const stderr = ((this.stderr.read() as Buffer | null) ?? Buffer.alloc(0)).toString()
    return { code, stdout, stderr, json: () => JSON.parse(stdout.toString()) as unknown }
  }
}

function unreachableChannel(): never {
  throw new Error('no network')
}
