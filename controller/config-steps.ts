import { must } from '../base/assert.ts'
import type { Config } from '../proto/config.ts'
import { applyDifference, type ConfigDifference } from '../proto/config-difference.ts'
import { limits } from '../proto/limits.ts'
import { nextReplicaAfter } from './members.ts'

/** Short enough for a key; what else a name may hold the leader has checked. */
export function isName(name: string | null | undefined): name is string {
  return typeof name === 'string' && name !== '' && name.length <= limits.groupNameMax
}

/** The configs that the steps make, one after the other, on `base`; undefined where a step does not fit. */
export function nextConfigs(
  base: Config,
  steps: readonly ConfigDifference[],
  firstReplica: number,
): { configs: Config[]; nextReplica: number } | undefined {
  const configs: Config[] = []
  let nextReplica = firstReplica
  let config = base
  for (const step of steps) {
    if (step.to?.number !== config.number + 1) return undefined
    const next = afterStep(config, step)
    if (next === undefined) return undefined
    for (const { uid } of step.groups ?? []) {
      const group = must(next.groupByUid(uid ?? ''), 'a group of the step is in its config')
      const before = config.groupByUid(group.uid)
      if (!isName(group.name)) return undefined
      if (before === undefined && group.uid !== `${group.name}@${next.number}`) return undefined
      const following = nextReplicaAfter(before?.members, group.members, nextReplica)
      if (following === undefined) return undefined
      nextReplica = following
    }
    configs.push(next)
    config = next
  }
  return { configs, nextReplica }
}

function afterStep(config: Config, step: ConfigDifference): Config | undefined {
  try {
    return applyDifference(config, step)
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}
