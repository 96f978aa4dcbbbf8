import { AssertionError } from '../base/assert.ts'
import type { Timer } from '../base/clock.ts'
import type { Space } from '../base/disk-space.ts'
import { CorruptionError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { Seams } from '../base/seams.ts'
import type { BlockCache, MemtableBudget } from '../lsm/index.ts'
import type { Config, Group } from '../proto/config.ts'
import type { ControllerClient } from '../proto/controller-client.ts'
import { OstrakaError } from '../proto/errors.ts'
import { initialConf } from '../raft/core/membership.ts'
import type { DataDirectory } from '../raft/data-directory.ts'
import type { RaftHost } from '../raft/raft-host.ts'
import type { Replica } from '../raft/replica.ts'
import type { GroupResult } from './apply-run.ts'
import { Births } from './births.ts'
import type { GroupStateMachine } from './group-state-machine.ts'
import type { MigrationBreak } from './migration-break.ts'
import { openGroupStateMachine } from './open-group.ts'

const claimTimeoutMs = 10_000
const retryMs = 500

export interface GroupHostOptions {
  readonly seams: Seams
  readonly directory: DataDirectory
  readonly host: RaftHost
  readonly client: ControllerClient
  readonly blockCache: BlockCache
  /** Shared by the groups, as the cache is. */
  readonly memtableBudget: MemtableBudget
  readonly space: Space
  /** Deliberate breaks, for proving that the simulator catches them. */
  readonly breaks: ReadonlySet<MigrationBreak>
  /** Newest config; undefined: none yet. */
  config(): Config | undefined
  /** A replica was started, or its role, leader or term changed. */
  onChange(): void
  onFatal(error: Error): void
}

export interface HostedReplica {
  readonly replica: Replica<GroupResult>
  readonly stateMachine: GroupStateMachine
}

/** Holds the replicas that the config gives to this node, and starts those that it holds no replica of yet. */
export class GroupHost {
  readonly #options: GroupHostOptions
  readonly #logger: Logger
  readonly #hosted = new Map<string, HostedReplica>()
  readonly #births = new Map<string, Births>()
  readonly #lost = new Map<string, string>()
  /** Groups being started, or whose replica number is lost for this directory. */
  readonly #begun = new Set<string>()
  /** Being started. */
  readonly #starting = new Map<string, Promise<void>>()
  /** Removed from the cluster for good. */
  readonly #removed = new Map<string, Promise<void>>()
  readonly #retries = new Set<Timer>()
  #closed = false

  constructor(options: GroupHostOptions) {
    this.#options = options
    this.#logger = options.seams.logger
  }

  /** By uid. */
  get(group: string): HostedReplica | undefined {
    return this.#hosted.get(group)
  }

  all(): readonly HostedReplica[] {
    return [...this.#hosted.values()]
  }

  /** Groups by uid whose replica number belongs to another data directory, and what the controller said of it. */
  get lost(): ReadonlyMap<string, string> {
    return this.#lost
  }

  /** Starts what `config` gives to this node and is not started; resolves when that is done or has to be tried again later. */
  async follow(config: Config): Promise<void> {
    const mine = config.groups.filter((group) => group.members.some(({ node }) => node === this.#options.directory.id))
    await Promise.all(mine.map((group) => this.#ensure(group)))
    for (const births of this.#births.values()) births.check()
  }

  /** `follow` for who cannot wait: what fails is fatal. */
  followLater(config: Config): void {
    this.follow(config).catch((error: unknown) => {
      if (!this.#closed) this.#options.onFatal(error instanceof Error ? error : new Error(String(error)))
    })
  }

  /** Deletes what is here of a group that was removed from the cluster for good. Resolves when it is gone. */
  remove(group: string): Promise<void> {
    const known = this.#removed.get(group)
    if (known !== undefined) return known
    const removing = this.#remove(group)
    this.#removed.set(group, removing)
    return removing
  }

  close(): void {
    this.#closed = true
    for (const timer of this.#retries) timer.cancel()
    for (const births of this.#births.values()) births.close()
  }

  async #remove(group: string): Promise<void> {
    await this.#starting.get(group)?.catch(() => undefined)
    this.#births.get(group)?.close()
    this.#births.delete(group)
    this.#hosted.delete(group)
    this.#lost.delete(group)
    this.#options.onChange()
    await this.#options.host.remove(group)
  }

  async #ensure(group: Group): Promise<void> {
    if (this.#begun.has(group.uid) || this.#removed.has(group.uid) || this.#closed) return
    this.#begun.add(group.uid)
    const starting = this.#start(group).finally(() => this.#starting.delete(group.uid))
    this.#starting.set(group.uid, starting)
    try {
      await starting
    } catch (error) {
      if (this.#closed) return
      if (error instanceof OstrakaError) this.#refused(group, error)
      else this.#options.onFatal(error instanceof Error ? error : new Error(String(error)))
    }
  }

  /** The controller did not answer: again later. The number is another directory's: never. */
  #refused(group: Group, error: OstrakaError): void {
    this.#logger.error({ group: group.uid, error: error.message }, 'a replica could not be claimed')
    if (error.code === 'LOST') {
      this.#lost.set(group.uid, error.message)
      return
    }
    const timer = this.#options.seams.clock.setTimer(retryMs, () => {
      this.#retries.delete(timer)
      this.#begun.delete(group.uid)
      const config = this.#options.config()
      if (config !== undefined) this.followLater(config)
    })
    this.#retries.add(timer)
  }

  async #start(group: Group): Promise<void> {
    const { seams, directory, host, blockCache, memtableBudget, space, breaks } = this.#options
    const number = await this.#claim(group)
    const stateMachine = await openGroupStateMachine({
      fileSystem: seams.fileSystem,
      executor: seams.executor,
      clock: seams.clock,
      logger: seams.logger.child({ group: group.uid }),
      folder: directory.replicaFolder(group.uid, number),
      initialConf: initialConf(group.members.map(({ replica }) => replica).sort((a, b) => a - b)),
      blockCache,
      memtableBudget,
      space,
      breaks,
      shardCount: this.#options.config()?.shardCount ?? 0,
      onFailure: (error) => this.#storeFailed(error),
    })
    if (this.#closed) return stateMachine.close()
    const replica = await host.start<GroupResult>({
      group: group.uid,
      replica: number,
      members: new Map(group.members.map((member) => [member.replica, member.node])),
      stateMachine,
      onSoftState: () => {
        this.#births.get(group.uid)?.check()
        this.#options.onChange()
      },
    })
    host.setExports(group.uid, stateMachine.exports)
    this.#hosted.set(group.uid, { replica, stateMachine })
    this.#options.onChange()
    this.#births.set(
      group.uid,
      new Births({ clock: seams.clock, logger: this.#logger, replica, stateMachine, config: this.#options.config }),
    )
    this.#logger.info({ group: group.uid, replica: number, applied: replica.applied }, 'hosting a replica')
  }

  /** A disk that fails ends the process. Damaged tables or a broken assertion stop their own replica, at its next entry. */
  #storeFailed(error: Error): void {
    if (this.#closed || error instanceof CorruptionError || error instanceof AssertionError) return
    this.#options.host.fail(error)
  }

  /** A number is used by one data directory only: the first that claims it. What was started here was claimed by this directory. */
  async #claim(group: Group): Promise<number> {
    const { directory, client } = this.#options
    const started = directory.startedReplica(group.uid)
    if (started !== undefined) return started
    const member = group.members.find(({ node }) => node === directory.id)
    const number = member?.replica ?? 0
    await client.claimReplica(
      { node: directory.id, group: group.uid, replica: number, nonce: directory.nonce },
      { timeoutMs: claimTimeoutMs },
    )
    return number
  }
}
