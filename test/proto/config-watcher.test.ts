import { describe, expect, it } from 'vitest'
import { silentLogger } from '../../base/logger.ts'
import { SeededRandom } from '../../base/random.ts'
import { type Stream, streamRoute } from '../../base/transport.ts'
import { type Config, encodeConfig } from '../../proto/config.ts'
import { squash } from '../../proto/config-difference.ts'
import { ConfigWatcher } from '../../proto/config-watcher.ts'
import { emptyDirectory, encodeDirectory } from '../../proto/directory.ts'
import { pb } from '../../proto/messages.ts'
import { controllerMethods } from '../../proto/methods.ts'
import { randomConfig } from './configs.ts'
import { difference } from './difference.ts'
import { memoryWorld } from './memory-transport.ts'

const random = new SeededRandom(3)
const configs: Config[] = []
for (let number = 1; number <= 6; number++) configs.push(randomConfig(random, 16, number, configs.at(-1)))
const config = (number: number) => configs[number - 1] as Config
const clusterId = new Uint8Array(16).fill(7)

/** A controller whose answers the test gives by hand. */
interface Fake {
  readonly requests: { knownNumber: number; knownDirectory: number }[]
  stream: Stream<pb.v1.WatchUpdate> | undefined
  send(update: pb.v1.WatchUpdate.$Properties): void
}

async function watched(addresses: string[]) {
  const { world, clock, network } = memoryWorld(2)
  const fakes: Record<string, Fake> = {}
  for (const address of addresses) {
    const fake: Fake = {
      requests: [],
      stream: undefined,
      send(update) {
        this.stream?.write(new pb.v1.WatchUpdate({ clusterId, ...update }))
      },
    }
    fakes[address] = fake
    const route = streamRoute(controllerMethods.watch, (stream) => {
      fake.stream = stream
      return {
        onMessage: ({ knownNumber, knownDirectory }) => fake.requests.push({ knownNumber, knownDirectory }),
        onEnd: () => {
          fake.stream = undefined
        },
      }
    })
    await network.listen([{ name: 'default', address }], [route])
  }
  const parts = { transport: network, clock, random: new SeededRandom(5), logger: silentLogger, addresses }
  const watcher = new ConfigWatcher(parts)
  const asked = () => Object.values(fakes).find((fake) => fake.stream !== undefined && fake.requests.length > 0) as Fake
  watcher.start()
  await world.runUntil(() => asked() !== undefined)
  return { world, network, watcher, fakes, asked }
}

describe('config watcher', () => {
  it('keeps the newest list of migrations where it was asked to, and none older', async () => {
    const { world, clock, network } = memoryWorld(3)
    let stream: Stream<pb.v1.WatchUpdate> | undefined
    const asked: { migrations: boolean; known: number }[] = []
    const route = streamRoute(controllerMethods.watch, (opened) => {
      stream = opened
      return { onMessage: (request) => asked.push({ migrations: request.migrations, known: request.knownMigrations }), onEnd: () => {} }
    })
    await network.listen([{ name: 'default', address: 'a:1' }], [route])
    const parts = { transport: network, clock, random: new SeededRandom(5), logger: silentLogger, addresses: ['a:1'] }
    const watcher = new ConfigWatcher({ ...parts, migrations: true })
    let changes = 0
    watcher.onChange(() => changes++)
    watcher.start()
    await world.runUntil(() => asked.length === 1)
    expect(asked).toEqual([{ migrations: true, known: 0 }])
    const send = (version: number, id: number) => {
      const migrations = [{ id, shards: [1, 2], from: 'g1@1', to: 'g2@2' }]
      stream?.write(
        new pb.v1.WatchUpdate({ clusterId, migrations: { version, migrations, births: [{ shard: 4, group: 'g1@1', epoch: 3 }] } }),
      )
    }
    send(5, 9)
    await world.runUntil(() => watcher.migrations.version === 5)
    expect(watcher.migrations.migrations.map(({ id, shards, phase }) => [id, shards, phase])).toEqual([[9, [1, 2], 'copying']])
    expect(watcher.migrations.births).toEqual([{ shard: 4, group: 'g1@1', epoch: 3 }])
    expect(changes).toBe(1)
    send(4, 8)
    send(5, 8)
    await world.runFor(10)
    expect(watcher.migrations.migrations[0]?.id).toBe(9)
    expect(changes).toBe(1)
    const later = { version: 7, since: 5, settled: [9], born: [4], migrations: [{ id: 10, shards: [3], from: 'g1@1', to: 'g2@2' }] }
    stream?.write(new pb.v1.WatchUpdate({ clusterId, migrations: later }))
    await world.runUntil(() => watcher.migrations.version === 7)
    expect(watcher.migrations.migrations.map(({ id }) => id)).toEqual([10])
    expect(watcher.migrations.births).toEqual([])
    // What lies between is missing: it asks for that.
    stream?.write(new pb.v1.WatchUpdate({ clusterId, migrations: { version: 9, since: 8, settled: [10] } }))
    await world.runUntil(() => asked.length === 2)
    expect(asked[1]).toEqual({ migrations: true, known: 7 })
    expect(watcher.migrations.migrations.map(({ id }) => id)).toEqual([10])
    watcher.close()
  })

  it('takes a whole config first, then differences, and tells each change', async () => {
    const { world, watcher, asked } = await watched(['a:1'])
    let changes = 0
    const stop = watcher.onChange(() => changes++)
    expect(asked().requests).toEqual([{ knownNumber: 0, knownDirectory: 0 }])
    asked().send({ config: encodeConfig(config(2)) })
    await world.runUntil(() => watcher.config?.number === 2)
    asked().send({ differences: [difference(config(2), config(3)), difference(config(3), config(4))] })
    await world.runUntil(() => watcher.config?.number === 4)
    expect(watcher.config).toEqual(config(4))
    expect(watcher.clusterId).toEqual(clusterId)
    expect(changes).toBe(2)
    const entry = { id: 'n1', addresses: [{ name: 'default', address: 'n:1' }], pid: 1, http: '', version: 1 }
    asked().send({ directory: encodeDirectory(emptyDirectory.with(entry), 'default') })
    await world.runUntil(() => watcher.directory.version === 1)
    expect(watcher.directory.addressOf('n1')).toBe('n:1')
    expect(changes).toBe(3)
    stop()
    watcher.close()
  })

  it('resumes from what it knows on another controller when the stream breaks, and never goes back', async () => {
    const { world, network, watcher, fakes, asked } = await watched(['a:1', 'b:1'])
    asked().send({ config: encodeConfig(config(3)) })
    await world.runUntil(() => watcher.config?.number === 3)
    const first = Object.keys(fakes).find((address) => fakes[address]?.stream !== undefined) as string
    const second = first === 'a:1' ? 'b:1' : 'a:1'
    network.drop(first)
    await world.runUntil(() => fakes[second]?.requests.length === 1, 1000)
    expect(fakes[second]?.requests).toEqual([{ knownNumber: 3, knownDirectory: 0 }])
    fakes[second]?.send({ config: encodeConfig(config(1)) })
    fakes[second]?.send({ differences: [difference(config(1), config(2))] })
    await world.runFor(20)
    expect(watcher.config?.number).toBe(3)
    fakes[second]?.send({ differences: [difference(config(3), config(4))] })
    await world.runUntil(() => watcher.config?.number === 4)
    watcher.close()
  })

  it('leaves a controller that has fallen silent', async () => {
    const { world, network, watcher, fakes } = await watched(['a:1', 'b:1'])
    const first = Object.keys(fakes).find((address) => fakes[address]?.stream !== undefined) as string
    const second = first === 'a:1' ? 'b:1' : 'a:1'
    network.hanging.add(first)
    await world.runUntil(() => fakes[second]?.requests.length === 1, 10_000)
    watcher.close()
  })

  it('waits for a config by number, asking around meanwhile, and gives up in time', async () => {
    const { world, watcher, fakes, asked } = await watched(['a:1', 'b:1'])
    asked().send({ config: encodeConfig(config(1)) })
    await world.runUntil(() => watcher.config?.number === 1)
    expect((await watcher.atLeast(1, 10)).number).toBe(1)
    const second = Object.values(fakes).find((fake) => fake.requests.length === 0) as Fake
    const waiting = watcher.atLeast(5, 5000)
    await world.runUntil(() => second.requests.length > 0, 2000)
    second.send({ differences: [difference(config(1), config(6))] })
    expect((await world.settle(waiting)).number).toBe(6)
    await expect(world.settle(watcher.atLeast(9, 300))).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    const cancelled = watcher.atLeast(9, 60_000)
    watcher.close()
    await expect(cancelled).rejects.toMatchObject({ code: 'CANCELLED' })
  })

  it('asks anew where a difference does not fit, and takes configs that others hand it', async () => {
    const { world, watcher, asked } = await watched(['a:1'])
    asked().send({ config: encodeConfig(config(1)) })
    await world.runUntil(() => watcher.config?.number === 1)
    watcher.offer(config(3))
    watcher.offer(config(2))
    expect(watcher.config?.number).toBe(3)
    asked().send({ differences: [difference(config(4), config(5))] })
    await world.runUntil(() => asked()?.requests.length === 2)
    expect(asked().requests[1]).toEqual({ knownNumber: 3, knownDirectory: 0 })
    expect(watcher.config?.number).toBe(3)
    watcher.close()
  })

  it('takes one difference for several numbers, also where another way brought it some of them meanwhile', async () => {
    const { world, watcher, asked } = await watched(['a:1'])
    asked().send({ config: encodeConfig(config(1)) })
    await world.runUntil(() => watcher.config?.number === 1)
    watcher.offer(config(3))
    asked().send({ differences: [squash([1, 2, 3, 4].map((number) => difference(config(number), config(number + 1))))] })
    await world.runUntil(() => watcher.config?.number === 5)
    expect(watcher.config).toEqual(config(5))
    expect(asked().requests.length).toBe(1)
    watcher.close()
  })

  it('does not listen to a controller of another cluster', async () => {
    const { world, watcher, asked } = await watched(['a:1'])
    asked().send({ config: encodeConfig(config(1)) })
    await world.runUntil(() => watcher.config?.number === 1)
    asked().send({ config: encodeConfig(config(5)), clusterId: new Uint8Array(16).fill(9) })
    await world.runUntil(() => asked()?.requests.length === 2)
    expect(watcher.config?.number).toBe(1)
    watcher.close()
  })

  it('backs off from controllers that are not there, and leaves nothing running when closed', async () => {
    const { world, network, watcher } = await watched(['a:1'])
    network.drop('a:1')
    const before = network.calls.length
    await world.runFor(10_000)
    expect(network.calls.length - before).toBeGreaterThan(8)
    expect(network.calls.length - before).toBeLessThan(30)
    watcher.close()
    const after = network.calls.length
    await world.runFor(10_000)
    expect(network.calls.length).toBe(after)
  })
})
