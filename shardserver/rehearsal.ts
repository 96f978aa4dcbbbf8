/**
 * A process that was just started has run none of the code that a leader runs. It would run it for the first time in the moment in which writes wait
 * for it, and V8 compile it function by function meanwhile. So a node rehearses while it has little to do: three replicas of a group of their own,
 * in memory, elect a leader, take writes and reads, and hand the office round. See docs/decisions/0024-rehearsal.md.
 */
import { assert } from '../base/assert.ts'
import { utf8 } from '../base/bytes.ts'
import type { Clock, Timer } from '../base/clock.ts'
import { InlineExecutor } from '../base/inline-executor.ts'
import { silentLogger } from '../base/logger.ts'
import { MemoryFileSystem } from '../base/memory-file-system.ts'
import type { Random } from '../base/random.ts'
import { shardOf, slotOf } from '../base/slot.ts'
import { BlockCache, MemtableBudget } from '../lsm/index.ts'
import { Config } from '../proto/config.ts'
import { pb } from '../proto/messages.ts'
import { SharedLog } from '../raft/log/shared-log.ts'
import { decodeMessage, encodeMessage } from '../raft/message-codec.ts'
import { Replica } from '../raft/replica.ts'
import { firstStanding } from '../raft/standing.ts'
import { Turn } from '../raft/turn.ts'
import type { GroupResult } from './apply-run.ts'
import { encodeBirth } from './entry.ts'
import { shardJobs } from './jobs.ts'
import { KvServer } from './kv-server.ts'
import { openGroupStateMachine } from './open-group.ts'

const group = 'rehearsal@0'
const numbers = [1, 2, 3]
const shardCount = 16
const key = utf8('rehearsal')
const shard = shardOf(slotOf(key), shardCount)
/** A tick is a turn of the process. */
const electionTicks = 10
const callsPerLeader = 20
const callTimeoutMs = 10_000
/** A rehearsal takes some hundred: one that does not end is a bug, which must not keep a process busy. */
const turnsMax = 20_000
const segmentBytes = 1024 * 1024
const storeBytes = 1024 * 1024

export interface RehearsalFigures {
  /** Replicas that have led, in this order. */
  readonly led: readonly number[]
  /** Calls that were carried out; those that met a hand-over may have been refused instead. */
  readonly answered: number
}

/**
 * Takes some tenths of a second of processor time, in turns between which the process does what else it has to. Rejects where a part does not work as
 * it must, and when `signal` is aborted.
 */
export async function rehearse(clock: Clock, random: Random, signal?: AbortSignal): Promise<RehearsalFigures> {
  const rehearsal = new Rehearsal(clock, random, signal)
  try {
    return await rehearsal.run()
  } finally {
    await rehearsal.close()
  }
}

/** One of the three, as a node of its own. */
interface Player {
  readonly replica: Replica<GroupResult>
  readonly kv: KvServer
}

class Rehearsal {
  readonly #clock: Clock
  readonly #random: Random
  readonly #signal: AbortSignal | undefined
  readonly #config = configOfOne()
  readonly #clientId: Uint8Array
  /** By the number of the replica. */
  readonly #players = new Map<number, Player>()
  /** What has to be closed, in the order in which it was opened. */
  readonly #opened: { close(): Promise<void> }[] = []
  readonly #led: number[] = []
  #answered = 0
  #turns = 0
  #sequence = 0
  #failure: Error | undefined

  constructor(clock: Clock, random: Random, signal: AbortSignal | undefined) {
    this.#clock = new GuardedClock(clock, (error) => this.#fail(error))
    this.#random = random
    this.#signal = signal
    this.#clientId = Uint8Array.from({ length: 16 }, () => random.below(256))
  }

  async run(): Promise<RehearsalFigures> {
    for (const number of numbers) this.#players.set(number, await this.#open(number))
    let leader = await this.#elected()
    await this.#birth(leader)
    for (const _ of numbers) {
      await this.#lead(leader)
      await this.#handOver(leader, this.#player((leader.replica.replica % numbers.length) + 1))
      leader = await this.#elected()
    }
    assert(this.#answered >= numbers.length * callsPerLeader, `of a rehearsal's calls only ${this.#answered} were carried out`)
    return { led: this.#led, answered: this.#answered }
  }

  /** Where something failed its close may never end: it is not waited for. */
  async close(): Promise<void> {
    for (const { replica } of this.#players.values()) replica.stop()
    const closed = Promise.allSettled(this.#opened.reverse().map((part) => part.close()))
    if (this.#failure === undefined) await closed
  }

  async #open(number: number): Promise<Player> {
    const clock = this.#clock
    const fileSystem = new MemoryFileSystem()
    const turn = new Turn(clock)
    const onFailure = (error: Error) => this.#fail(error)
    const soon = (callback: () => void) => turn.leave(callback)
    const log = await SharedLog.open({ fileSystem, clock, soon, logger: silentLogger, folder: 'log', segmentBytes, onFailure })
    this.#opened.push(log)
    const stateMachine = await openGroupStateMachine({
      fileSystem,
      clock,
      executor: new InlineExecutor(shardJobs, { fileSystem, clock }),
      logger: silentLogger,
      folder: 'group',
      blockCache: new BlockCache(storeBytes),
      memtableBudget: new MemtableBudget(storeBytes),
      shardCount,
      first: () => firstStanding(new Map(numbers.map((replica) => [replica, nodeOf(replica)]))),
      onFailure,
    })
    this.#opened.push(stateMachine)
    const groupLog = log.group({ uid: group, replica: number })
    const replica = new Replica<GroupResult>({
      group,
      replica: number,
      clock,
      turn,
      random: this.#random,
      logger: silentLogger,
      log: groupLog,
      hardState: groupLog.hardState,
      stateMachine,
      electionTicks,
      heartbeatTicks: 1,
      snapshotLogBytes: segmentBytes,
      peers: { fetch: () => Promise.reject(new Error('no snapshots are rehearsed')), discard: () => Promise.resolve() },
      send: (message, envelope) => {
        const bytes = pb.v1.RaftMessage.encode(encodeMessage(message, envelope)).finish()
        clock.soon(() => this.#deliver(message.to, bytes))
      },
      silentTicks: () => 0,
      wantTicks: () => {},
      onSoftState: () => {},
      onMembers: () => {},
      onTruncated: () => {},
      onStopped: onFailure,
    })
    replica.begin()
    const kv = new KvServer({
      clock,
      logger: silentLogger,
      hosts: { get: () => ({ replica, stateMachine }) },
      host: { nodeOf: (_, other) => nodeOf(other) },
      watcher: { config: this.#config, atLeast: () => Promise.resolve(this.#config) },
    })
    return { replica, kv }
  }

  #deliver(to: number, bytes: Uint8Array): void {
    const wire = pb.v1.RaftMessage.decode(bytes)
    const message = decodeMessage(wire)
    if (message === undefined) this.#fail(new Error('a message was not understood'))
    else this.#player(to).replica.step(message, wire)
  }

  async #elected(): Promise<Player> {
    let leader: Player | undefined
    const look = () => {
      leader = [...this.#players.values()].find(({ replica }) => replica.role === 'leader')
      return leader !== undefined
    }
    await this.#until(look)
    assert(leader !== undefined, 'somebody leads')
    return leader
  }

  async #birth({ replica }: Player): Promise<void> {
    const proposed = new Promise<void>((resolve, reject) => {
      replica.propose(encodeBirth(0, 1, [shard]), ({ kind }) => {
        if (kind === 'applied') resolve()
        else reject(new Error(`the birth of a shard was ${kind}`))
      })
    })
    await this.#settled(proposed)
  }

  async #lead(leader: Player): Promise<void> {
    this.#led.push(leader.replica.replica)
    for (let i = 0; i < callsPerLeader; i++) await this.#settled(this.#call(leader, i))
  }

  /** Calls come to both while nobody leads: the one keeps them back, the other refuses them with the name of its heir. */
  async #handOver(from: Player, to: Player): Promise<void> {
    const handed = new Promise<void>((resolve) => from.replica.transferLeadership(to.replica.replica, () => resolve()))
    await this.#settled(Promise.all([handed, this.#call(from, 0), this.#call(to, 0)]))
  }

  async #call({ kv }: Player, i: number): Promise<void> {
    const sequence = ++this.#sequence
    const command = { shard, sequence, lowestOutstanding: sequence, first: sequence === 1, put: { key, value: Uint8Array.of(i) } }
    const writes = pb.v1.WriteBatch.encode({ clientId: this.#clientId, commands: [command] }).finish()
    const reply = await kv.execute({ id: i, group, configNumber: 1, timeoutMs: callTimeoutMs, writes, reads: [{ shard, key }] })
    if (!reply.error && reply.writes.every(({ error }) => !error)) this.#answered++
  }

  async #settled(promise: Promise<unknown>): Promise<void> {
    let isSettled = false
    const settle = () => {
      isSettled = true
    }
    promise.then(settle, settle)
    await this.#until(() => isSettled)
    await promise
  }

  async #until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      this.#signal?.throwIfAborted()
      if (this.#failure !== undefined) throw this.#failure
      this.#turns++
      assert(this.#turns < turnsMax, 'a rehearsal ends')
      for (const { replica } of this.#players.values()) replica.tick(this.#turns)
      await new Promise<void>((resolve) => this.#clock.soon(resolve))
    }
  }

  #fail(error: Error): void {
    this.#failure ??= error
  }

  #player(number: number): Player {
    const player = this.#players.get(number)
    assert(player !== undefined, `no replica ${number} rehearses`)
    return player
  }
}

/** What throws in a callback is the rehearsal's failure, and not the end of the process. */
class GuardedClock implements Clock {
  readonly #clock: Clock
  readonly #fail: (error: Error) => void

  constructor(clock: Clock, fail: (error: Error) => void) {
    this.#clock = clock
    this.#fail = fail
  }

  monotonicMs(): number {
    return this.#clock.monotonicMs()
  }

  wallMs(): number {
    return this.#clock.wallMs()
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    return this.#clock.setTimer(delayMs, () => this.#guard(callback))
  }

  soon(callback: () => void): void {
    this.#clock.soon(() => this.#guard(callback))
  }

  #guard(callback: () => void): void {
    try {
      callback()
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)))
    }
  }
}

function nodeOf(replica: number): string {
  return `n${replica}`
}

/** One group holds all shards. */
function configOfOne(): Config {
  const members = numbers.map((replica) => ({ node: nodeOf(replica), replica, state: 'voter' as const }))
  return new Config({
    number: 1,
    atMs: 0,
    cause: '',
    author: '',
    shardCount,
    groups: [{ uid: group, name: 'rehearsal', weight: 1, state: 'active', members }],
    owner: () => group,
    epoch: () => 1,
    pins: new Map(),
  })
}
