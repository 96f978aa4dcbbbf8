/** What happens to disks: power cuts, syncs that fail once or take too long. */
import { exitCode } from '../../../cli/exit-code.ts'
import { type Fault, type FaultMaker, type FaultWorld, ledBy, pick, someLeader, someNode } from './fault.ts'
import { startAll } from './process-faults.ts'

export const diskFaults = {
  'power-cut': (world) => powerCut(world),
  'power-cut-of-all': (world) => powerCutOfAll(world),
  'fsync-error': (world) => fsyncError(world, world.random.next() < 0.5 ? someLeader(world) : someNode(world)),
  'fsync-error-and-power-cut': (world) => fsyncErrorAndPowerCut(world),
  'fsync-stall': (world) => fsyncStall(world, someLeader(world)),
} satisfies Record<string, FaultMaker>

function powerCut(world: FaultWorld): Fault | undefined {
  const [id, image] = pick(world.random, [...world.images]) ?? []
  if (id === undefined || image === undefined) return undefined
  const process = world.cluster.process(id)
  return {
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

/** All nodes lose their power in one moment: only what was synced before it was acknowledged is there. */
function powerCutOfAll({ cluster, images }: FaultWorld): Fault | undefined {
  const processes = cluster.nodes.filter(({ id }) => images.has(id))
  if (processes.length < cluster.nodes.length) return undefined
  return {
    what: 'power cut of all nodes',
    hits: cluster.groups,
    resumesFrom: 'end',
    lastsMs: 500,
    begin: async () => {
      for (const process of processes) process.signal('SIGKILL')
    },
    end: async () => {
      await Promise.all(processes.map((process) => process.exited))
      await Promise.all([...images.values()].map((image) => image.cutPower()))
      await startAll(processes)
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

/** What the failed sync did not sync is lost for good: had anything of it been acknowledged, a cluster of one node would show it. */
function fsyncErrorAndPowerCut(world: FaultWorld): Fault | undefined {
  const { images } = world
  const [id, image] = pick(world.random, [...images]) ?? []
  const fault = fsyncError(world, id)
  if (fault === undefined || image === undefined || id === undefined) return undefined
  const process = world.cluster.process(id)
  return {
    ...fault,
    what: `${fault.what}, then the power`,
    resumesFrom: 'end',
    end: async () => {
      await image.cutPower()
      await startAll([process])
    },
  }
}

/** Longer than an election timeout: another must lead meanwhile. */
function fsyncStall(world: FaultWorld, id: string | undefined): Fault | undefined {
  const { shim, cluster } = world
  if (shim === undefined || id === undefined) return undefined
  const stallMs = 3 * cluster.options.electionTimeoutMs
  return {
    what: `syncs of ${id} take ${stallMs} ms`,
    hits: ledBy(world, id),
    resumesFrom: 'begin',
    lastsMs: stallMs,
    begin: () => shim.stall(id, stallMs),
    end: async () => {
      const led = ledBy({ ...world, leaders: await cluster.leaders() }, id)
      await shim.stall(id, 0)
      if (led.length > 0) throw new Error(`${id} leads ${led} though its disk has not answered for ${stallMs} ms`)
    },
  }
}
