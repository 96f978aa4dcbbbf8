import { must } from '../base/assert.ts'
import type { Config, Group, Member } from '../proto/config.ts'
import { OstrakaError } from '../proto/errors.ts'
import type { pb } from '../proto/messages.ts'
import type { ConfigState } from './config-state.ts'
import type { Slices } from './slices.ts'

/** What the leader's computations begin with, and what they come to. All of them are pure and throw their refusals as OstrakaErrors. */

export interface LeaderView {
  readonly state: Pick<
    ConfigState,
    | 'config'
    | 'nextReplica'
    | 'joined'
    | 'nodes'
    | 'claims'
    | 'controllers'
    | 'controllerMembers'
    | 'recent'
    | 'migrations'
    | 'balanceRules'
  >
  /** By its wall clock, for histories. */
  readonly atMs: number
  /** Bytes of a shard as its group last told; undefined: not known. */
  readonly sizeOf: (shard: number) => number | undefined
  /** What the target's leaders told last of a migration, for people. */
  readonly progressOf: (migration: number) => { readonly attempt: number; readonly bytesTotal: number }
  /** Whether a leader of its target drives it, as far as this controller hears. */
  readonly isDriven: (migration: number) => boolean
  /** Whether a group (uid) has a leader, as far as this controller hears; true while it cannot know. */
  readonly hasLeader: (group: string) => boolean
  /** Whether a group (uid) has refused shards a while ago for want of room. */
  readonly hasNoRoom: (group: string) => boolean
  /** Whether the node of a group's replica is live, and has not told that it cannot hold it. */
  readonly isLive: (group: Group, member: Member) => boolean
  /** False: this controller leads since a moment ago, and everybody is live by the benefit of the doubt. */
  readonly isLivenessKnown: boolean
  /** Replicas that their nodes say they cannot hold. */
  readonly lost: readonly LostReplica[]
  /** The controllers' own group, as it is wanted or, where nothing is, as it is; `isLive` knows its members too. */
  readonly controllers: Group
}

/** A replica that its node says it cannot hold. */
export interface LostReplica {
  /** Uid. */
  readonly group: string
  readonly replica: number
  /** The node that told of it. */
  readonly node: string
  /** One line. */
  readonly reason: string
  /** Since when it has told so, by this controller's monotonic clock. */
  readonly sinceMs: number
}

export type Outcome =
  | { readonly kind: 'nothing'; readonly note: string; readonly migrations?: readonly number[] }
  | { readonly kind: 'change'; readonly change: pb.v1.ConfigChange.$Properties; readonly note: string }
  | { readonly kind: 'controllers'; readonly change: pb.v1.ControllersChange.$Properties; readonly note: string }

/** What a change comes to; in slices where that takes long. */
export type Compute = (view: LeaderView) => Outcome | Slices<Outcome>

/** Whoever asks for a change. */
export interface Asked {
  readonly author: string
  /** Empty: none. */
  readonly requestId: Uint8Array
  /** The config that it was planned on; 0: whichever. */
  readonly base: number
  /** The `migrationsMark` that it was planned on; 0: whichever. */
  readonly baseMigrations: number
}

/** The newest config. There is one: nobody asks for a change, reports or keeps up before the cluster is formed. */
export function configOf({ state }: LeaderView): Config {
  return must(state.config, 'a change before the cluster is formed')
}

/** The newest config, if what was planned builds on it and on the migrations as they are. */
export function configToChange(view: LeaderView, { base, baseMigrations }: Asked): Config {
  const config = configOf(view)
  if (base !== 0 && base !== config.number) throw refused(`the config is ${config.number}, you planned on ${base}: plan again`)
  if (baseMigrations !== 0 && baseMigrations !== migrationsMark(view.state))
    throw refused('migrations went on since you planned: plan again')
  return config
}

/** What a plan builds on beside the config; never 0. */
export function migrationsMark({ migrations }: LeaderView['state']): number {
  return migrations.version + 1
}

/** The group of that name. Throws NOT_FOUND. */
export function groupNamed(config: Config, name: string): Group {
  const group = config.groupByName(name)
  if (group !== undefined) return group
  const names = config.groups.map((one) => one.name)
  const there = names.length === 0 ? 'there is none yet' : `there are ${names.slice(0, 20).join(', ')}${names.length > 20 ? ', …' : ''}`
  throw new OstrakaError('NOT_FOUND', `no group ${name}: ${there}`, true)
}

/** Throws NOT_FOUND. */
export function mustBeShard(config: Config, shard: number): void {
  if (shard < config.shardCount) return
  throw new OstrakaError('NOT_FOUND', `no shard ${shard}: they are 0 to ${config.shardCount - 1}`, true)
}

export function refused(text: string): OstrakaError {
  return new OstrakaError('FAILED_PRECONDITION', text, true)
}

/** '0-3, 7': ascending numbers for people. */
export function ranges(numbers: readonly number[]): string {
  const parts: string[] = []
  for (let at = 0; at < numbers.length; at++) {
    const first = numbers[at] ?? 0
    let last = first
    while (numbers[at + 1] === last + 1) last = numbers[++at] ?? 0
    parts.push(first === last ? `${first}` : `${first}-${last}`)
  }
  return parts.length > 20 ? `${parts.slice(0, 20).join(', ')}, …` : parts.join(', ')
}

/** One line of those parts of a note that say something. */
export function noteOfParts(...parts: readonly string[]): string {
  return parts.filter((part) => part !== '').join('; ')
}

export function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`
}
