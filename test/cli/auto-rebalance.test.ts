import { beforeEach, describe, expect, it } from 'vitest'
import { FakeWorld } from './fake-world.ts'

let world = new FakeWorld()
beforeEach(() => {
  world = new FakeWorld()
})

const kept = { byLoad: false, bySize: false, above: 0, until: 0, sustainMs: 0, restMs: 0 }

describe('admin auto-rebalance', () => {
  it('is switched on with what is given, the rest stays as it is', async () => {
    expect((await world.run('admin', 'auto-rebalance', 'on', '--json')).json()).toEqual({ configNumber: 8, migrations: [] })
    const words = ['--by', 'load', '--above', '1.5', '--until', '1.2', '--for', '0.5', '--rest', '60', '--request-id', 'mine']
    expect((await world.run('admin', 'auto-rebalance', 'on', ...words)).code).toBe(0)
    expect(world.fakeControllers.calls).toEqual([
      ['autoRebalance', { on: true, author: 'tester@here', ...kept }, { timeoutMs: 10_000 }],
      [
        'autoRebalance',
        { on: true, author: 'tester@here', byLoad: true, bySize: false, above: 1.5, until: 1.2, sustainMs: 500, restMs: 60_000 },
        { timeoutMs: 10_000, requestId: 'mine' },
      ],
    ])
  })

  it('is switched off', async () => {
    expect((await world.run('admin', 'auto-rebalance', 'off')).code).toBe(0)
    expect(world.fakeControllers.calls).toEqual([['autoRebalance', { on: false, author: 'tester@here' }, { timeoutMs: 10_000 }]])
  })

  it.each([
    [['--by', 'keys']],
    [['--above', '0.5']],
    [['--above', 'much']],
    [['--until', '-1']],
    [['--for', '0']],
    [['--rest', '1e9']],
    [['--rest', '9999999']],
  ])('refuses %j before anything is dialled', async (flags) => {
    expect((await world.run('admin', 'auto-rebalance', 'on', ...flags)).code).toBe(2)
    expect(world.fakeControllers.calls).toEqual([])
  })

  const rules = { on: true, byLoad: true, bySize: true, above: 1.3, until: 1.1, sustainMs: 120_000, restMs: 600_000 }

  it('tells how it stands', async () => {
    world.fakeControllers.rebalancing = { rules, load: { group: 'g1', ratio: 1.42, active: true }, waitsFor: '1 migration under way' }
    const json = {
      on: true,
      by: ['load', 'size'],
      above: 1.3,
      until: 1.1,
      forSeconds: 120,
      restSeconds: 600,
      load: { group: 'g1', ratio: 1.42, active: true },
      size: null,
      waitsFor: '1 migration under way',
    }
    expect((await world.run('admin', 'auto-rebalance', 'status', '--json')).json()).toEqual(json)
    const text = (await world.run('admin', 'auto-rebalance', 'status')).stdout.toString()
    expect(text.split('\n')).toEqual([
      'auto-rebalance is on (by load and size: above 1.3 for 120 s, until 1.1; a shard rests 600 s)',
      'load: g1 has most, 1.42 times its share; being evened out',
      'size: none, or not known yet',
      'nothing would be moved now: 1 migration under way',
      '',
    ])
    expect((await world.run('admin', 'status', '--json')).json()).toMatchObject({
      autoRebalance: json,
      groups: { g1: { readsPerSecond: 12.35, writesPerSecond: 250, bytes: 4096 } },
    })
  })
})

describe('admin shards', () => {
  beforeEach(() => {
    world.fakeControllers.shards = [
      { shard: 0, group: 'g1', bytes: 10 },
      { shard: 1, group: 'g2', bytes: 4096, readsPerSecond: 3, writesPerSecond: 0.126, pinned: true },
      { shard: 2, group: 'g1', bytes: 20, migration: 7 },
      { shard: 3, group: 'g1', readsPerSecond: 1, writesPerSecond: 900 },
    ]
  })

  it('tells of all, the busiest first, then the largest', async () => {
    const { json } = await world.run('admin', 'shards', '--json')
    expect(json()).toEqual([
      { shard: 3, group: 'g1', bytes: 0, readsPerSecond: 1, writesPerSecond: 900, pinned: false, migration: null },
      { shard: 1, group: 'g2', bytes: 4096, readsPerSecond: 3, writesPerSecond: 0.13, pinned: true, migration: null },
      { shard: 2, group: 'g1', bytes: 20, readsPerSecond: 0, writesPerSecond: 0, pinned: false, migration: 7 },
      { shard: 0, group: 'g1', bytes: 10, readsPerSecond: 0, writesPerSecond: 0, pinned: false, migration: null },
    ])
    expect(world.fakeControllers.calls).toEqual([['status', { timeoutMs: 10_000, shards: true }]])
  })

  it('tells of some', async () => {
    const numbers = async (...flags: string[]) =>
      ((await world.run('admin', 'shards', '--json', ...flags)).json() as { shard: number }[]).map(({ shard }) => shard)
    expect(await numbers('--top', '2')).toEqual([3, 1])
    expect(await numbers('--group', 'g1')).toEqual([3, 2, 0])
    const text = (await world.run('admin', 'shards', '--top', '3')).stdout.toString()
    expect(text).toMatch(/ 1 +│ g2 +│ 4\.0 KiB +│ 3\.0 +│ 0\.1 +│ pinned /)
    expect(text).toMatch(/ 2 +│ g1 .* moves \(migration 7\)/)
    expect(text).toMatch(/\n3 of 4 shards\n$/)
  })

  it.each([['0'], ['-1'], ['all']])('refuses --top %s', async (top) => {
    expect((await world.run('admin', 'shards', '--top', top)).code).toBe(2)
  })
})
