import { emptyBytes, equalBytes, utf8 } from '../base/bytes.ts'
import { isShardCount } from '../base/slot.ts'
import { type Config, emptyConfig } from '../proto/config.ts'
import type { ConfigDifference } from '../proto/config-difference.ts'
import { type Directory, decodeNodeEntry, emptyDirectory, encodeNodeEntry, type NodeEntry } from '../proto/directory.ts'
import { pb } from '../proto/messages.ts'
import { type AnsweredChange, AnsweredRequests } from './answered-requests.ts'
import { type BalanceRules, decodeRules, encodeRules, firstRules } from './balance-rules.ts'
import {
  claimKey,
  controllerKey,
  decoding,
  differenceKey,
  joinedKey,
  metaKey,
  nodeKey,
  plain,
  putStep,
  putWhole,
  type RecordReader,
  type RecordWriter,
  readConfig,
  recordsOf,
} from './config-records.ts'
import { isName, nextConfigs } from './config-steps.ts'
import { type ControllerMembers, controllersAfter, decodeControllers, encodeControllers, formedControllers } from './controller-members.ts'
import type { DecodedEntry } from './entry.ts'
import { Migrations, type MigrationsEdit } from './migrations.ts'

/** What became of an entry. */
export interface ConfigResult {
  /**
   * repeated: done before, by an earlier entry of the same request. stale: the base is no longer the newest config, or migrations went on:
   * compute anew. lost: the replica number belongs to another data directory. refused: the entry makes no sense. Nothing changed but by applied.
   */
  readonly outcome: 'applied' | 'repeated' | 'stale' | 'lost' | 'refused'
  /** The newest config after the entry; of a repeated change the number after the first time. */
  readonly configNumber: number
  /** Of an applied or repeated change: the migrations that it concerned and planned. */
  readonly migrations?: readonly number[]
}

export interface Registration {
  readonly entry: NodeEntry
  /** The data directory's nonce; empty: not registered yet, only named in a join. */
  readonly nonce: Uint8Array
}

/** Differences that are kept in memory for watchers that come back. */
export const recentMax = 1024

/**
 * Everything that the controllers agree on, in memory. `apply` is deterministic and total, and writes down in records what it changes, so
 * that `load` gives the same state again.
 */
export class ConfigState {
  /** Drawn by the first leader, 16 bytes; empty: not formed yet. */
  clusterId: Uint8Array = emptyBytes
  /** The newest; undefined: not formed yet. */
  config: Config | undefined
  /** The next replica number to hand out. Only rises. */
  nextReplica = 1
  directory: Directory = emptyDirectory
  readonly nodes = new Map<string, Registration>()
  readonly controllers = new Map<string, Registration>()
  /** Who the controllers are to be. Who they are says their log's membership. */
  controllerMembers: ControllerMembers = formedControllers
  /** When shards are moved without being asked for. */
  balanceRules: BalanceRules = firstRules
  /** Replica number → who claimed it first. Never changes, never shrinks. */
  readonly claims = new Map<number, { readonly node: string; readonly group: string; readonly nonce: Uint8Array }>()
  /** Name → uid that joined last under it. */
  readonly joined = new Map<string, string>()
  /** The newest differences, each from one config number to the next, oldest first. */
  readonly recent: ConfigDifference[] = []
  readonly migrations = new Migrations()
  readonly #requests = new AnsweredRequests()

  get configNumber(): number {
    return this.config?.number ?? 0
  }

  /** What a request was answered before; undefined: not known. */
  answered(requestId: Uint8Array): AnsweredChange | undefined {
    return this.#requests.get(requestId)
  }

  apply(entry: DecodedEntry, records: RecordWriter): ConfigResult {
    switch (entry.kind) {
      case 'formed':
        return this.#form(entry.formed, records)
      case 'change':
        return this.#change(entry.change, records)
      case 'register':
        return this.#register(entry.registration, records)
      case 'claim':
        return this.#claim(entry.claim, records)
      case 'controllers':
        return this.#changeControllers(entry.controllers, records)
      case 'broken':
        return this.#result('refused')
    }
  }

  #result(outcome: ConfigResult['outcome']): ConfigResult {
    return { outcome, configNumber: this.configNumber }
  }

  #form(formed: pb.v1.ClusterFormed.$Properties, records: RecordWriter): ConfigResult {
    if (this.config !== undefined) return this.#result('repeated')
    const shardCount = formed.shardCount ?? 0
    if (!isShardCount(shardCount) || formed.clusterId?.length !== 16) return this.#result('refused')
    this.clusterId = plain(formed.clusterId)
    this.config = emptyConfig(shardCount)
    putWhole(records, this.config)
    this.#putMeta(records)
    return this.#result('applied')
  }

  #change(change: pb.v1.ConfigChange.$Properties, records: RecordWriter): ConfigResult {
    const requestId = change.requestId ?? emptyBytes
    const answered = requestId.length === 0 ? undefined : this.answered(requestId)
    if (answered !== undefined) return this.#repeated(answered)
    const { config } = this
    const steps = change.steps ?? []
    if (config === undefined) return this.#result('refused')
    if (steps.length > 0 && change.base !== config.number) return this.#result('stale')
    const next = nextConfigs(config, steps, this.nextReplica)
    const guesses = change.guesses ?? []
    if (next === undefined || guesses.some((guess) => !isName(guess.id))) return this.#result('refused')
    const edit = this.#prepared(change, config, next.config)
    const rules = rulesOf(change, this.balanceRules)
    if (typeof edit === 'string') return this.#result(edit)
    if (rules === undefined) return this.#result('refused')
    this.balanceRules = rules
    this.config = next.config
    for (const step of steps) this.#note(step, records)
    for (const whole of next.wholes) putWhole(records, whole)
    this.recent.splice(0, this.recent.length - recentMax)
    this.nextReplica = next.nextReplica
    this.migrations.commit(edit, records)
    for (const guess of guesses) this.#guess(decodeNodeEntry(guess), records)
    const migrations = [...(change.concerned ?? []), ...edit.planned.map(({ id }) => id)]
    if (requestId.length > 0) this.#remember(change, migrations, records)
    this.#putMeta(records)
    return { ...this.#result('applied'), migrations }
  }

  #prepared(change: pb.v1.ConfigChange.$Properties, before: Config, after: Config): MigrationsEdit | 'stale' | 'refused' {
    try {
      return this.migrations.prepare(change, { before, after }) ?? 'stale'
    } catch (error) {
      if (error instanceof RangeError) return 'refused'
      throw error
    }
  }

  #note(step: ConfigDifference, records: RecordWriter): void {
    putStep(records, step)
    this.recent.push(step)
    for (const { name, uid } of step.groups ?? []) this.#noteJoined(name ?? '', uid ?? '', records)
  }

  #noteJoined(name: string, uid: string, records: RecordWriter): void {
    if (this.joined.get(name) === uid) return
    this.joined.set(name, uid)
    records.put(joinedKey(name), utf8(uid))
  }

  #guess(entry: NodeEntry, records: RecordWriter): void {
    if (!this.nodes.has(entry.id)) this.#putNode(entry, emptyBytes, records)
  }

  #register(registration: pb.v1.NodeRegistration.$Properties, records: RecordWriter): ConfigResult {
    const id = registration.entry?.id ?? ''
    if (this.config === undefined || !isName(id)) return this.#result('refused')
    const entry = decodeNodeEntry(registration.entry ?? {})
    const nonce = plain(registration.nonce ?? emptyBytes)
    if (registration.controller) {
      this.#putController(entry, nonce, records)
    } else {
      this.#putNode(entry, nonce, records)
      this.#putMeta(records)
    }
    return this.#result('applied')
  }

  #putNode(given: NodeEntry, nonce: Uint8Array, records: RecordWriter): void {
    const entry = { ...given, version: this.directory.version + 1 }
    this.nodes.set(entry.id, { entry, nonce })
    this.directory = this.directory.with(entry)
    records.put(nodeKey(entry.id), pb.v1.NodeRegistration.encode({ entry: encodeNodeEntry(entry), controller: false, nonce }).finish())
  }

  #claim(claim: pb.v1.ReplicaClaim.$Properties, records: RecordWriter): ConfigResult {
    const replica = claim.replica ?? 0
    const nonce = plain(claim.nonce ?? emptyBytes)
    const first = this.claims.get(replica)
    if (first !== undefined) return this.#result(equalBytes(first.nonce, nonce) ? 'repeated' : 'lost')
    if (replica === 0 || replica >= this.nextReplica || nonce.length === 0) return this.#result('refused')
    this.claims.set(replica, { node: claim.node ?? '', group: claim.group ?? '', nonce })
    records.put(claimKey(replica), pb.v1.ReplicaClaim.encode(claim).finish())
    return this.#result('applied')
  }

  #repeated({ configNumber, migrations }: AnsweredChange): ConfigResult {
    return { outcome: 'repeated', configNumber, migrations }
  }

  #remember(
    { requestId, requested }: pb.v1.ConfigChange.$Properties | pb.v1.ControllersChange.$Properties,
    migrations: readonly number[],
    records: RecordWriter,
  ): void {
    const answer = { configNumber: this.configNumber, migrations, requested: requested ?? 0 }
    this.#requests.remember(requestId ?? emptyBytes, answer, records)
  }

  #changeControllers(change: pb.v1.ControllersChange.$Properties, records: RecordWriter): ConfigResult {
    const requestId = change.requestId ?? emptyBytes
    const answered = requestId.length === 0 ? undefined : this.answered(requestId)
    if (answered !== undefined) return this.#repeated(answered)
    const guesses = change.guesses ?? []
    if (this.config === undefined || guesses.some((guess) => !isName(guess.id))) return this.#result('refused')
    const after = controllersAfter(this.controllerMembers, change)
    if (typeof after === 'string') return this.#result(after)
    this.controllerMembers = after
    for (const guess of guesses) this.#putController(decodeNodeEntry(guess), emptyBytes, records)
    if (requestId.length > 0) this.#remember(change, [], records)
    this.#putMeta(records)
    return this.#result('applied')
  }

  #putController(entry: NodeEntry, nonce: Uint8Array, records: RecordWriter): void {
    this.controllers.set(entry.id, { entry: { ...entry, version: 0 }, nonce })
    const record = pb.v1.NodeRegistration.encode({ entry: encodeNodeEntry(entry), controller: true, nonce }).finish()
    records.put(controllerKey(entry.id), record)
  }

  #putMeta(records: RecordWriter): void {
    const meta = pb.v1.ControllerMeta.encode({
      clusterId: this.clusterId,
      shardCount: this.config?.shardCount ?? 0,
      nextReplica: this.nextReplica,
      directoryVersion: this.directory.version,
      configNumber: this.configNumber,
      requests: this.#requests.count,
      nextMigration: this.migrations.next,
      migrationsVersion: this.migrations.version,
      controllersVersion: this.controllerMembers.version,
      controllers: encodeControllers(this.controllerMembers.members),
      nextController: this.controllerMembers.next,
      ...(this.balanceRules === firstRules ? {} : { autoRebalance: encodeRules(this.balanceRules) }),
    })
    records.put(metaKey, meta.finish())
  }

  /** The state that the records of a database tell of. Throws CorruptionError. */
  static load(database: RecordReader): Promise<ConfigState> {
    return decoding('records', async () => {
      const state = new ConfigState()
      const bytes = await database.get(metaKey)
      if (bytes === undefined) return state
      const meta = pb.v1.ControllerMeta.decode(plain(bytes))
      state.clusterId = plain(meta.clusterId)
      state.nextReplica = meta.nextReplica
      const { controllersVersion: version, nextController: next } = meta
      state.controllerMembers = { version, members: decodeControllers(meta.controllers), next }
      if (meta.autoRebalance) state.balanceRules = decodeRules(meta.autoRebalance)
      state.config = await readConfig(database, meta.configNumber)
      if (state.config === undefined) throw new RangeError(`config ${meta.configNumber} is missing`)
      await state.#requests.load(database, meta.requests)
      await state.migrations.load(database, meta)
      await state.#loadRegistrations(database)
      await state.#loadRest(database)
      await state.#loadRecent(database, meta.configNumber)
      if (state.directory.version !== meta.directoryVersion) throw new RangeError('a registration is missing')
      return state
    })
  }

  async #loadRegistrations(database: RecordReader): Promise<void> {
    for (const letter of ['n', 'k'] as const) {
      for await (const { value } of recordsOf(database, letter)) {
        const { entry: message, nonce } = pb.v1.NodeRegistration.decode(plain(value))
        const entry = decodeNodeEntry(message ?? {})
        const registrations = letter === 'k' ? this.controllers : this.nodes
        registrations.set(entry.id, { entry, nonce: plain(nonce) })
        if (letter === 'n') this.directory = this.directory.with(entry)
      }
    }
  }

  async #loadRest(database: RecordReader): Promise<void> {
    for await (const { value } of recordsOf(database, 'r')) {
      const { replica, node, group, nonce } = pb.v1.ReplicaClaim.decode(plain(value))
      this.claims.set(replica, { node, group, nonce: plain(nonce) })
    }
    for await (const { key, value } of recordsOf(database, 'j')) {
      this.joined.set(new TextDecoder().decode(plain(key.subarray(1))), new TextDecoder().decode(plain(value)))
    }
  }

  async #loadRecent(database: RecordReader, newest: number): Promise<void> {
    for await (const { value } of recordsOf(database, 'c', differenceKey(Math.max(0, newest - recentMax + 1)))) {
      this.recent.push(pb.v1.ConfigDifference.decode(plain(value)))
    }
  }
}

/** After the change; undefined: those that it brings are none. */
function rulesOf({ autoRebalance }: pb.v1.ConfigChange.$Properties, before: BalanceRules): BalanceRules | undefined {
  if (!autoRebalance) return before
  try {
    return decodeRules(autoRebalance)
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}
