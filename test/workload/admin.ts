/** What an operator asks of a cluster, whether through the controllers' client (simulator) or through the command line (real processes). */

export interface GroupView {
  readonly weight: number
  readonly state: 'active' | 'draining'
  /** Left out where nobody asks for changes of members. */
  readonly members?: readonly { readonly node: string; readonly state: 'voter' | 'joining' | 'leaving' }[]
}

export interface ConfigView {
  readonly number: number
  readonly cause: string
  readonly groups: ReadonlyMap<string, GroupView>
  /** By shard the name of its group; undefined: none. */
  readonly assignment: readonly (string | undefined)[]
  /** Shard → name of the group that it is held in. */
  readonly pins: ReadonlyMap<number, string>
}

export interface MigrationView {
  readonly id: number
  readonly shards: readonly number[]
  /** Names. */
  readonly from: string
  readonly to: string
  /** 'done' and 'aborted' are ends; given back counts as aborted. */
  readonly phase: 'running' | 'done' | 'aborted'
  /** It was committed and then given back: never without damage. */
  readonly givenBack: boolean
  /** Why it was aborted. */
  readonly reason: string
  readonly pauseMs: number
}

export interface ChangeAnswer {
  readonly configNumber: number
  /** Ids of those that the change planned or concerns. */
  readonly migrations: readonly number[]
}

/** A change was not made, for sure. */
export class Refusal extends Error {
  override readonly name = 'Refusal'
}

/** It is not known whether a change was made. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer'
}

/** Every call rejects with Refusal or NoAnswer; anything else is a failure of what is tested. */
export interface Admin {
  join(group: string): Promise<ChangeAnswer>
  leave(group: string): Promise<ChangeAnswer>
  move(shard: number, group: string): Promise<ChangeAnswer>
  unpin(shard: number): Promise<ChangeAnswer>
  rebalance(): Promise<ChangeAnswer>
  steer(steering: 'pause' | 'resume' | 'cancel', shard: number): Promise<ChangeAnswer>
  /** Nodes that get a replica of the group, and nodes that lose theirs; left out where nobody asks for it. */
  changeMembers?(group: string, add: readonly string[], remove: readonly string[]): Promise<ChangeAnswer>
  /** The newest if no number is given. */
  config(number?: number): Promise<ConfigView>
  migrations(): Promise<readonly MigrationView[]>
}
