/** All scenarios by name. */
import { SeededRandom } from '../../../base/random.ts'
import { noPowerCutsReason } from '../disks/disk-image.ts'
import { noShimReason } from '../disks/fsync-shim.ts'
import { noSmallDisksReason } from '../disks/small-disk.ts'
import { noOwnersReason } from '../links/socket-owner.ts'
import { moves } from '../moves.ts'
import { diskBytes, diskFull, smallFlags } from './disk-full.ts'
import { type FaultKind, failingSyncs, faults, kills, partitions, pauses, powerCuts, restarts } from './faults.ts'
import { everything, leaders } from './kills.ts'
import { noControllers } from './no-controllers.ts'
import { onUp } from './on-up.ts'
import { powerProof } from './power-proof.ts'
import { replace } from './replace.ts'
import { type Figures, onStage, type StageOptions } from './stage.ts'
import { killTiming, transfers } from './timing.ts'

/** What the command line asks for. */
export interface Run {
  readonly seed: number
  readonly seconds: number
  readonly everyMs: number
  readonly moves: number
  readonly rounds?: number
}

export interface Scenario {
  /** Why it cannot be played here. */
  skipReason?(): Promise<string | undefined>
  play(run: Run): Promise<Figures>
}

/** Must-have of every run of faults. */
const resumeTimeouts = { median: 2, max: 5 }

/** Enough to be checked, too little to be in the way of what is measured, which writes for itself. */
const quiet = { clients: 2, thinkMs: 50, probeEveryMs: 250, cluster: { hasProxies: false } }

function ofFaults(kinds: readonly FaultKind[], stage: Omit<StageOptions, 'seed'> = {}): Scenario {
  return {
    skipReason: noOwnersReason,
    play: ({ seed, seconds }) => onStage({ seed, ...stage }, (on) => faults(on, { kinds, seconds, resumeTimeouts })),
  }
}

/** Everything that this machine can do. */
async function mixed({ seed, seconds }: Run): Promise<Figures> {
  const noPower = await noPowerCutsReason()
  const noShim = await noShimReason()
  for (const [what, reason] of [
    ['power cuts', noPower],
    ['failing syncs', noShim],
  ]) {
    if (reason !== undefined) console.log(`mixed without ${what}: ${reason}`)
  }
  const disks: FaultKind[] = [...(noPower === undefined ? ['power-cut' as const] : []), ...(noShim === undefined ? failingSyncs : [])]
  const kinds = [...kills, ...pauses, ...disks, ...restarts, ...partitions]
  const stage = { seed, hasShim: noShim === undefined, images: noPower === undefined ? ['n1', 'n2', 'n3'] : [] }
  return await onStage(stage, (on) => faults(on, { kinds, seconds, resumeTimeouts }))
}

async function firstOf(...reasons: (() => Promise<string | undefined>)[]): Promise<string | undefined> {
  for (const reason of reasons) {
    const found = await reason()
    if (found !== undefined) return found
  }
  return undefined
}

export const scenarios: Readonly<Record<string, Scenario>> = {
  mixed: { skipReason: noOwnersReason, play: mixed },
  kills: ofFaults(kills),
  pauses: ofFaults(pauses),
  partitions: ofFaults(partitions),
  restart: ofFaults(restarts),
  power: { ...ofFaults(powerCuts, { images: ['n1', 'n2', 'n3'] }), skipReason: () => firstOf(noOwnersReason, noPowerCutsReason) },
  fsync: { ...ofFaults(failingSyncs, { hasShim: true }), skipReason: () => firstOf(noOwnersReason, noShimReason) },
  'power-proof': {
    skipReason: () => firstOf(noOwnersReason, noShimReason, noPowerCutsReason),
    play: ({ seed }) => powerProof({ seed, hasShim: true, images: ['n1', 'n2', 'n3'] }),
  },
  'fsync-alone': {
    ...ofFaults(['fsync-error-and-power-cut'], { hasShim: true, images: ['n1'], cluster: { nodes: 1, groups: 1 } }),
    skipReason: () => firstOf(noOwnersReason, noShimReason, noPowerCutsReason),
  },
  'disk-full': {
    skipReason: () => firstOf(noOwnersReason, noSmallDisksReason),
    play: ({ seed, seconds }) => {
      const smallDisks = { nodes: ['n1', 'n2', 'n3'], bytes: diskBytes }
      return onStage({ seed, smallDisks, cluster: { flags: smallFlags } }, (stage) => diskFull(stage, seconds))
    },
  },
  replace: {
    skipReason: noOwnersReason,
    play: ({ seed, rounds = 1 }) => onStage({ seed, cluster: { nodes: 6, groups: 1 } }, (stage) => replace(stage, rounds)),
  },
  transfer: {
    skipReason: noOwnersReason,
    play: ({ seed, rounds = 30 }) => onStage({ seed, ...quiet }, (stage) => transfers(stage, rounds)),
  },
  'kill-timing': {
    skipReason: noOwnersReason,
    play: ({ seed, rounds = 30 }) => onStage({ seed, ...quiet }, (stage) => killTiming(stage, rounds)),
  },
  leaders: { play: ({ seed, seconds, everyMs }) => onUp(seed, (load) => leaders(load, new SeededRandom(seed), seconds, everyMs)) },
  everything: { play: ({ seed, rounds = 2 }) => onUp(seed, (_, up) => everything(up, rounds)) },
  'no-controllers': { play: ({ seed, seconds }) => onStage({ seed, ...quiet }, (stage) => noControllers(stage, seconds)) },
  moves: {
    play: ({ seed, seconds, moves: count }) => onUp(seed, (load) => moves(load, new SeededRandom(seed), { seconds, moves: count })),
  },
  'moves-kills': {
    play: ({ seed, seconds, moves: count, everyMs }) =>
      onUp(seed, (load) => moves(load, new SeededRandom(seed), { seconds, moves: count, killEveryMs: everyMs })),
  },
}
