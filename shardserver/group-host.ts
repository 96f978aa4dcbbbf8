import { AssertionError } from '../base/assert.ts'
import type { Timer } from '../base/clock.ts'
import type { Space } from '../base/disk-space.ts'
import { CorruptionError, NewerFormatError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { Seams } from '../base/seams.ts'
import type { BlockCache, MemtableBudget, TableFiles } from '../lsm/index.ts'
import type { Config, Group, Member } from '../proto/config.ts'
import type { ControllerClient } from '../proto/controller-client.ts'
import { OstrakaError } from '../proto/errors.ts'
import { Quorum } from '../raft/core/quorum.ts'
import type { DataDirectory, RetiredReplica } from '../raft/data-directory.ts'
import type { Pace } from '../raft/pace.ts'
import type { RaftHost } from '../raft/raft-host.ts'
import type { Replica } from '../raft/replica.ts'
import { firstStanding, type Standing } from '../raft/standing.ts'
import type { GroupResult } from './apply-run.ts'
import { Births } from './births.ts'
import type { GroupStateMachine } from './group-state-machine.ts'
import type { MigrationBreak } from './migration-break.ts'
import { openGroupStateMachine } from './open-group.ts'
import { replicaToHold } from './replica-to-hold.ts'

const callTimeoutMs = 10_000
const retryMs = 500

export interface GroupHostOptions {
  readonly seams: Seams
  readonly directory: DataDirectory
  readonly host: RaftHost
  readonly client: Pick<ControllerClient, 'claimReplica' | 'query'>
  readonly blockCache: BlockCache
  readonly tableFiles: TableFiles
  /** Shared by the groups, as the cache is. */
  readonly memtableBudget: MemtableBudget
  readonly space: Space
  /** Of all that is copied out of this node by migrations. */
  readonly exportPace: Pace
  /** Deliberate breaks, for proving that the simulator catches them. */
  readonly breaks: ReadonlySet<MigrationBreak>
  /** Newest config; undefined: none yet. */
  config(): Config | undefined
  /** A replica was started or went, or its role, leader, term or members changed. */
  onChange(): void
  onFatal(error: Error): void
}

export interface HostedReplica {
  readonly replica: Replica<GroupResult>
  readonly stateMachine: GroupStateMachine
}

/** A replica that runs here, with what belongs to it. */
interface Running extends HostedReplica {
  readonly births: Births
}

/** Holds the replicas that the config gives to this node: starts those that it holds nothing of yet, and deletes those that are no members any more. */
export class GroupHost {
  readonly #options: GroupHostOptions
  readonly #logger: Logger
  readonly #hosted = new Map<string, Running>()
  /** The same as a list, made when it is asked for. */
  #list: readonly Running[] | undefined
  /** Numbers that another data directory has claimed, by group. */
  readonly #claimed: RetiredReplica[] = []
  /** What is being done for a group, one thing after the other. */
  readonly #turns = new Map<string, Promise<void>>()
  /** Removed from the cluster for good. */
  readonly #removed = new Map<string, Promise<void>>()
  readonly #retries = new Map<string, Timer>()
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
    this.#list ??= [...this.#hosted.values()]
    return this.#list
  }

  /** Replicas that the config gives to this node and that it cannot hold: another directory has claimed the number, or it lost what it must not lose. */
  get lost(): readonly RetiredReplica[] {
    const config = this.#options.config()
    return [...this.#options.directory.retired, ...this.#claimed].filter(({ group, replica }) =>
      this.#membersHere(config?.groupByUid(group)).some((member) => member.replica === replica),
    )
  }

  /** Those of `lost` in whose place no other replica of the group is here yet. */
  get missing(): readonly RetiredReplica[] {
    return this.lost.filter(({ group }) => !this.#hosted.has(group))
  }

  /** Starts what `config` gives to this node and is not started; resolves when that is done or has to be tried again later. */
  async follow(config: Config): Promise<void> {
    for (const { replica, births } of this.#hosted.values()) {
      const group = config.groupByUid(replica.group)
      if (group !== undefined) this.#options.host.expectMembers(group.uid, nodesOf(group))
      births.check()
    }
    const mine = config.groups.filter((group) => this.#membersHere(group).length > 0)
    await Promise.all(mine.map(({ uid }) => this.#ensure(uid)))
  }

  /** `follow` for who cannot wait: what fails is fatal. */
  followLater(config: Config): void {
    this.follow(config).catch((error: unknown) => this.#fatal(error))
  }

  /** Deletes what is here of a group that was removed from the cluster for good. Resolves when it is gone. */
  remove(group: string): Promise<void> {
    const known = this.#removed.get(group)
    if (known !== undefined) return known
    const removing = this.#inTurn(group, async () => {
      this.#forget(group)
      await this.#options.host.remove(group)
    })
    this.#removed.set(group, removing)
    return removing
  }

  /** Deletes what is here of a replica that is a member of its group no more. Another replica of the group may come in its place. */
  removeReplica(group: string, replica: number): Promise<void> {
    return this.#inTurn(group, async () => {
      if (this.#hosted.get(group)?.replica.replica === replica) this.#forget(group)
      await this.#options.host.removeReplica(group, replica)
      await this.#hold(group)
    })
  }

  close(): void {
    this.#closed = true
    for (const timer of this.#retries.values()) timer.cancel()
    for (const { births } of this.#hosted.values()) births.close()
  }

  /** The group runs here no more. */
  #forget(group: string): void {
    this.#hosted.get(group)?.births.close()
    this.#hosted.delete(group)
    this.#list = undefined
    this.#options.onChange()
  }

  #inTurn(group: string, work: () => Promise<void>): Promise<void> {
    const before = this.#turns.get(group) ?? Promise.resolve()
    const turn = before.catch(() => undefined).then(work)
    this.#turns.set(group, turn)
    return turn
  }

  async #ensure(group: string): Promise<void> {
    if (this.#hosted.has(group)) return
    try {
      await this.#inTurn(group, () => this.#hold(group))
    } catch (error) {
      this.#fatal(error)
    }
  }

  #fatal(error: unknown): void {
    if (!this.#closed) this.#options.onFatal(error instanceof Error ? error : new Error(String(error)))
  }

  #membersHere(group: Group | undefined): readonly Member[] {
    return group?.members.filter(({ node }) => node === this.#options.directory.id) ?? []
  }

  /** Starts the replica of `group` that is to be here, if that can be now. */
  async #hold(uid: string): Promise<void> {
    const { directory } = this.#options
    for (;;) {
      const group = this.#options.config()?.groupByUid(uid)
      if (group === undefined || this.#closed || this.#hosted.has(uid) || this.#removed.has(uid) || this.#retries.has(uid)) return
      const lost = this.lost.filter((replica) => replica.group === uid)
      const members = this.#membersHere(group)
      const number = replicaToHold(members, directory.startedReplica(uid), (replica) => lost.some((one) => one.replica === replica))
      if (number === undefined) return
      try {
        await this.#clearReplaced(uid, members)
        await this.#start(group, number)
      } catch (error) {
        if (this.#closed) return
        if (!(error instanceof OstrakaError)) throw error
        this.#logger.error({ group: uid, replica: number, error: error.message }, 'a replica could not be claimed')
        if (error.code === 'LOST') this.#claimed.push({ group: uid, replica: number, reason: error.message })
        else this.#holdLater(uid)
      }
    }
  }

  /** What a retired replica left goes once the controllers' log has it leave, and before another takes its place. */
  async #clearReplaced(uid: string, members: readonly Member[]): Promise<void> {
    const { directory } = this.#options
    for (const { group, replica } of directory.retired) {
      const member = members.find((one) => one.replica === replica)
      if (group === uid && (member === undefined || member.state === 'leaving')) await directory.clearReplica(group, replica)
    }
  }

  #holdLater(group: string): void {
    const timer = this.#options.seams.clock.setTimer(retryMs, () => {
      this.#retries.delete(group)
      void this.#ensure(group)
    })
    this.#retries.set(group, timer)
  }

  async #start(group: Group, number: number): Promise<void> {
    const { seams, host } = this.#options
    const { uid } = group
    await this.#claim(uid, number)
    let stateMachine: GroupStateMachine
    try {
      stateMachine = await this.#open(uid, number)
    } catch (error) {
      const others = group.members.some(({ replica, state }) => replica !== number && state !== 'joining')
      if (!isDamage(error) || !others) throw error
      await host.retire(uid, number, error.message)
      return
    }
    if (this.#closed) return stateMachine.close()
    let replica: Replica<GroupResult>
    try {
      replica = await host.start<GroupResult>({
        group: uid,
        replica: number,
        stateMachine,
        onSoftState: () => {
          this.#hosted.get(uid)?.births.check()
          this.#options.onChange()
        },
        onMembers: () => this.#options.onChange(),
        onStopped: (error) => this.#stopped(uid, number, error),
      })
    } catch (error) {
      // Log and state do not fit together: one of them lost what it had promised.
      if (!(error instanceof CorruptionError)) throw error
      await host.retire(uid, number, error.message)
      return
    }
    host.setExports(uid, { ...stateMachine.exports, pace: this.#options.exportPace })
    const births = new Births({ clock: seams.clock, logger: this.#logger, replica, stateMachine, config: this.#options.config })
    this.#hosted.set(uid, { replica, stateMachine, births })
    this.#list = undefined
    host.expectMembers(uid, nodesOf(this.#options.config()?.groupByUid(uid) ?? group))
    this.#options.onChange()
    this.#logger.info({ group: uid, replica: number, applied: replica.applied }, 'hosting a replica')
    // By what it met while it was being started.
    if (replica.failure !== undefined) this.#stopped(uid, number, replica.failure)
  }

  #open(uid: string, number: number): Promise<GroupStateMachine> {
    const { seams, directory, blockCache, tableFiles, memtableBudget, space, breaks } = this.#options
    return openGroupStateMachine({
      fileSystem: seams.fileSystem,
      executor: seams.executor,
      clock: seams.clock,
      logger: seams.logger.child({ group: uid }),
      folder: directory.replicaFolder(uid, number),
      first: () => this.#first(uid),
      blockCache,
      tableFiles,
      memtableBudget,
      space,
      breaks,
      shardCount: this.#options.config()?.shardCount ?? 0,
      onFailure: (error) => this.#storeFailed(uid, number, error),
    })
  }

  /** Before the group's first entry: as the config has it that made the group. */
  async #first(uid: string): Promise<Standing> {
    const made = Number(uid.slice(uid.lastIndexOf('@') + 1))
    let config = this.#options.config()
    if (config?.number !== made) ({ config } = await this.#options.client.query(made, { timeoutMs: callTimeoutMs }))
    const group = config.groupByUid(uid)
    if (group === undefined) throw new OstrakaError('NOT_FOUND', `config ${made} has no group ${uid}`, true)
    return firstStanding(nodesOf(group))
  }

  /**
   * A disk that fails ends the process. Damaged tables stop their own replica, at once where a majority is there to go on without it: as a leader it would
   * refuse the same reads again and again. Else what is whole of it is still needed. A broken assertion stops it at its next entry.
   */
  #storeFailed(uid: string, number: number, error: Error): void {
    if (this.#closed || error instanceof AssertionError) return
    if (!(error instanceof CorruptionError)) this.#options.host.fail(error)
    else if (isDamage(error) && this.#isDispensable(uid, number)) this.#hosted.get(uid)?.replica.fail(error)
  }

  /** Whether `number` runs here, and voters enough for every decision are on nodes that can be reached, without it. */
  #isDispensable(uid: string, number: number): boolean {
    const replica = this.#hosted.get(uid)?.replica
    if (replica?.replica !== number) return false
    const isThere = (voter: number) => voter !== number && this.#options.host.isReachable(uid, voter)
    return new Quorum(replica.conf).index((voter) => (isThere(voter) ? 1 : 0)) === 1
  }

  /** Whether `number` runs here and is not its group's only voter. */
  #hasOthers(uid: string, number: number): boolean {
    const replica = this.#hosted.get(uid)?.replica
    return replica?.replica === number && replica.conf.voters.some((voter) => voter !== number)
  }

  /** A replica whose tables are damaged cannot go on; where there are others it is replaced. Any other fault may be mended by another version. */
  #stopped(uid: string, number: number, error: Error): void {
    if (!isDamage(error) || !this.#hasOthers(uid, number)) return
    this.#inTurn(uid, async () => {
      if (this.#closed || this.#hosted.get(uid)?.replica.replica !== number) return
      this.#forget(uid)
      await this.#options.host.retire(uid, number, error.message)
      await this.#hold(uid)
    }).catch((failure: unknown) => this.#fatal(failure))
  }

  /** A number is used by one data directory only: the first that claims it. What was started here was claimed by this directory. */
  async #claim(group: string, replica: number): Promise<void> {
    const { directory, client } = this.#options
    if (directory.startedReplica(group) === replica) return
    await client.claimReplica({ node: directory.id, group, replica, nonce: directory.nonce }, { timeoutMs: callTimeoutMs })
  }
}

/** What a newer release wrote is none. */
function isDamage(error: unknown): error is CorruptionError {
  return error instanceof CorruptionError && !(error instanceof NewerFormatError)
}

function nodesOf(group: Group): ReadonlyMap<number, string> {
  return new Map(group.members.map(({ replica, node }) => [replica, node]))
}
