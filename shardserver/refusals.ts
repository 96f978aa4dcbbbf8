import type { Config } from '../proto/config.ts'
import { OstrakaError } from '../proto/errors.ts'
import { pb } from '../proto/messages.ts'
import type { Refused } from '../raft/state-machine.ts'
import type { HostedGroup, KvNode } from './kv-node.ts'
import type { ShardStateName } from './shard-state.ts'
import { movingWaitMs } from './write-refusals.ts'

/** What a node answers where it does not serve: one place for the mapping of outcomes to typed errors. */
const overloadedWaitMs = 20
const startingWaitMs = 100
const diskFullWaitMs = 1000

/** The replica did not take it: in no log, no effect. `leaderHint`: node id, '' unknown; `isHeir`: it is only being elected. */
export function replicaRefusal(reason: Refused['reason'], leaderHint: string, isHeir = false): OstrakaError {
  switch (reason) {
    case 'not-leader':
      return new OstrakaError('NOT_LEADER', whoLeads(leaderHint, isHeir), true, { leaderHint })
    case 'overloaded':
      return overloaded("the group's queue is full")
    case 'stopped':
      return new OstrakaError('UNAVAILABLE', 'the replica on this node has stopped', true)
  }
}

function whoLeads(leaderHint: string, isHeir: boolean): string {
  if (leaderHint === '') return 'no leader is known here'
  return isHeir ? `${leaderHint} is being elected to lead the group` : `${leaderHint} leads the group`
}

/** The same, with the name of the leader's node. */
export function refusalOf(node: KvNode, group: string, { reason, leader, isHeir }: Refused): OstrakaError {
  return replicaRefusal(reason, node.nodeOf(group, leader), isHeir)
}

/**
 * A record has expired by the leader's time and not yet by the log's. Only the leader may say that it is gone, since it logs that it is: else a
 * leader to come, whose time is behind, would bring it back.
 */
export function expiredElsewhere(node: KvNode, { replica }: HostedGroup): OstrakaError {
  return replicaRefusal('not-leader', node.nodeOf(replica.group, replica.leader))
}

export function overloaded(what: string, waitMs = overloadedWaitMs): OstrakaError {
  return new OstrakaError('OVERLOADED', `${what}: try again after the wait`, true, { waitMs })
}

/** Nothing of it happened, and nothing will until the disk of this node has room again. */
export function diskFull(): OstrakaError {
  return overloaded('the disk of this node is full', diskFullWaitMs)
}

/** It was in the log when leadership was lost. */
export function lostOutcome(): OstrakaError {
  return new OstrakaError('UNKNOWN', 'leadership was lost before the outcome was known', false)
}

/** `proposed`: it may be in the log. */
export function deadlinePassed(proposed: boolean): OstrakaError {
  return new OstrakaError('DEADLINE', 'the deadline passed before an answer', !proposed)
}

/** No replica of `group` runs here. */
export function notHosted(group: string, config: Config): OstrakaError {
  if (config.groupByUid(group) === undefined) {
    return new OstrakaError('WRONG_GROUP', `there is no group ${group} in config ${config.number}`, true, { configNumber: config.number })
  }
  return new OstrakaError('UNAVAILABLE', `no replica of ${group} runs on this node`, true, {
    configNumber: config.number,
    waitMs: startingWaitMs,
  })
}

/** The shard is not served here by the group that was asked, or not yet: the config says who has it, if it is as new as the caller's. */
export function shardRefusal(
  node: KvNode,
  request: { readonly group?: string | null; readonly configNumber?: number | null },
  shard: number,
  state: ShardStateName | undefined,
): OstrakaError {
  const group = request.group ?? ''
  const config = node.isBehind(request.configNumber ?? 0) ? undefined : node.config
  const owner = config?.groupOf(shard)?.uid
  const what = state === undefined ? `shard ${shard} is not served here` : `shard ${shard} is ${state} here`
  if (owner === group && state === 'released') node.seekNewerConfig()
  if (config === undefined || owner === group || state === 'importing' || state === 'refused') {
    const source = state === 'importing' && config !== undefined ? node.sourceOf(group, shard) : undefined
    const details = { waitMs: movingWaitMs, configNumber: config?.number ?? 0 }
    return new OstrakaError(
      'SHARD_MOVING',
      `${what}, and will be soon`,
      true,
      source === undefined ? details : { ...details, groupHint: source },
    )
  }
  return new OstrakaError('WRONG_GROUP', owner === undefined ? what : `${what}; it belongs to ${owner}`, true, {
    configNumber: config.number,
    groupHint: owner ?? '',
  })
}

/** `apply` knows no config: what it refuses for where the shard is, is answered with what the newest one says. */
export function isElsewhere(error: pb.v1.Error.$Properties | null | undefined): boolean {
  return error?.code === pb.v1.ErrorCode.WRONG_GROUP || error?.code === pb.v1.ErrorCode.SHARD_MOVING
}
