import { describe, expect, it } from 'vitest'
import { type RunningController, startController } from '../../controller/controller-process.ts'
import { lsmJobs } from '../../lsm/jobs.ts'
import { ControllerClient } from '../../proto/controller-client.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'

const timeoutMs = 10_000
const addressOf = (id: string) => `${id}:7400`

/** Controllers as processes on a simulated network, each with --peers of its own. */
class Controllers {
  readonly world: World
  readonly network: SimNetwork
  readonly #processes = new Map<string, SimProcess>()
  readonly running = new Map<string, RunningController>()
  /** What ended a controller, or kept it from starting. */
  readonly ended = new Map<string, string>()

  constructor(seed: number) {
    this.world = new World({ seed })
    this.network = new SimNetwork(this.world)
  }

  start(id: string, peers: readonly string[], machine = id): void {
    const before = this.#processes.get(machine)
    const process = before?.restart() ?? new SimProcess(this.world, { name: machine, network: this.network, jobs: lsmJobs })
    this.#processes.set(machine, process)
    const settings = {
      id,
      listen: [{ name: 'default', address: addressOf(machine) }],
      advertise: [],
      data: 'data',
      pid: 1,
      http: '',
      electionTimeoutMs: 1000,
      heartbeatMs: 100,
      snapshotLogBytes: 64 * 1024,
      memtableBytes: 1024 * 1024,
      blockCacheBytes: 1024 * 1024,
      diskReserveBytes: 64 * 1024,
      readMode: 'linearizable' as const,
      peers: peers.map((peer) => ({ id: peer, address: addressOf(peer === id ? machine : peer) })),
      shards: 16,
      balanceLeaders: true,
    }
    const end = (error: Error) => {
      this.ended.set(machine, error.message)
      this.running.delete(machine)
    }
    startController(settings, process, end).then((controller) => this.running.set(machine, controller), end)
  }

  kill(machine: string): void {
    this.#processes.get(machine)?.kill()
    this.running.delete(machine)
  }

  wipe(machine: string): void {
    this.kill(machine)
    this.#processes.delete(machine)
  }

  client(...ids: string[]): ControllerClient {
    const { transport, clock, random, logger } = new SimProcess(this.world, {
      name: `admin${this.world.random.next()}`,
      network: this.network,
    })
    return new ControllerClient({ transport, clock, random, logger, addresses: ids.map(addressOf) })
  }

  conf(machine: string): string {
    const { voters = [], learners = [] } = this.running.get(machine)?.replica?.conf ?? {}
    return `${voters.join(' ')}${learners.length > 0 ? ` | ${learners.join(' ')}` : ''}`
  }
}

async function three(seed = 3) {
  const controllers = new Controllers(seed)
  for (const id of ['c1', 'c2', 'c3']) controllers.start(id, ['c1', 'c2', 'c3'])
  const client = controllers.client('c1', 'c2', 'c3')
  const join = client.join({ groups: [{ name: 'g1', members: [{ node: 'n1', address: 'n1:1' }] }] }, { timeoutMs: 30_000 })
  await controllers.world.settle(join, 60_000)
  // All have registered, and are heard.
  await controllers.world.runFor(3000)
  return { controllers, client, world: controllers.world }
}

describe('replacing a controller', () => {
  it('that is dead: the new one learns, votes under a new number, and the cluster survives the loss of another', async () => {
    const { controllers, client, world } = await three()
    controllers.kill('c2')
    await world.runFor(4000)
    const request = { old: 'c2', new: { node: 'c4', address: addressOf('c4') } }
    expect((await world.settle(client.replaceNode(request, { timeoutMs }), 30_000)).note).toContain('--peers')
    controllers.start('c4', ['c1', 'c3', 'c4'])
    await world.runUntil(() => controllers.conf('c1') === '1 3 4' && controllers.conf('c4') === '1 3 4', 60_000)
    await world.runUntil(() => controllers.running.get('c4')?.state?.controllerMembers.version === 3, 60_000)
    expect(controllers.running.get('c4')?.state?.configNumber).toBe(1)
    const status = await world.settle(client.status({ timeoutMs }), 30_000)
    expect(status.controllers.map(({ id, live }) => `${id} ${live}`)).toEqual(['c1 true', 'c3 true', 'c4 true'])
    controllers.kill('c1')
    const rest = controllers.client('c3', 'c4')
    const join = rest.join({ groups: [{ name: 'g2', members: [{ node: 'n1', address: 'n1:1' }] }] }, { timeoutMs: 30_000 })
    expect((await world.settle(join, 60_000)).configNumber).toBe(2)
    // Whatever --peers says, those that are there find each other again.
    for (const id of ['c3', 'c4']) controllers.kill(id)
    controllers.start('c1', ['c1', 'c2', 'c3'])
    controllers.start('c3', ['c1', 'c2', 'c3'])
    controllers.start('c4', ['c1', 'c3', 'c4'])
    expect((await world.settle(rest.query(0, { timeoutMs: 30_000 }), 60_000)).config.number).toBe(2)
    await world.runUntil(() => controllers.conf('c1') === '1 3 4', 60_000)
    expect([...controllers.ended]).toEqual([])
  })

  it('that was emptied: it is refused under its old id until it is named, and then votes under a new number', async () => {
    const { controllers, client, world } = await three(4)
    controllers.wipe('c2')
    await world.runFor(4000)
    controllers.start('c2', ['c1', 'c2', 'c3'])
    await world.runUntil(() => controllers.ended.has('c2'), 60_000)
    expect(controllers.ended.get('c2')).toContain('replace-node c2 c2=HOST:PORT')
    controllers.wipe('c2')
    await world.settle(client.replaceNode({ old: 'c2', new: { node: 'c2', address: addressOf('c2') } }, { timeoutMs }), 30_000)
    controllers.ended.clear()
    controllers.start('c2', ['c1', 'c2', 'c3'])
    await world.runUntil(() => controllers.conf('c1') === '1 3 4' && controllers.conf('c2') === '1 3 4', 60_000)
    // Its number is its own for good.
    controllers.kill('c2')
    controllers.start('c2', ['c1', 'c2', 'c3'])
    await world.runUntil(() => controllers.running.get('c2')?.ready() === true, 60_000)
    controllers.wipe('c2')
    controllers.start('c2', ['c1', 'c2', 'c3'])
    await world.runUntil(() => controllers.ended.has('c2'), 60_000)
  })

  it('that lives: it ends when it hears of it', async () => {
    const { controllers, client, world } = await three(5)
    await world.settle(client.replaceNode({ old: 'c1', new: { node: 'c4', address: addressOf('c4') } }, { timeoutMs }), 30_000)
    controllers.start('c4', ['c2', 'c3', 'c4'])
    await world.runUntil(() => controllers.conf('c4') === '2 3 4', 60_000)
    await world.runUntil(() => controllers.ended.has('c1'), 60_000)
    expect(controllers.ended.get('c1')).toContain('controller c1 was replaced')
  })

  it('that leads: its successor, whose --peers do not name it, hears from it and answers', async () => {
    const { controllers, client, world } = await three(5)
    await world.runUntil(() => controllers.running.get('c1')?.ready() === true, 60_000)
    const leader = controllers.running.get('c1')?.replica?.leader ?? 0
    const old = `c${leader}`
    const others = ['c1', 'c2', 'c3'].filter((id) => id !== old)
    await world.settle(client.replaceNode({ old, new: { node: 'c4', address: addressOf('c4') } }, { timeoutMs }), 30_000)
    controllers.start('c4', [...others, 'c4'])
    const members = [...others, 'c4'].map((id) => id.slice(1)).join(' ')
    await world.runUntil(() => controllers.conf('c4') === members, 60_000)
    await world.runUntil(() => controllers.ended.has(old), 60_000)
    expect(controllers.ended.get(old)).toContain(`controller ${old} was replaced`)
  })

  it('is not for one that nobody names within five seconds, nor for who comes second under its name', async () => {
    const { controllers, client, world } = await three(6)
    const peers = ['c1', 'c2', 'c3', 'c4']
    controllers.start('c4', peers)
    await world.runUntil(() => controllers.ended.has('c4'), 60_000)
    expect(controllers.ended.get('c4')).toContain('c4 is none of the controllers of this cluster')
    controllers.kill('c4')
    controllers.ended.clear()
    controllers.start('c4', peers)
    await world.runFor(2000)
    const add = client.changeMembers({ group: 'controller', add: [{ node: 'c4', address: addressOf('c4') }] }, { timeoutMs })
    await world.settle(add, 30_000)
    await world.runUntil(() => controllers.conf('c1') === '1 2 3 4', 60_000)
    controllers.wipe('c4')
    controllers.start('c4', peers)
    await world.runUntil(() => controllers.ended.has('c4'), 60_000)
    await world.settle(client.changeMembers({ group: 'controller', remove: ['c4'] }, { timeoutMs }), 30_000)
    await world.runUntil(() => controllers.conf('c1') === '1 2 3', 60_000)
    expect([...controllers.running.keys()].sort()).toEqual(['c1', 'c2', 'c3'])
  })
})
