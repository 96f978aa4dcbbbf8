import { describe, expect, it } from 'vitest'
import { CorruptionError } from '../../base/errors.ts'
import { OstrakaError } from '../../proto/errors.ts'
import type { pb } from '../../proto/messages.ts'
import type { HostedReplica } from '../../shardserver/group-host.ts'
import { Heartbeats } from '../../shardserver/heartbeats.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'

/** As far as a heartbeat looks at it: shard 1 serves and holds data, 2 is empty, 3 was handed over, 4 is on its way in. */
function hosted(group: string, role: 'leader' | 'follower'): HostedReplica {
  const states = ['serving', 'exporting', 'released', 'importing']
  const stateMachine = {
    status: () => ({ shards: states.map((state, i) => ({ shard: i + 1, state })) }),
    shardBytes: async (shard: number) => (shard === 2 ? 0 : 100 * shard),
  }
  return { replica: { group, role, term: 7, leader: 2 }, stateMachine } as unknown as HostedReplica
}

function setUp(
  removedGroups: readonly string[] = [],
  hosts = [hosted('g1@1', 'leader'), hosted('g2@1', 'follower')],
  deletion = Promise.resolve(),
) {
  const world = new World({ seed: 1 })
  const { clock, logger } = new SimProcess(world, { name: 'n1', network: new SimNetwork(world) })
  const beats: pb.v1.HeartbeatRequest.$Properties[] = []
  const removed: string[] = []
  const transfers: string[][] = []
  const fatal: Error[] = []
  const state = { failure: undefined as Error | undefined }
  const heartbeats = new Heartbeats({
    clock,
    logger,
    id: 'n1',
    nonce: new Uint8Array(16),
    client: {
      heartbeat: async (request) => {
        beats.push(request)
        if (state.failure !== undefined) throw state.failure
        return { configNumber: 1, removedGroups, removedReplicas: [], transfers: beats.length === 1 ? [{ group: 'g1@1', node: 'n3' }] : [] }
      },
    },
    loads: { busy: () => [{ shard: 1, reads: 2, writes: 3 }] },
    hosted: () => hosts,
    nodeOf: (_group, replica) => `n${replica}`,
    progressOf: (group) => [{ migration: group === 'g1@1' ? 4 : 0 }],
    remove: (group) => {
      removed.push(group)
      return deletion
    },
    transfer: (group, node) => transfers.push([group, node]),
    lost: () => [],
    removeReplica: async (group, replica) => {
      removed.push(`${group}.${replica}`)
    },
    onFatal: (error) => fatal.push(error),
  })
  return { world, clock, heartbeats, beats, removed, transfers, fatal, state }
}

describe('the heartbeats of a node', () => {
  it('hand over what the controllers want others to lead', async () => {
    const { world, transfers, heartbeats } = setUp()
    await world.runFor(2000)
    expect(transfers).toEqual([['g1@1', 'n3']])
    heartbeats.close()
  })

  it('name the leaders, and of groups led here the progress and now and then what the shards hold', async () => {
    const { world, beats, heartbeats } = setUp()
    await world.runFor(9900)
    expect(beats).toHaveLength(20)
    expect(beats[0]?.groups).toEqual([
      {
        group: 'g1@1',
        term: 7,
        leader: 'n2',
        sizes: [
          { shard: 1, bytes: 100 },
          { shard: 4, bytes: 400 },
        ],
        tellsSizes: true,
        progress: [{ migration: 4 }],
      },
      { group: 'g2@1', term: 7, leader: 'n2' },
    ])
    expect(beats.flatMap(({ groups }, i) => (groups?.[0]?.tellsSizes ? [i] : []))).toEqual([0, 10])
    expect(beats.flatMap(({ loads }, i) => (loads ? [i] : []))).toEqual([0, 10])
    expect(beats[0]?.loads).toEqual({ shards: [1], reads: [2], writes: [3] })
    heartbeats.close()
    await world.runFor(2000)
    expect(beats).toHaveLength(20)
  })

  it('go on while a removed group is being deleted, which is begun once', async () => {
    const { world, beats, removed, heartbeats, fatal } = setUp(['g9@9'], [], new Promise(() => {}))
    await world.runFor(9900)
    expect([beats.length, removed, fatal]).toEqual([20, ['g9@9'], []])
    heartbeats.close()
  })

  it('go on where a replica was closed while its sizes were being read', async () => {
    const hosts = [hosted('g1@1', 'leader')]
    const [first] = hosts
    const stateMachine = first?.stateMachine as unknown as { shardBytes(): Promise<number> }
    stateMachine.shardBytes = async () => {
      hosts.length = 0
      throw new Error('the database is closed')
    }
    const { world, beats, heartbeats, fatal } = setUp([], hosts)
    await world.runFor(1900)
    expect([beats.length, fatal]).toEqual([4, []])
    heartbeats.close()
  })

  it('go on where no controller answers, and tell the sizes as soon as one does', async () => {
    const { world, beats, state, fatal } = setUp()
    state.failure = new OstrakaError('UNAVAILABLE', 'no controller answers', false)
    await world.runFor(1900)
    expect(beats).toHaveLength(4)
    expect(beats.every(({ groups }) => groups?.[0]?.tellsSizes === true)).toBe(true)
    state.failure = undefined
    await world.runFor(1000)
    expect(beats.at(-1)?.groups?.[0]?.tellsSizes).toBe(false)
    expect(fatal).toEqual([])
  })

  it('ask for the sizes of many shards in several turns, and go on where one cannot be read', async () => {
    let inTurn = 0
    let most = 0
    const stateMachine = {
      status: () => ({ shards: Array.from({ length: 200 }, (_, shard) => ({ shard, state: 'serving' })) }),
      shardBytes: async (shard: number) => {
        // The first beat begins while the rig is being set up.
        await Promise.resolve()
        if (shard === 5) throw new CorruptionError('000007.sst', 0, 'damaged')
        if (inTurn++ === 0) clock.soon(() => (inTurn = 0))
        most = Math.max(most, inTurn)
        return 1
      },
    }
    const many = { replica: { group: 'g1@1', role: 'leader', term: 7, leader: 2 }, stateMachine } as unknown as HostedReplica
    const { world, clock, beats, fatal, heartbeats } = setUp([], [many])
    await world.runFor(100)
    expect(beats[0]?.groups?.[0]?.sizes).toHaveLength(199)
    expect(most).toBeLessThan(50)
    expect(fatal).toEqual([])
    heartbeats.close()
  })

  it('leave in time though the sizes take their time, and tell them once they are there', async () => {
    const leads = hosted('g1@1', 'leader')
    let asked = 0
    const answers: ((bytes: number) => void)[] = []
    Object.assign(leads.stateMachine, {
      shardBytes: (shard: number) => {
        asked++
        return shard === 1 ? new Promise<number>((resolve) => answers.push(resolve)) : Promise.resolve(100 * shard)
      },
    })
    const { world, beats, heartbeats } = setUp([], [leads])
    await world.runFor(2900)
    expect(beats.map(({ groups }) => groups?.[0]?.tellsSizes)).toEqual([false, false, false, false, false])
    expect(asked).toBe(1)
    for (const answer of answers) answer(7)
    await world.runFor(600)
    expect(beats[5]?.groups?.[0]).toMatchObject({
      tellsSizes: true,
      sizes: [
        { shard: 1, bytes: 7 },
        { shard: 2, bytes: 200 },
        { shard: 4, bytes: 400 },
      ],
    })
    await world.runFor(4000)
    expect(beats.slice(6).some(({ groups }) => groups?.[0]?.tellsSizes)).toBe(false)
    heartbeats.close()
  })

  it('have groups deleted that were removed from the cluster, and end with a bug of ours', async () => {
    const { world, removed, state, fatal } = setUp(['g2@1'])
    await world.runFor(100)
    expect(removed).toEqual(['g2@1'])
    state.failure = new TypeError('a bug')
    await world.runFor(1000)
    expect(fatal).toEqual([state.failure])
  })
})
