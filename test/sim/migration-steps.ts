/** The moments of a migration at which a fault may hit, and whom it may hit. */

export const migrationSteps = ['import', 'export', 'files', 'ingest', 'replay', 'commit', 'release', 'activate', 'done', 'clean'] as const

export type MigrationStep = (typeof migrationSteps)[number]

/** 'source-nodes', 'target-nodes': all that hold the group, at once. */
export const stepVictims = [
  'source-leader',
  'source-nodes',
  'target-leader',
  'target-follower',
  'target-nodes',
  'controllers-leader',
] as const

export type StepVictim = (typeof stepVictims)[number]

export const stepFaults = ['kill', 'power-loss', 'partition'] as const

export type StepFault = (typeof stepFaults)[number]

export interface StepEvent {
  readonly step: MigrationStep
  readonly id: number
  /** Uids. */
  readonly from: string
  readonly to: string
}

/** 'step victim fault' of everything that may be drawn, in an order that spreads neighbours. */
export const stepStrikes: readonly { readonly step: MigrationStep; readonly victim: StepVictim; readonly fault: StepFault }[] = spread(
  migrationSteps.flatMap((step) => stepVictims.flatMap((victim) => stepFaults.map((fault) => ({ step, victim, fault })))),
)

/** Strides through the list by a number prime to its length. */
function spread<T>(items: readonly T[]): readonly T[] {
  const stride = 37
  return items.map((_, i) => items[(i * stride) % items.length] as T)
}
