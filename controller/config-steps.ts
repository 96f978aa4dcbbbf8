import type { Config } from '../proto/config.ts'
import type { ConfigDifference } from '../proto/config-difference.ts'
import { ConfigDraft } from '../proto/config-draft.ts'
import { limits } from '../proto/limits.ts'
import { wholeEvery } from './config-records.ts'
import { nextReplicaAfter } from './members.ts'

/** Short enough for a key; what else a name may hold the leader has checked. */
export function isName(name: string | null | undefined): name is string {
  return typeof name === 'string' && name !== '' && name.length <= limits.groupNameMax
}

export interface NextConfigs {
  /** After all steps. */
  readonly config: Config
  /** Those on the way, `config` included, that are kept whole. */
  readonly wholes: readonly Config[]
  readonly nextReplica: number
}

/** The configs that the steps make, one after the other, on `base`; undefined where a step does not fit. */
export function nextConfigs(base: Config, steps: readonly ConfigDifference[], firstReplica: number): NextConfigs | undefined {
  const draft = new ConfigDraft(base)
  const wholes: Config[] = []
  let nextReplica = firstReplica
  try {
    for (const step of steps) {
      if (step.from !== draft.number || step.to?.number !== draft.number + 1) return undefined
      const groups = (step.groups ?? []).map(({ uid }) => ({ uid: uid ?? '', before: draft.group(uid ?? '') }))
      draft.add(step)
      for (const { uid, before } of groups) {
        const after = draft.group(uid)
        if (after === undefined || !isName(after.name)) return undefined
        if (before === undefined && uid !== `${after.name}@${draft.number}`) return undefined
        const following = nextReplicaAfter(before?.members, after.members, nextReplica)
        if (following === undefined) return undefined
        nextReplica = following
      }
      if (draft.number % wholeEvery === 0) wholes.push(draft.config)
    }
    return { config: draft.config, wholes, nextReplica }
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}
