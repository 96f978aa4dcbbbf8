import { describe, expect, it } from 'vitest'
import { AssertionError } from '../../base/assert.ts'
import { SeededRandom } from '../../base/random.ts'
import { requestsMax } from '../../controller/answered-requests.ts'
import { openConfigStateMachine } from '../../controller/config-database.ts'
import { ConfigState } from '../../controller/config-state.ts'
import type { ConfigStateMachine } from '../../controller/config-state-machine.ts'
import { type ControllerEntry, decodeEntry, encodeEntry } from '../../controller/entry.ts'
import { lsmJobs, WriteBatch } from '../../lsm/index.ts'
import type { Entry } from '../../raft/core/types.ts'
import { firstOf } from '../raft/standings.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'
import { claimed, entryAt, formed, joined, randomEntry, registered } from './entries.ts'

const first = firstOf(3)

function newProcess(seed: number, name = 'c1'): SimProcess {
  const world = new World({ seed })
  return new SimProcess(world, { name, network: new SimNetwork(world), jobs: lsmJobs })
}

function open(process: SimProcess, shardCount = 64): Promise<ConfigStateMachine> {
  const { fileSystem, executor, clock, logger } = process
  return process.world.settle(
    openConfigStateMachine({
      fileSystem,
      executor,
      clock,
      logger,
      folder: 'data/controller',
      first,
      shardCount,
      onFailure: (error) => {
        throw error
      },
    }),
  )
}

async function fresh(seed = 1, shardCount = 16) {
  const process = newProcess(seed)
  const machine = await open(process, shardCount)
  let index = 0
  const apply = (entry: Parameters<typeof entryAt>[1]) => machine.apply([entryAt(++index, entry)])[0]
  return { process, machine, apply }
}

describe('config state machine', () => {
  it('begins unformed at index 0 with the members that it was given', async () => {
    const { machine } = await fresh()
    expect(machine.durable).toEqual(first)
    expect(machine.state.config).toBeUndefined()
    expect(machine.state.clusterId.length).toBe(0)
  })

  it('is formed once, by the first leader', async () => {
    const { machine, apply } = await fresh()
    expect(apply(registered('n1', 7410))?.outcome).toBe('refused')
    expect(apply(formed())?.outcome).toBe('applied')
    expect(apply({ kind: 'formed', formed: { clusterId: new Uint8Array(16), shardCount: 32 } })?.outcome).toBe('repeated')
    expect(machine.state.config?.shardCount).toBe(16)
    expect(machine.state.clusterId[0]).toBe(1)
  })

  it('takes a change only on the newest config, and only once for a request id', async () => {
    const { machine, apply } = await fresh()
    apply(formed())
    const first = joined(machine.state, ['g1', 'g2'], { requestId: 'a' })
    const rival = joined(machine.state, ['g3'], { requestId: 'b' })
    expect(apply(first)).toEqual({ outcome: 'applied', configNumber: 2, migrations: [] })
    expect(apply(rival)).toEqual({ outcome: 'stale', configNumber: 2 })
    expect(apply(joined(machine.state, ['g3'], { requestId: 'b' }))).toEqual({ outcome: 'applied', configNumber: 3, migrations: [1, 2] })
    expect(apply(first)).toEqual({ outcome: 'repeated', configNumber: 2, migrations: [] })
    const { config } = machine.state
    expect(config?.groups.map((group) => group.uid)).toEqual(['g1@1', 'g2@2', 'g3@3'])
    expect(config?.groups.flatMap((group) => group.members.map((member) => member.replica))).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9])
    expect([...(config?.shardCounts() ?? [])]).toEqual([8, 8, 0])
    expect(machine.state.directory.nodes.map((node) => `${node.id} ${node.addresses[0]?.address} ${node.pid}`)).toEqual([
      'n1 127.0.0.1:7410 0',
      'n2 127.0.0.1:7411 0',
      'n3 127.0.0.1:7412 0',
    ])
  })

  it('refuses changes that hand out a replica number again, skip a config or name another uid', async () => {
    const { machine, apply } = await fresh()
    apply(formed())
    apply(joined(machine.state, ['g1']))
    const broken = (
      spoil: (change: { steps: { to: { number: number }; groups: { uid: string; members: { replica: number }[] }[] }[] }) => void,
    ) => {
      const entry = joined(machine.state, ['g2'])
      if (entry.kind === 'change') spoil(entry.change as never)
      return apply(entry)?.outcome
    }
    const before = (await machine.stateHash()).hash
    expect(broken((change) => ((change.steps[0]?.groups[0]?.members[0] as { replica: number }).replica = 3))).toBe('refused')
    expect(broken((change) => ((change.steps[0]?.groups[0]?.members[0] as { replica: number }).replica = 9))).toBe('refused')
    expect(broken((change) => ((change.steps[0] as { to: { number: number } }).to.number = 3))).toBe('refused')
    expect(broken((change) => ((change.steps[0]?.groups[0] as { uid: string }).uid = 'g2@7'))).toBe('refused')
    expect((await machine.stateHash()).hash).toBe(before)
    expect(machine.state.configNumber).toBe(1)
    expect(broken(() => {})).toBe('applied')
  })

  it('gives a replica number to the first data directory that claims it, forever', async () => {
    const { machine, apply } = await fresh()
    apply(formed())
    apply(joined(machine.state, ['g1']))
    expect(apply(claimed(1, 5))?.outcome).toBe('applied')
    expect(apply(claimed(1, 5))?.outcome).toBe('repeated')
    expect(apply(claimed(1, 6))?.outcome).toBe('lost')
    expect(apply(claimed(1, 5))?.outcome).toBe('repeated')
    expect(apply(claimed(4, 5))?.outcome).toBe('refused')
    expect(apply(claimed(0, 5))?.outcome).toBe('refused')
  })

  it('lets the newest registration of a node count, without a config number', async () => {
    const { machine, apply } = await fresh()
    apply(formed())
    apply(registered('n1', 7410))
    apply(registered('n1', 7999))
    apply(registered('c1', 7400, undefined, true))
    expect(machine.state.configNumber).toBe(0)
    expect(machine.state.directory.version).toBe(2)
    expect(machine.state.directory.addressOf('n1')).toBe('127.0.0.1:7999')
    expect([...machine.state.controllers.keys()]).toEqual(['c1'])
  })

  it('takes what it cannot read for refused, and stops at a kind that it does not know', async () => {
    const { machine } = await fresh()
    expect(machine.apply([{ ...entryAt(1, undefined), data: Uint8Array.of(1, 2, 255, 255) }])[0]?.outcome).toBe('refused')
    expect(() => machine.apply([{ ...entryAt(2, undefined), data: Uint8Array.of(1, 9) }])).toThrow(AssertionError)
    const other = await fresh()
    expect(() => other.machine.apply([{ ...entryAt(1, undefined), data: Uint8Array.of(2, 1) }])).toThrow(AssertionError)
  })

  it('answers damaged entries alike on every replica, and never throws (2,000 of them)', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = new SeededRandom(seed)
      const states = [new ConfigState(), new ConfigState()] as const
      const records = new WriteBatch()
      for (let step = 0; step < 100; step++) {
        const entry = randomEntry(states[0], random) ?? claimed(1, 1)
        const bytes = encodeEntry(entry)
        for (let flips = random.below(4); flips > 0 && bytes.length > 2; flips--) {
          const at = 2 + random.below(bytes.length - 2)
          bytes[at] = (bytes[at] as number) ^ (1 << random.below(8))
        }
        const [one, other] = states.map((state) => state.apply(decodeEntry(bytes), records))
        expect(one, `seed ${seed} step ${step}`).toEqual(other)
      }
      expect(states[0]).toEqual(states[1])
      expect(states[0].configNumber, `seed ${seed}`).toBeGreaterThan(0)
    }
  })

  it('shows every config by its number, also after many and after a restart', async () => {
    const { process, machine, apply } = await fresh()
    apply(formed())
    const all = [machine.state.config]
    for (let number = 1; number <= 150; number++) {
      apply(joined(machine.state, [`g${number}`]))
      all.push(machine.state.config)
    }
    await process.world.settle(machine.flush())
    await process.world.settle(machine.close())
    const again = await open(process, 16)
    for (const number of [0, 1, 63, 64, 65, 100, 127, 128, 149, 150]) {
      expect(await process.world.settle(again.configAt(number)), `config ${number}`).toEqual(all[number])
    }
    expect(await again.configAt(151)).toBeUndefined()
    expect(again.state.recent.map((change) => change.to?.number)).toEqual(Array.from({ length: 150 }, (_, i) => i + 1))
  })

  it('remembers so many requests and no more', async () => {
    const { process, machine, apply } = await fresh()
    apply(formed())
    apply(joined(machine.state, ['g0'], { requestId: 'first' }))
    const empty = (requestId: string): ControllerEntry => ({
      kind: 'change',
      change: { base: 1, steps: [], requestId: Buffer.from(requestId) },
    })
    for (let i = 1; i < requestsMax; i++) apply(empty(`r${i}`))
    expect(machine.state.answered(Buffer.from('first'))?.configNumber).toBe(1)
    apply(empty('one more'))
    expect(machine.state.answered(Buffer.from('first'))).toBeUndefined()
    expect(machine.state.answered(Buffer.from('r1'))?.configNumber).toBe(1)
    await process.world.settle(machine.flush())
    await process.world.settle(machine.close())
    const again = await open(process, 16)
    expect(again.state.answered(Buffer.from('first'))).toBeUndefined()
    expect(again.state.answered(Buffer.from('r1'))?.configNumber).toBe(1)
  })

  it('refuses to open with another shard count than the cluster was formed with', async () => {
    const { process, machine, apply } = await fresh()
    apply(formed())
    await process.world.settle(machine.flush())
    await process.world.settle(machine.close())
    await expect(open(process, 32)).rejects.toMatchObject({ name: 'DataDirectoryMismatch', message: expect.stringContaining('16 shards') })
  })

  it.each(Array.from({ length: 12 }, (_, i) => i + 1))(
    'is the same after power losses and replay behind the mark as if nothing had happened (seed %i)',
    async (seed) => {
      const random = new SeededRandom(seed)
      const calm = await open(newProcess(seed, 'calm'))
      let process = newProcess(seed + 1000)
      let machine = await open(process)
      const log: Entry[] = []
      for (let step = 0; step < 60; step++) {
        const entries: Entry[] = []
        for (let count = 1 + random.below(4); count > 0; count--) {
          const entry = entryAt(log.length + 1, randomEntry(calm.state, random), 1 + Math.floor(step / 10))
          log.push(entry)
          entries.push(entry)
          const expected = calm.apply([entry])
          expect(machine.apply([entry])).toEqual(expected)
        }
        const act = random.below(8)
        if (act === 0) await process.world.settle(machine.flush())
        if (act === 1) void machine.flush()
        if (act < 3) {
          const durable = machine.durable.index
          process.powerLoss()
          process = process.restart()
          machine = await open(process)
          expect(machine.durable.index).toBeGreaterThanOrEqual(durable)
          machine.apply(log.slice(machine.durable.index))
        }
      }
      expect(await process.world.settle(machine.stateHash())).toEqual(await calm.stateHash())
      expect(machine.state).toEqual(calm.state)
      expect(machine.durable.conf).toEqual(first.conf)
    },
  )
})
