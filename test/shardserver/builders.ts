import { utf8 } from '../../base/bytes.ts'
import type { Clock } from '../../base/clock.ts'
import { InlineExecutor } from '../../base/inline-executor.ts'
import { silentLogger } from '../../base/logger.ts'
import { shardOf, slotOf } from '../../base/slot.ts'
import { pb } from '../../proto/messages.ts'
import type { ConfState, Entry } from '../../raft/core/types.ts'
import type { GroupResult } from '../../shardserver/apply-run.ts'
import type { Command } from '../../shardserver/commands.ts'
import { encodeBirth, encodeTimeMark, encodeWrite } from '../../shardserver/entry.ts'
import { ExpiryHorizons } from '../../shardserver/expiry-horizons.ts'
import { type GroupStateMachine, type LoadOptions, loadGroupStateMachine } from '../../shardserver/group-state-machine.ts'
import { shardJobs } from '../../shardserver/jobs.ts'
import type { WriteResult } from '../../shardserver/session.ts'
import { firstOf } from '../raft/standings.ts'
import { MemoryStore } from './memory-store.ts'

export const shardCount = 16
export const conf: ConfState = { voters: [1, 2, 3], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false }

/** Real turns and timers, and a monotonic clock that a test drives. */
export class TestClock implements Clock {
  nowMs = 0
  /** Added with each look at the clock. */
  stepMs = 0

  monotonicMs(): number {
    this.nowMs += this.stepMs
    return this.nowMs
  }

  wallMs(): number {
    return 0
  }

  setTimer(delayMs: number, callback: () => void) {
    const handle = setTimeout(callback, delayMs)
    return { cancel: () => clearTimeout(handle) }
  }

  soon(callback: () => void): void {
    setImmediate(callback)
  }
}

export function clientId(number: number): Uint8Array {
  return new Uint8Array(16).fill(number)
}

/** Some key of a shard, the same for the same number. */
export function keyOf(shard: number, number: number): Uint8Array {
  for (let i = 0; ; i++) {
    const key = utf8(`k${number}-${i}`)
    if (shardOf(slotOf(key), shardCount) === shard) return key
  }
}

export function writeBatch(client: number, commands: readonly Command[]): Uint8Array {
  return pb.v1.WriteBatch.encode({ clientId: clientId(client), commands: [...commands] }).finish()
}

/** A group's log, one entry after the other. */
export class LogBuilder {
  readonly entries: Entry[] = []

  add(data: Uint8Array, term = 1): Entry {
    const entry: Entry = { term, index: this.entries.length + 1, kind: 0, data }
    this.entries.push(entry)
    return entry
  }

  birth(timeMs: number, shards: readonly number[], configNumber = 1): Entry {
    return this.add(encodeBirth(timeMs, configNumber, shards))
  }

  write(timeMs: number, client: number, ...commands: Command[]): Entry {
    return this.add(encodeWrite(timeMs, writeBatch(client, commands)))
  }

  mark(timeMs: number): Entry {
    return this.add(encodeTimeMark(timeMs))
  }
}

export interface Machine {
  readonly machine: GroupStateMachine
  readonly store: MemoryStore
  readonly clock: TestClock
  readonly horizons: ExpiryHorizons
}

/** Its files, too, outlive `store.crash()`. */
export async function openMachine(store = new MemoryStore(), options: Partial<LoadOptions> = {}): Promise<Machine> {
  const clock = new TestClock()
  const horizons = new ExpiryHorizons()
  const { fileSystem } = store
  const machine = await loadGroupStateMachine(store, {
    fileSystem,
    executor: new InlineExecutor(shardJobs, { fileSystem, clock }),
    folder: 'g',
    clock,
    logger: silentLogger,
    first: () => firstOf(3),
    horizons,
    ...options,
  })
  return { machine, store, clock, horizons }
}

/** The results of the commands of a write entry. */
export function written(result: GroupResult | undefined): readonly WriteResult[] {
  if (result?.kind !== 'written') throw new Error(`not written: ${JSON.stringify(result)}`)
  return result.results
}

/** Sends commands of one client to one shard, counting as an SDK does. */
export class Caller {
  readonly client: number
  readonly shard: number
  #sequence = 0

  constructor(client: number, shard: number) {
    this.client = client
    this.shard = shard
  }

  next(operation: Omit<Command, 'shard' | 'sequence' | 'lowestOutstanding' | 'first'>): Command {
    this.#sequence++
    return { shard: this.shard, sequence: this.#sequence, lowestOutstanding: this.#sequence, first: this.#sequence === 1, ...operation }
  }
}
