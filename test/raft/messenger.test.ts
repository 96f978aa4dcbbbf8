import { describe, expect, it } from 'vitest'
import { must } from '../../base/assert.ts'
import { pb } from '../../proto/messages.ts'
import { draftMessage } from '../../raft/core/message.ts'
import { MessageType } from '../../raft/core/types.ts'
import type { ReceivedHeartbeat } from '../../raft/heartbeat-columns.ts'
import { Messenger } from '../../raft/messenger.ts'
import { Turn } from '../../raft/turn.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'

class Rig {
  readonly world = new World({ seed: 5 })
  readonly network = new SimNetwork(this.world)
  readonly processes = new Map<string, SimProcess>()
  /** By node: terms of the messages that came. */
  readonly received = new Map<string, number[]>()
  /** By node: what else it was told, in order; beats and what was heard apart. */
  readonly told = new Map<string, string[]>()
  readonly heartbeats: ReceivedHeartbeat[] = []
  /** Nodes from which all others are led. */
  readonly leads = new Set<string>()

  async open(name: string, clusterId = new Uint8Array(0)): Promise<Messenger> {
    const old = this.processes.get(name)
    const process = old === undefined ? new SimProcess(this.world, { name, network: this.network }) : old.restart()
    this.processes.set(name, process)
    const { transport, clock, random, logger } = process
    const received: number[] = []
    this.received.set(name, received)
    const told: string[] = []
    this.told.set(name, told)
    const messenger = new Messenger({
      transport,
      clock,
      turn: new Turn(clock),
      random,
      logger,
      self: name,
      clusterId: () => clusterId,
      resolve: (node) => `${node}:1`,
      onMessage: (message) => received.push(message.term),
      onHeartbeat: (heartbeat) => this.heartbeats.push(heartbeat),
      onBeat: (node, beat) => told.push(`beat of ${node} for ${beat.led?.count}`),
      onHeard: () => {},
      onBroken: (node) => told.push(`broken ${node}`),
      onLost: (node) => told.push(`lost ${node}`),
      isLedFrom: (node) => this.leads.has(node),
    })
    await this.world.settle(transport.listen([{ name: 'default', address: `${name}:1` }], messenger.routes()))
    return messenger
  }

  came(name: string): number[] {
    return must(this.received.get(name), 'a node')
  }

  /** How long it takes until `to` has heard `from` on both lanes; the steps are of 5 ms. */
  async msUntilHeard(from: Messenger, to: string): Promise<number> {
    const beginMs = this.world.nowMs
    while (!lanes.every((lane) => this.came(to).includes(100 + lane)) && this.world.nowMs - beginMs < 20_000) {
      for (const lane of lanes) from.send(to, lane, message(100 + lane), 10)
      await this.world.runFor(5)
    }
    return this.world.nowMs - beginMs
  }
}

const message = (term: number) => new pb.v1.RaftMessage({ group: 'g', type: 1, from: 1, to: 2, term })
const lanes = [pb.v1.Lane.CONTROL, pb.v1.Lane.ENTRIES] as const

/** Two nodes of which b receives from a. */
async function pair(): Promise<{ rig: Rig; a: Messenger; b: Messenger }> {
  const rig = new Rig()
  const a = await rig.open('a')
  const b = await rig.open('b')
  b.connect('a')
  await rig.world.runFor(100)
  return { rig, a, b }
}

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
    const { rig, a } = await pair()
    expect(a.send('b', pb.v1.Lane.ENTRIES, message(1), 100 * 1024 * 1024)).toBe(true)
    expect(a.send('b', pb.v1.Lane.ENTRIES, message(2), 1024)).toBe(false)
    await rig.world.runUntil(() => rig.came('b').length === 1)
    expect(a.send('b', pb.v1.Lane.ENTRIES, message(3), 1024)).toBe(true)
  })

  it('carries heartbeats of many groups and their answers, and beats', async () => {
    const rig = new Rig()
    const a = await rig.open('a')
    const b = await rig.open('b')
    a.connect('b')
    b.connect('a')
    await rig.world.runFor(100)
    const sent = [3, 4].map((term) => {
      const heartbeat = { ...draftMessage(MessageType.Heartbeat, 1, 2, term), commit: term + 1, context: 7, hintIndex: 1 }
      const envelope = { group: `g${term}`, groupTimeMs: 5, allMatched: 6 }
      expect(a.sendHeartbeat('b', heartbeat, envelope)).toBe(true)
      return { message: heartbeat, envelope }
    })
    const answer = {
      message: draftMessage(MessageType.HeartbeatResponse, 1, 2, 9),
      envelope: { group: 'g9', groupTimeMs: 0, allMatched: 0 },
    }
    a.sendHeartbeat('b', answer.message, answer.envelope)
    a.beat(() => new pb.v1.NodeBeat({ led: { count: 3, digest: 1 } }))
    await rig.world.runUntil(() => rig.told.get('b')?.length === 1)
    expect(rig.told.get('b')).toEqual(['beat of a for 3'])
    expect(rig.heartbeats).toEqual([...sent, answer])
  })

  it('says that a node is lost where its stream breaks and it takes no other, once', async () => {
    const { rig, a } = await pair()
    a.send('b', pb.v1.Lane.CONTROL, message(1), 10)
    await rig.world.runFor(100)
    expect(rig.told.get('b')).toEqual([])
    rig.processes.get('a')?.kill()
    await rig.world.runUntil(() => rig.told.get('b')?.includes('lost a') === true)
    await rig.world.runFor(5000)
    expect(rig.told.get('b')).toEqual(['broken a', 'lost a'])
  })

  it('leaves a node alone that ended its streams in good order, and says that it is lost where it is not back then', async () => {
    const { rig, a } = await pair()
    // On the lane of entries nothing came yet, as from a node that has led nothing.
    a.send('b', pb.v1.Lane.CONTROL, message(1), 10)
    await rig.world.runFor(1000)
    let requests = 0
    rig.network.overhear(() => requests++)
    a.close()
    await rig.world.runFor(150)
    expect(rig.told.get('b')).toEqual(['broken a'])
    expect(requests).toBe(0)
    rig.processes.get('a')?.kill()
    await rig.world.runUntil(() => rig.told.get('b')?.includes('lost a') === true, 6000)
    await rig.world.runFor(5000)
    expect(rig.told.get('b')).toEqual(['broken a', 'lost a'])
  })

  it('dials a node at once that ended its streams in good order and still leads', async () => {
    const { rig, a } = await pair()
    a.send('b', pb.v1.Lane.CONTROL, message(1), 10)
    await rig.world.runFor(1000)
    rig.leads.add('a')
    a.close()
    await rig.world.runUntil(() => rig.told.get('b')?.includes('lost a') === true, 20)
  })

  it('hears a node at once that ended its streams in good order and is back', async () => {
    const { rig, a } = await pair()
    for (const lane of lanes) a.send('b', lane, message(1), 10)
    await rig.world.runFor(100)
    a.close()
    await rig.world.runFor(20)
    rig.processes.get('a')?.kill()
    const again = await rig.open('a')
    again.connect('b')
    expect(await rig.msUntilHeard(again, 'b')).toBeLessThan(100)
  })

  it('says only that a stream broke where another is to be had', async () => {
    const { rig, a } = await pair()
    a.send('b', pb.v1.Lane.CONTROL, message(1), 10)
    await rig.world.runFor(100)
    rig.network.cutBoth('a', 'b', 'refuse')
    rig.network.heal()
    await rig.world.runFor(500)
    expect(a.send('b', pb.v1.Lane.CONTROL, message(2), 10)).toBe(true)
    await rig.world.runUntil(() => rig.came('b').includes(2))
    expect(rig.told.get('b')).toEqual(['broken a'])
    expect(rig.told.get('a')).toEqual(['broken b'])
  })

  it('hears a node as soon as it is back from a power loss, on both lanes, and nobody dials again after that', async () => {
    const rig = new Rig()
    for (const node of ['a', 'b']) (await rig.open(node)).connect(node === 'a' ? 'b' : 'a')
    await rig.world.runFor(3000)
    rig.processes.get('a')?.powerLoss()
    await rig.world.runFor(300)
    const again = await rig.open('a')
    again.connect('b')
    expect(await rig.msUntilHeard(again, 'b')).toBeLessThan(100)
    await rig.world.runFor(100)
    let requests = 0
    rig.network.overhear(() => requests++)
    await rig.world.runFor(10_000)
    expect(requests).toBe(0)
  })

  it('waits no longer for its next try once the node that it could not reach dials it', async () => {
    const rig = new Rig()
    const a = await rig.open('a')
    const b = await rig.open('b')
    b.connect('a')
    rig.network.cutBoth('a', 'b', 'refuse')
    await rig.world.runFor(10_000)
    rig.network.heal()
    a.connect('b')
    expect(await rig.msUntilHeard(a, 'b')).toBeLessThan(100)
  })

  it('parts from its peers one after the other, and dials no more', async () => {
    const rig = new Rig()
    const nodes = await Promise.all(['a', 'b', 'c'].map((name) => rig.open(name)))
    const [a] = nodes as [Messenger, Messenger, Messenger]
    a.connect('b')
    a.connect('c')
    await rig.world.runFor(100)
    expect(rig.network.openConnections).toBe(4)
    const open: number[] = []
    const parted = a.part()
    for (let i = 0; i < 4; i++) {
      await rig.world.runFor(12)
      open.push(rig.network.openConnections)
      await rig.world.runFor(13)
    }
    expect(open).toEqual([3, 2, 1, 0])
    await rig.world.settle(parted, 10)
    await rig.world.runFor(2000)
    expect(rig.network.openConnections).toBe(0)
    a.close()
  })

  it('sends and receives nothing after close, and dials no more', async () => {
    const { rig, a, b } = await pair()
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
