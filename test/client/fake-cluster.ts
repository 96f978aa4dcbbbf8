/**
 * A cluster as a client sees it, without consensus: one truth in memory behind nodes that refuse, delay, lose and lie low as a test says.
 * It keeps sessions as DESIGN §10 has them, and checks what every client owes: one number means one command, `lowest` never above it.
 */
import { compareBytes, toHex } from '../../base/bytes.ts'
import { shardOf, slotOf } from '../../base/slot.ts'
import { type Stream, streamRoute, TransportError, unaryRoute } from '../../base/transport.ts'
import { Client } from '../../client/client.ts'
import { isForAnyReplica } from '../../client/operation.ts'
import type { ReadMode } from '../../client/types.ts'
import { Config, encodeConfig } from '../../proto/config.ts'
import { encodeError } from '../../proto/error-codec.ts'
import { type ErrorCode, OstrakaError } from '../../proto/errors.ts'
import { pb } from '../../proto/messages.ts'
import { controllerMethods, kvMethods } from '../../proto/methods.ts'
import { type NetworkOptions, SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'

export interface Executed {
  readonly client: string
  readonly shard: number
  readonly sequence: number
  readonly key: string
}

/** One request as a node saw it. */
export interface Seen {
  readonly node: string
  readonly atMs: number
  readonly group: string
  readonly configNumber: number
  readonly commands: readonly pb.v1.Command[]
  readonly clientId: string
  readonly reads: readonly string[]
  readonly bytes: number
  /** Reads alone, which any replica may answer. */
  readonly isForAnyReplica: boolean
}

/** What a node does with a request: undefined is the honest thing. */
export type Deed =
  | { readonly refuse: pb.v1.Error }
  /** Members of it are refused, by position in its writes. */
  | { readonly refuseWrites: (index: number, command: pb.v1.Command) => pb.v1.Error | undefined }
  | { readonly refuseReads: (index: number, key: string) => pb.v1.Error | undefined }
  | 'ignore'
  | 'execute and say nothing'
  | 'break before'
  | 'break after'
  | { readonly delayMs: number }
  /** Executed so much later, whatever became of the client meanwhile, and answered then. */
  | { readonly executeAfterMs: number }

interface Row {
  readonly key: Uint8Array
  value: Buffer
  revision: number
}

interface Session {
  lowest: number
  readonly replies: Map<number, pb.v1.WriteResult>
}

interface Shard {
  readonly rows: Map<string, Row>
  readonly sessions: Map<string, Session>
  revision: number
}

export function refusal(
  code: ErrorCode,
  definite = true,
  details: { leaderHint?: string; groupHint?: string; configNumber?: number; waitMs?: number } = {},
): pb.v1.Error {
  return encodeError(new OstrakaError(code, `scripted ${code}`, definite, details))
}

export class FakeCluster {
  readonly world: World
  readonly network: SimNetwork
  readonly shardCount: number
  /** Group uid → node that leads. */
  readonly leaders = new Map<string, string>()
  readonly executed: Executed[] = []
  readonly seen: Seen[] = []
  /** Nodes to which streams were opened, in order. */
  readonly dialled: string[] = []
  /** Breaches of what a client owes. */
  readonly breaches: string[] = []
  readonly processes = new Map<string, SimProcess>()
  onReads: ((reads: readonly pb.v1.Read.$Properties[]) => void) | undefined
  script: (seen: Seen) => Deed | undefined = () => undefined
  scanScript: (node: string, request: pb.v1.ScanRequest) => pb.v1.Error | undefined = () => undefined
  config: Config
  readonly #shards: Shard[] = []
  readonly #watchers = new Set<Stream<pb.v1.WatchUpdate>>()
  readonly #commands = new Map<string, string>()
  readonly #nodes: string[]

  constructor(seed: number, options: { groups?: number; network?: NetworkOptions; nodes?: number } = {}) {
    this.world = new World({ seed })
    this.network = new SimNetwork(this.world, options.network)
    this.shardCount = 16
    const groups = options.groups ?? 1
    this.#nodes = Array.from({ length: options.nodes ?? 3 }, (_, i) => `n${i + 1}`)
    for (let shard = 0; shard < this.shardCount; shard++) this.#shards.push({ rows: new Map(), sessions: new Map(), revision: 0 })
    this.config = this.makeConfig(1, (shard) => `g${(shard % groups) + 1}@1`, groups)
    for (const group of this.config.groups) this.leaders.set(group.uid, 'n1')
  }

  makeConfig(number: number, owner: (shard: number) => string | undefined, groups = this.config.groups.length): Config {
    return new Config({
      number,
      atMs: 0,
      cause: 'test',
      author: 'test',
      shardCount: this.shardCount,
      groups: Array.from({ length: groups }, (_, i) => ({
        uid: `g${i + 1}@1`,
        name: `g${i + 1}`,
        weight: 1,
        state: 'active' as const,
        members: this.#nodes.map((node, replica) => ({ node, replica: i * 10 + replica + 1, state: 'voter' as const })),
      })),
      owner,
      epoch: () => number,
      pins: new Map(),
    })
  }

  async start(): Promise<this> {
    const controller = this.#process('c1')
    await controller.transport.listen(
      [{ name: 'default', address: 'c1:7400' }],
      [
        streamRoute(controllerMethods.watch, (stream) => {
          this.#watchers.add(stream)
          return { onMessage: () => this.#tell(stream), onEnd: () => void this.#watchers.delete(stream) }
        }),
      ],
    )
    for (const node of this.#nodes) {
      const process = this.#process(node)
      await process.transport.listen(
        [{ name: 'default', address: `${node}:7410` }],
        [
          streamRoute(kvMethods.executeStream, (stream) => {
            this.dialled.push(node)
            return { onMessage: (request) => this.#handle(process, stream, request), onEnd: () => undefined }
          }),
          unaryRoute(kvMethods.scan, async (request) => this.#scan(node, request)),
        ],
      )
    }
    return this
  }

  async connect(options: { deadlineMs?: number; name?: string; read?: ReadMode } = {}): Promise<Client> {
    const { clock, random, transport, logger } = this.#process(options.name ?? 'app')
    const { deadlineMs, read } = options
    const client = new Client({ transport, clock, random, logger, controllers: ['c1:7400'], deadlineMs, read })
    await this.settle(client.ready())
    return client
  }

  settle<T>(promise: Promise<T>, withinMs?: number): Promise<T> {
    return this.world.settle(promise, withinMs)
  }

  /** What a promise came to: its value or its error. */
  async outcome<T>(promise: Promise<T>): Promise<T | OstrakaError> {
    try {
      return await this.settle(promise)
    } catch (error) {
      if (error instanceof OstrakaError) return error
      throw error
    }
  }

  /** A newer config for everybody, at once unless a test holds the watchers back with `config =`. */
  publish(config: Config): void {
    this.config = config
    for (const stream of this.#watchers) this.#tell(stream)
  }

  shardOf(key: string): number {
    return shardOf(slotOf(Buffer.from(key)), this.shardCount)
  }

  value(key: string): string | undefined {
    return this.#shard(this.shardOf(key)).rows.get(key)?.value.toString()
  }

  /** As if an hour had passed. */
  dropSessions(): void {
    for (const shard of this.#shards) shard.sessions.clear()
  }

  #process(name: string): SimProcess {
    const process = new SimProcess(this.world, { name, network: this.network })
    this.processes.set(name, process)
    return process
  }

  #tell(stream: Stream<pb.v1.WatchUpdate>): void {
    const nodes = this.#nodes.map((id) => ({ id, addresses: [{ name: 'default', address: `${id}:7410` }], pid: 1, version: 1 }))
    stream.write(
      new pb.v1.WatchUpdate({
        config: encodeConfig(this.config),
        directory: { version: 1, nodes, listener: 'default' },
        clusterId: Buffer.alloc(16, 7),
      }),
    )
  }

  #shard(shard: number): Shard {
    const found = this.#shards[shard]
    if (found === undefined) throw new RangeError(`shard ${shard}`)
    return found
  }

  #handle(process: SimProcess, stream: Stream<pb.v1.ExecuteReply>, request: pb.v1.ExecuteRequest): void {
    const batch = request.writes.length > 0 ? pb.v1.WriteBatch.decode(request.writes) : new pb.v1.WriteBatch()
    const commands = batch.commands as pb.v1.Command[]
    const seen: Seen = {
      node: process.name,
      atMs: this.world.nowMs,
      group: request.group,
      configNumber: request.configNumber,
      commands,
      clientId: toHex(batch.clientId),
      reads: request.reads.map((read) => Buffer.from(read.key ?? []).toString()),
      bytes: request.writes.length,
      isForAnyReplica: request.writes.length === 0 && request.reads.every(({ consistency }) => isForAnyReplica(consistency ?? 0)),
    }
    this.seen.push(seen)
    this.onReads?.(request.reads)
    this.#check(seen)
    const deed = this.script(seen)
    const reply = (execute: () => pb.v1.ExecuteReply) => {
      const message = execute()
      message.id = request.id
      stream.write(message)
    }
    const honest = () => this.#execute(seen, deed)
    if (deed === 'ignore') return
    if (deed === 'break before') stream.end()
    else if (deed === 'execute and say nothing') honest()
    else if (deed === 'break after') {
      honest()
      stream.end()
    } else if (deed !== undefined && 'refuse' in deed) reply(() => new pb.v1.ExecuteReply({ error: deed.refuse }))
    else if (deed !== undefined && 'delayMs' in deed) {
      const message = honest()
      process.clock.setTimer(deed.delayMs, () => reply(() => message))
    } else if (deed !== undefined && 'executeAfterMs' in deed) process.clock.setTimer(deed.executeAfterMs, () => reply(honest))
    else reply(honest)
  }

  #check(seen: Seen): void {
    for (const command of seen.commands) {
      const id = `${seen.clientId}/${command.shard}/${command.sequence}`
      const bare = new pb.v1.Command(command)
      bare.sequence = 0
      bare.lowestOutstanding = 0
      bare.first = false
      const bytes = Buffer.from(pb.v1.Command.encode(bare).finish()).toString('latin1')
      if ((this.#commands.get(id) ?? bytes) !== bytes) this.breaches.push(`${id} is two commands`)
      this.#commands.set(id, bytes)
      if (command.lowestOutstanding > command.sequence || command.lowestOutstanding < 1)
        this.breaches.push(`${id}: lowest ${command.lowestOutstanding}`)
      if (command.sequence - command.lowestOutstanding >= 1024) this.breaches.push(`${id}: outside the window`)
    }
  }

  #execute(seen: Seen, deed: Deed | undefined): pb.v1.ExecuteReply {
    const leader = this.leaders.get(seen.group)
    if (leader !== seen.node && !seen.isForAnyReplica) {
      return new pb.v1.ExecuteReply({ error: refusal('NOT_LEADER', true, { leaderHint: leader ?? '' }) })
    }
    const refuseWrites = typeof deed === 'object' && 'refuseWrites' in deed ? deed.refuseWrites : () => undefined
    const refuseReads = typeof deed === 'object' && 'refuseReads' in deed ? deed.refuseReads : () => undefined
    const refusedKeys = new Set<string>()
    const writes = seen.commands.map((command, index) => {
      const key = keyOf(command)
      const error =
        refuseWrites(index, command) ?? (refusedKeys.has(key) ? refusal('SHARD_MOVING') : this.#wrongGroup(seen.group, command.shard))
      if (error !== undefined) refusedKeys.add(key)
      return error === undefined ? this.#apply(seen.clientId, command) : new pb.v1.WriteResult({ error })
    })
    const reads = seen.reads.map((key, index) => {
      const error = refuseReads(index, key) ?? this.#wrongGroup(seen.group, this.shardOf(key))
      return error === undefined ? this.#read(key) : new pb.v1.ReadResult({ error })
    })
    return new pb.v1.ExecuteReply({ writes, reads, configNumber: this.config.number })
  }

  #wrongGroup(group: string, shard: number): pb.v1.Error | undefined {
    if (this.config.groupOf(shard)?.uid === group) return undefined
    return refusal('WRONG_GROUP', true, { configNumber: this.config.number })
  }

  #read(key: string): pb.v1.ReadResult {
    const row = this.#shard(this.shardOf(key)).rows.get(key)
    return new pb.v1.ReadResult(row === undefined ? {} : { found: true, value: row.value, revision: row.revision })
  }

  #apply(client: string, command: pb.v1.Command): pb.v1.WriteResult {
    const shard = this.#shard(command.shard)
    let session = shard.sessions.get(client)
    if (session === undefined) {
      if (!command.first) return new pb.v1.WriteResult({ error: refusal('SESSION_EXPIRED') })
      shard.sessions.set(client, (session = { lowest: 0, replies: new Map() }))
    }
    session.lowest = Math.max(session.lowest, command.lowestOutstanding)
    for (const known of session.replies.keys()) if (known < session.lowest) session.replies.delete(known)
    if (command.sequence < session.lowest) return new pb.v1.WriteResult({ error: refusal('SESSION_EXPIRED') })
    let reply = session.replies.get(command.sequence)
    if (reply === undefined) {
      this.executed.push({ client, shard: command.shard, sequence: command.sequence, key: keyOf(command) })
      reply = this.#run(shard, command)
      session.replies.set(command.sequence, reply)
    }
    return reply
  }

  #run(shard: Shard, command: pb.v1.Command): pb.v1.WriteResult {
    const key = keyOf(command)
    const row = shard.rows.get(key)
    const set = (value: Uint8Array) => {
      shard.rows.set(key, { key: Buffer.from(key), value: Buffer.from(value), revision: ++shard.revision })
      return new pb.v1.WriteResult({ revision: shard.revision, applied: true })
    }
    if (command.put) return set(command.put.value ?? Buffer.alloc(0))
    if (command.append) {
      const value = Buffer.concat([row?.value ?? Buffer.alloc(0), command.append.value ?? Buffer.alloc(0)])
      const result = set(value)
      result.length = value.length
      return result
    }
    if (command.increment) {
      if (!/^-?\d+$/.test(row?.value.toString() ?? '0')) return new pb.v1.WriteResult({ error: refusal('INVALID_ARGUMENT') })
      const value = String(BigInt(row?.value.toString() ?? '0') + BigInt(command.increment.by ?? '0'))
      const result = set(Buffer.from(value))
      result.value = value
      return result
    }
    if (command.delete) return new pb.v1.WriteResult({ existed: shard.rows.delete(key) })
    if (command.expire) return new pb.v1.WriteResult({ existed: row !== undefined })
    if (command.batch) {
      for (const check of command.batch.checks ?? []) {
        const met = shard.rows.get(Buffer.from(check.key ?? []).toString())?.revision ?? 0
        if (met !== (check.revision ?? 0)) return new pb.v1.WriteResult({ error: refusal('CONDITION_FAILED') })
      }
      let revision = 0
      for (const write of command.batch.writes ?? []) {
        const name = Buffer.from(write.put?.key ?? write.delete?.key ?? []).toString()
        if (write.put)
          shard.rows.set(name, { key: Buffer.from(name), value: Buffer.from(write.put.value ?? []), revision: ++shard.revision })
        else shard.rows.delete(name)
        revision = shard.revision
      }
      return new pb.v1.WriteResult({ revision })
    }
    const compare = command.compareAndSet
    const met = compare?.expectValue
      ? row?.value.equals(compare.expectValue)
      : compare?.expectAbsent
        ? row === undefined
        : row?.revision === compare?.expectRevision
    if (met) {
      if (!compare?.remove) return set(compare?.value ?? Buffer.alloc(0))
      shard.rows.delete(key)
      return new pb.v1.WriteResult({ applied: true })
    }
    if (row === undefined) return new pb.v1.WriteResult({})
    const omitted = row.value.length > 1024
    const current = { found: true, revision: row.revision, valueOmitted: omitted, ...(omitted ? {} : { value: row.value }) }
    return new pb.v1.WriteResult({ current })
  }

  #scan(node: string, request: pb.v1.ScanRequest): pb.v1.ScanReply {
    const scripted = this.scanScript(node, request)
    if (scripted?.message === 'break') throw new TransportError('UNAVAILABLE', 'broken')
    const leader = this.leaders.get(request.group)
    const wrong = request.shards.map((shard) => this.#wrongGroup(request.group, shard)).find((error) => error !== undefined)
    const error =
      scripted ??
      (leader === node || isForAnyReplica(request.consistency) ? wrong : refusal('NOT_LEADER', true, { leaderHint: leader ?? '' }))
    if (error !== undefined) return new pb.v1.ScanReply({ error })
    const rows = request.shards
      .flatMap((shard) => [...this.#shard(shard).rows.values()])
      .filter((row) => compareBytes(row.key, request.start) >= 0 && (request.end.length === 0 || compareBytes(row.key, request.end) < 0))
      .sort((a, b) => (request.reverse ? -1 : 1) * compareBytes(a.key, b.key))
    const entries = rows
      .slice(0, Math.min(request.limit || 1000, this.pageEntries))
      .map(({ key, value, revision }) => ({ key, value, revision }))
    return new pb.v1.ScanReply({ entries, more: entries.length < rows.length })
  }

  pageEntries = 7
}

function keyOf(command: pb.v1.Command): string {
  const batch = command.batch?.writes?.[0]
  const operation =
    command.put ??
    command.delete ??
    command.append ??
    command.increment ??
    command.compareAndSet ??
    command.expire ??
    batch?.put ??
    batch?.delete
  return Buffer.from(operation?.key ?? command.batch?.checks?.[0]?.key ?? []).toString()
}
