/** What happens to disks: power cuts, syncs that fail once or take too long. */
import { exitCode } from '../../../cli/exit-code.ts'
import { type Fault, type FaultMaker, type FaultWorld, ledBy, pick, someLeader, someNode } from './fault.ts'

export const diskFaults = {
  'power-cut': (world) => powerCut(world),
  'fsync-error': (world) => fsyncError(world, world.random.next() < 0.5 ? someLeader(world) : someNode(world)),
  'fsync-stall': (world) => fsyncStall(world, someLeader(world)),
} satisfies Record<string, FaultMaker>

function powerCut(world: FaultWorld): Fault | undefined {
  const [id, image] = pick(world.random, [...world.images]) ?? []
  if (id === undefined || image === undefined) return undefined
  const process = world.cluster.process(id)
  return {
    kind: 'power-cut',
    what: `power cut of ${id}`,
    hits: ledBy(world, id),
    resumesFrom: 'begin',
    lastsMs: 500,
    begin: async () => process.signal('SIGKILL'),
    end: async () => {
      await process.exited
      await image.cutPower()
      await process.start()
    },
  }
}

/** How long a process may take from the failed sync to its end. */
const endMs = 1000

function fsyncError(world: FaultWorld, id: string | undefined): Fault | undefined {
  const { shim, cluster } = world
  if (shim === undefined || id === undefined) return undefined
  const process = cluster.process(id)
  return {
    kind: 'fsync-error',
    what: `a sync of ${id} fails`,
    hits: ledBy(world, id),
    resumesFrom: 'begin',
    lastsMs: 1000,
    begin: async () => {
      process.expectEnd()
      await shim.failOnce(id)
      const failedMs = performance.now()
      const code = await process.exited
      const tookMs = performance.now() - failedMs
      if (code !== exitCode.diskError || tookMs > endMs)
        throw new Error(`${id} ended with ${code}, ${Math.round(tookMs)} ms after a sync had failed`)
    },
    end: () => process.start(),
  }
}

/** Longer than an election timeout: another must lead meanwhile. */
function fsyncStall(world: FaultWorld, id: string | undefined): Fault | undefined {
  const { shim, cluster } = world
  if (shim === undefined || id === undefined) return undefined
  const stallMs = 3 * cluster.options.electionTimeoutMs
  return {
    kind: 'fsync-stall',
    what: `syncs of ${id} take ${stallMs} ms`,
    hits: ledBy(world, id),
    resumesFrom: 'begin',
    lastsMs: stallMs,
    begin: () => shim.stall(id, stallMs),
    end: () => shim.stall(id, 0),
  }
}
