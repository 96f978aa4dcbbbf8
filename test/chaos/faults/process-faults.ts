/** What happens to processes: they are killed, asked to end, stopped for a while. */
import type { ServerProcess } from '../processes/server-process.ts'
import {
  controllersLeader,
  type Fault,
  type FaultMaker,
  type FaultWorld,
  ledBy,
  pick,
  someLeader,
  someNode,
  someTimeouts,
} from './fault.ts'

export const processFaults = {
  'kill-leader': (world) => kill(world, someLeader(world)),
  'kill-node': (world) => kill(world, someNode(world)),
  'kill-controller': (world) => kill(world, controllersLeader(world)),
  'kill-controllers': (world) => killAll(world, 'all controllers', world.cluster.controllers, []),
  'kill-nodes': (world) => killAll(world, 'all nodes', world.cluster.nodes, world.cluster.groups),
  restart: (world) => restart(world, someNode(world)),
  'restart-controller': (world) => restart(world, pick(world.random, world.cluster.controllers)?.id),
  'pause-leader': (world) => pause(world, someLeader(world)),
  'pause-node': (world) => pause(world, someNode(world)),
  'pause-controller': (world) => pause(world, controllersLeader(world)),
} satisfies Record<string, FaultMaker>

/** How long what was killed stays down. */
function downMs({ random }: FaultWorld): number {
  return 500 + 3000 * random.next()
}

function kill(world: FaultWorld, id: string | undefined): Fault | undefined {
  if (id === undefined) return undefined
  const process = world.cluster.process(id)
  return {
    what: `kill -9 of ${id}`,
    hits: ledBy(world, id),
    resumesFrom: 'begin',
    lastsMs: downMs(world),
    begin: async () => process.signal('SIGKILL'),
    end: async () => {
      await process.exited
      await process.start()
    },
  }
}

/** Resolves when all are ready: a start takes what it takes, and is no fault. */
export async function startAll(processes: readonly ServerProcess[]): Promise<void> {
  await Promise.all(processes.map((process) => process.start()))
  await Promise.all(processes.map((process) => process.whenReady))
}

function killAll(world: FaultWorld, what: string, processes: readonly ServerProcess[], hits: readonly string[]): Fault {
  return {
    what: `kill -9 of ${what}`,
    hits,
    resumesFrom: 'end',
    lastsMs: downMs(world),
    begin: async () => {
      for (const process of processes) process.signal('SIGKILL')
    },
    end: async () => {
      await Promise.all(processes.map((process) => process.exited))
      await startAll(processes)
    },
  }
}

/** SIGTERM, and a start when it has ended. It must end with 0. */
function restart(world: FaultWorld, id: string | undefined): Fault | undefined {
  if (id === undefined) return undefined
  const process = world.cluster.process(id)
  return {
    what: `SIGTERM of ${id}`,
    hits: ledBy(world, id),
    resumesFrom: 'begin',
    lastsMs: 0,
    begin: async () => process.signal('SIGTERM'),
    end: async () => {
      const code = await process.exited
      if (code !== 0) throw new Error(`${id} ended with ${code} after SIGTERM`)
      await process.start()
    },
  }
}

function pause(world: FaultWorld, id: string | undefined): Fault | undefined {
  if (id === undefined) return undefined
  const process = world.cluster.process(id)
  const lastsMs = someTimeouts(world)
  const { electionTimeoutMs } = world.cluster.options
  return {
    what: `${id} is stopped for ${Math.round(lastsMs)} ms`,
    hits: ledBy(world, id),
    // Whoever is back before anybody missed it goes on leading.
    resumesFrom: lastsMs < 2 * electionTimeoutMs ? 'end' : 'begin',
    lastsMs,
    begin: async () => process.signal('SIGSTOP'),
    end: async () => process.signal('SIGCONT'),
  }
}
