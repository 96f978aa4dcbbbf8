import type { Clock, Timer } from '../base/clock.ts'
import type { Logger } from '../base/logger.ts'
import type { Config } from '../proto/config.ts'
import type { ReplicaApi } from '../raft/replica-api.ts'
import type { GroupResult } from './apply-run.ts'
import { encodeBirth } from './entry.ts'
import type { GroupStateMachine } from './group-state-machine.ts'

const againMs = 200

export interface BirthsOptions {
  readonly clock: Clock
  readonly logger: Logger
  readonly replica: ReplicaApi<GroupResult>
  readonly stateMachine: GroupStateMachine
  config(): Config | undefined
}

/**
 * Has the shards made that the config gives to this group at epoch 1, and that the group has never known: that is their birth, once in the
 * life of the cluster. Only the group's leader proposes it; `apply` refuses a second birth, so asking twice does no harm. At any other epoch
 * a shard comes by import, never from an assignment.
 */
export class Births {
  readonly #options: BirthsOptions
  #underWay = false
  /** Has nothing that is to be made here: what is born stays known. */
  #fulfilled: Config | undefined
  #timer: Timer | undefined
  #closed = false

  constructor(options: BirthsOptions) {
    this.#options = options
    this.check()
  }

  /** The config or the role changed. */
  check(): void {
    const { replica, clock } = this.#options
    if (this.#closed || this.#underWay || replica.role !== 'leader') return
    const config = this.#options.config()
    if (config === undefined || config === this.#fulfilled) return
    const unborn = this.#unborn(config)
    if (unborn.length === 0) this.#fulfilled = config
    if (unborn.length === 0) return
    this.#underWay = true
    replica.propose(encodeBirth(replica.groupTimeMs(), config.number, unborn), (outcome) => {
      this.#underWay = false
      if (this.#closed) return
      if (outcome.kind === 'applied') {
        this.#options.logger.info({ group: replica.group, shards: unborn.length, config: config.number }, 'shards were born')
        this.check()
        return
      }
      this.#timer?.cancel()
      this.#timer = clock.setTimer(againMs, () => this.check())
    })
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
  }

  #unborn(config: Config): number[] {
    const { replica, stateMachine } = this.#options
    return config.shardsOf(replica.group).filter((shard) => config.epochOf(shard) === 1 && stateMachine.shardState(shard) === 'unborn')
  }
}
