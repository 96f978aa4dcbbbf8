import { describe, expect, it } from 'vitest'
import { must } from '../../base/assert.ts'
import { pb } from '../../proto/messages.ts'
import { Messenger } from '../../raft/messenger.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'

class Rig {
  readonly world = new World({ seed: 5 })
  readonly network = new SimNetwork(this.world)
  readonly processes = new Map<string, SimProcess>()
  /** By node: terms of the messages that came. */
  readonly received = new Map<string, number[]>()

  async open(name: string, clusterId = new Uint8Array(0)): Promise<Messenger> {
    const old = this.processes.get(name)
    const process = old === undefined ? new SimProcess(this.world, { name, network: this.network }) : old.restart()
    this.processes.set(name, process)
    const { transport, clock, random, logger } = process
    const received: number[] = []
    this.received.set(name, received)
    const messenger = new Messenger({
      transport,
      clock,
      random,
      logger,
      self: name,
      clusterId: () => clusterId,
      resolve: (node) => `${node}:1`,
      onMessage: (message) => received.push(message.term),
    })
    await this.world.settle(transport.listen([{ name: 'default', address: `${name}:1` }], messenger.routes()))
    return messenger
  }

  came(name: string): number[] {
    return must(this.received.get(name), 'a node')
  }
}

const message = (term: number) => new pb.v1.RaftMessage({ group: 'g', type: 1, from: 1, to: 2, term })
const lanes = [pb.v1.Lane.CONTROL, pb.v1.Lane.ENTRIES] as const

describe('the messenger', () => {
  it('carries messages on both lanes to a node that has dialled, and says so where none has', async () => {
    const rig = new Rig()
    const a = await rig.open('a')
    const b = await rig.open('b')
    expect(a.send('b', pb.v1.Lane.CONTROL, message(1), 10)).toBe(false)
    b.connect('a')
    await rig.world.runFor(100)
    for (const lane of lanes) for (let term = 1; term <= 3; term++) expect(a.send('b', lane, message(10 * lane + term), 10)).toBe(true)
    await rig.world.runUntil(() => rig.came('b').length === 6)
    expect(rig.came('b').filter((term) => term >= 10 * lanes[1])).toEqual([1, 2, 3].map((term) => 10 * lanes[1] + term))
    expect(b.send('a', pb.v1.Lane.CONTROL, message(1), 10)).toBe(false)
  })

  it('dials again when the other comes back, and what was sent meanwhile is lost, not kept', async () => {
    const rig = new Rig()
    await rig.open('a')
    const b = await rig.open('b')
    b.connect('a')
    await rig.world.runFor(100)
    rig.processes.get('a')?.kill()
    await rig.world.runFor(5000)
    const again = await rig.open('a')
    await rig.world.runUntil(() => again.send('b', pb.v1.Lane.CONTROL, message(7), 10), 20_000)
    await rig.world.runUntil(() => rig.came('b').includes(7))
  })

  it('a node of another cluster is refused; one that has no cluster yet is not', async () => {
    const rig = new Rig()
    const a = await rig.open('a', new Uint8Array(16).fill(1))
    const stranger = await rig.open('b', new Uint8Array(16).fill(2))
    const fresh = await rig.open('c')
    stranger.connect('a')
    fresh.connect('a')
    await rig.world.runFor(500)
    expect(a.send('b', pb.v1.Lane.CONTROL, message(1), 10)).toBe(false)
    expect(a.send('c', pb.v1.Lane.CONTROL, message(1), 10)).toBe(true)
    await rig.world.runUntil(() => rig.came('c').length === 1)
    expect(rig.came('b')).toEqual([])
  })

  it('bounds what waits for a node that takes nothing, and always takes one message', async () => {
    const rig = new Rig()
    const a = await rig.open('a')
    const b = await rig.open('b')
    b.connect('a')
    await rig.world.runFor(100)
    expect(a.send('b', pb.v1.Lane.ENTRIES, message(1), 100 * 1024 * 1024)).toBe(true)
    expect(a.send('b', pb.v1.Lane.ENTRIES, message(2), 1024)).toBe(false)
    await rig.world.runUntil(() => rig.came('b').length === 1)
    expect(a.send('b', pb.v1.Lane.ENTRIES, message(3), 1024)).toBe(true)
  })

  it('sends and receives nothing after close, and dials no more', async () => {
    const rig = new Rig()
    const a = await rig.open('a')
    const b = await rig.open('b')
    b.connect('a')
    await rig.world.runFor(100)
    a.send('b', pb.v1.Lane.CONTROL, message(1), 10)
    b.close()
    await rig.world.runFor(2000)
    expect(rig.came('b')).toEqual([])
    expect(a.send('b', pb.v1.Lane.CONTROL, message(2), 10)).toBe(false)
    b.connect('a')
    a.close()
    await rig.world.runFor(2000)
    expect(rig.network.openConnections).toBe(0)
  })
})
