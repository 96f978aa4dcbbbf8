import type { Config } from './config.ts'
import { ConfigDraft } from './config-draft.ts'
import type { pb } from './messages.ts'

/** What changed from one config to another, as a message: groups by uid, shards by number. */
export type ConfigDifference = pb.v1.ConfigDifference.$Properties

/** The config that results. Throws RangeError where the difference cannot be laid over `config` or does not fit it. */
export function applyDifference(config: Config, change: ConfigDifference): Config {
  return applyDifferences(config, [change])
}

/** The config that results from all of them, one after the other; `config` where there are none. Throws RangeError as `applyDifference` does. */
export function applyDifferences(config: Config, changes: readonly ConfigDifference[]): Config {
  const draft = new ConfigDraft(config)
  for (const change of changes) draft.add(change)
  return draft.config
}

/**
 * All that the steps change, as it is after the last of them: what one change undoes of another is in it as well. So it may be laid over each of
 * the configs from the one before the first step to the one before the last. Of at least one step, each from one number to the next.
 */
export function squash(steps: readonly ConfigDifference[]): ConfigDifference {
  const [first, last] = [steps[0], steps.at(-1)]
  if (first === undefined || last === undefined) throw new RangeError('nothing to squash')
  if (first === last) return first
  const groups = new Map<string, pb.v1.Group.$Properties | undefined>()
  const shards = new Map<number, pb.v1.ShardChange.$Properties>()
  const pins = new Map<number, pb.v1.Pin.$Properties | undefined>()
  for (const step of steps) {
    for (const uid of step.removedGroups ?? []) groups.set(uid, undefined)
    for (const group of step.groups ?? []) groups.set(group.uid ?? '', group)
    for (const change of step.shards ?? []) shards.set(change.shard ?? 0, change)
    for (const shard of step.unpinned ?? []) pins.set(shard, undefined)
    for (const pin of step.pins ?? []) pins.set(pin.shard ?? 0, pin)
  }
  return {
    from: first.from ?? 0,
    to: last.to ?? {},
    groups: [...groups.values()].filter((group) => group !== undefined),
    removedGroups: [...groups].flatMap(([uid, group]) => (group === undefined ? [uid] : [])),
    shards: [...shards.values()].sort((a, b) => (a.shard ?? 0) - (b.shard ?? 0)),
    pins: [...pins.values()].filter((pin) => pin !== undefined),
    unpinned: [...pins].flatMap(([shard, pin]) => (pin === undefined ? [shard] : [])),
  }
}
