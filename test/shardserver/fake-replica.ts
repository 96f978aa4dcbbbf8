import { Config } from '../../proto/config.ts'
import { OstrakaError } from '../../proto/errors.ts'
import type { ReplicaApi } from '../../raft/replica-api.ts'
import type { ProposalOutcome, ReadKind, ReadOutcome, Refused } from '../../raft/state-machine.ts'
import type { GroupResult } from '../../shardserver/apply-run.ts'
import { encodeBirth } from '../../shardserver/entry.ts'
import type { GroupStateMachine } from '../../shardserver/group-state-machine.ts'
import { conf, LogBuilder, openMachine, shardCount } from './builders.ts'
import type { MemoryStore } from './memory-store.ts'

/** A group of one that may be told how to behave. */
export class FakeReplica implements ReplicaApi<GroupResult> {
  readonly group: string
  readonly replica = 1
  role: 'leader' | 'follower' = 'leader'
  leader = 1
  /** Whether `leader` is only being elected. */
  isHeir = false
  readonly term = 1
  readonly conf = conf
  readonly stateMachine: GroupStateMachine
  readonly log = new LogBuilder()
  readIndexes = 0
  /** How each read index was to be had. */
  readonly kinds: ReadKind[] = []
  timeMs = 1000
  mode: 'serves' | 'not-leader' | 'overloaded' | 'stopped' | 'loses' | 'holds' = 'serves'
  readMode: 'serves' | 'not-leader' | 'holds' = 'serves'
  readonly #held: ((outcome: ReadOutcome) => void)[] = []
  #applying: Promise<unknown> = Promise.resolve()

  readonly store: MemoryStore

  constructor(group: string, stateMachine: GroupStateMachine, store: MemoryStore) {
    this.group = group
    this.stateMachine = stateMachine
    this.store = store
  }

  static async open(group: string, shards: readonly number[]): Promise<FakeReplica> {
    const { machine, store } = await openMachine()
    const replica = new FakeReplica(group, machine, store)
    await replica.stateMachine.apply([replica.log.add(encodeBirth(0, 1, shards))])
    return replica
  }

  get applied(): number {
    return this.stateMachine.applied
  }

  groupTimeMs(): number {
    return this.timeMs
  }

  propose(data: Uint8Array, done: (outcome: ProposalOutcome<GroupResult>) => void): void {
    const { mode } = this
    if (mode === 'holds') return
    setImmediate(() => {
      if (mode === 'loses') done({ kind: 'lost' })
      else if (mode !== 'serves') done(this.#refused(mode))
      else this.#apply(data, done)
    })
  }

  #refused(reason: Refused['reason']): Refused {
    return { kind: 'refused', reason, leader: this.leader, ...(this.isHeir ? { isHeir: true } : {}) }
  }

  #apply(data: Uint8Array, done: (outcome: ProposalOutcome<GroupResult>) => void): void {
    this.#applying = this.#applying.then(async () => {
      const entry = this.log.add(data)
      const [result] = await this.stateMachine.apply([entry])
      if (result !== undefined) done({ kind: 'applied', index: entry.index, result })
    })
  }

  /** Confirms the reads that are held. */
  release(): void {
    for (const done of this.#held.splice(0)) done({ kind: 'ready' })
  }

  freshAsOfMs = Number.NEGATIVE_INFINITY

  readIndex(done: (outcome: ReadOutcome) => void, kind: ReadKind = 'quorum'): void {
    this.readIndexes++
    this.kinds.push(kind)
    const { readMode } = this
    if (readMode === 'holds') {
      this.#held.push(done)
      return
    }
    setImmediate(() => done(readMode === 'serves' ? { kind: 'ready' } : this.#refused('not-leader')))
  }
}

/** Config `number`: g1 holds shards 0 to 7, g2 the rest. */
export function configOf(number: number, owner = (shard: number) => (shard < 8 ? 'g1@1' : 'g2@1')): Config {
  const group = (name: string) => ({
    uid: `${name}@1`,
    name,
    weight: 1,
    state: 'active' as const,
    members: [
      { node: 'n1', replica: 1, state: 'voter' as const },
      { node: 'n2', replica: 2, state: 'voter' as const },
    ],
  })
  return new Config({
    number,
    atMs: 0,
    cause: '',
    author: '',
    shardCount,
    groups: [group('g1'), group('g2')],
    owner,
    epoch: () => 1,
    pins: new Map(),
  })
}

export class FakeWatcher {
  config: Config | undefined = configOf(3)
  asked: number[] = []
  readonly #waiting: { number: number; resolve: (config: Config) => void; reject: (error: Error) => void }[] = []

  atLeast(number: number): Promise<Config> {
    this.asked.push(number)
    if (this.config !== undefined && this.config.number >= number) return Promise.resolve(this.config)
    return new Promise((resolve, reject) => this.#waiting.push({ number, resolve, reject }))
  }

  offer(config: Config): void {
    this.config = config
    for (const waiting of this.#waiting.splice(0)) waiting.resolve(config)
  }

  fail(): void {
    for (const waiting of this.#waiting.splice(0)) waiting.reject(new OstrakaError('UNAVAILABLE', 'no controller answers', true))
  }
}
