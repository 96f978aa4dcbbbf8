import { describe, expect, it } from 'vitest'
import type { Stream } from '../../base/transport.ts'
import { ConfigState } from '../../controller/config-state.ts'
import { decodeEntry, encodeEntry } from '../../controller/entry.ts'
import { encodeRecord } from '../../controller/migration-record.ts'
import { Watchers } from '../../controller/watchers.ts'
import { pb } from '../../proto/messages.ts'
import { memoryWorld } from '../proto/memory-transport.ts'
import { claimed, formed, joined, ready, registered } from './entries.ts'

const nowhere = { put() {}, delete() {} }

function watched() {
  const { world, clock } = memoryWorld(4)
  const state = new ConfigState()
  const apply = (entry: ReturnType<typeof formed>) => {
    state.apply(decodeEntry(encodeEntry(entry)), nowhere)
    watchers.changed()
  }
  const touch = { isThere: true }
  const watchers = new Watchers(
    () => state,
    clock,
    () => touch.isThere,
  )
  let heard = () => {}
  const onWrite = (listener: () => void) => {
    heard = listener
  }
  const open = (listener = 'default', takes = true) => {
    const sent: Uint8Array[] = []
    const link = { sent, takes, ended: false }
    const stream: Stream<Uint8Array> = {
      write: (bytes) => {
        sent.push(bytes)
        heard()
        return link.takes
      },
      end: () => {
        link.ended = true
      },
      get closed() {
        return link.ended
      },
    }
    const handlers = watchers.route.accept(stream, { listener, peer: 'test' })
    return {
      link,
      handlers,
      know: (knownNumber: number, migrations = false) => handlers.onMessage(new pb.v1.WatchRequest({ knownNumber, migrations })),
      updates: () => sent.map((bytes) => pb.v1.WatchUpdate.decode(bytes)),
    }
  }
  return { world, clock, state, apply, watchers, open, onWrite, touch }
}

describe('watchers', () => {
  it('get one encoding where they know the same, and another under another listener', async () => {
    const { world, apply, state, open } = watched()
    apply(formed())
    const [a, b, c] = [open(), open(), open('outer')]
    for (const watcher of [a, b, c]) watcher.know(0)
    apply(joined(state, ['g1']))
    await world.runFor(1)
    expect(a.link.sent.length).toBe(2)
    expect(a.link.sent[0]).toBe(b.link.sent[0])
    expect(a.link.sent[1]).toBe(b.link.sent[1])
    expect(c.link.sent[1]).not.toBe(a.link.sent[1])
    expect([a, c].map((watcher) => watcher.updates()[1]?.directory?.listener)).toEqual(['default', 'outer'])
    expect(a.updates()[1]?.differences.map((change) => `${change.from}>${change.to?.number}`)).toEqual(['0>1'])
    expect(a.updates()[1]?.config).toBeNull()
  })

  it('that ask for migrations get the list, then what changed of it, encoded once for all of them', async () => {
    const { world, apply, state, open } = watched()
    apply(formed())
    const [a, b, plain] = [open(), open(), open()]
    for (const watcher of [a, b]) watcher.know(0, true)
    plain.know(0)
    apply(joined(state, ['g1']))
    apply(joined(state, ['g2']))
    await world.runFor(1)
    expect(a.link.sent.length).toBe(2)
    expect(a.link.sent[1]).toBe(b.link.sent[1])
    expect(a.updates()[1]?.migrations?.migrations?.map(({ id, from, to }) => `${id} ${from} ${to}`)).toEqual(['1 g1@1 g2@2'])
    expect(plain.updates()[1]?.migrations).toBeNull()
    const record = state.migrations.openOf(state.migrations.open()[0]?.shards[0] ?? 0)
    if (record === undefined) throw new Error('a migration was planned')
    apply({ kind: 'change', change: { changed: [encodeRecord({ ...record, paused: true })] } })
    await world.runFor(1)
    expect([a, b, plain].map((watcher) => watcher.link.sent.length)).toEqual([3, 3, 2])
    const last = a.updates()[2]
    expect([last?.migrations?.version, last?.migrations?.since, last?.differences.length]).toEqual([2, 1, 0])
    expect(last?.migrations?.migrations?.map(({ id, paused, cause }) => [id, paused, cause])).toEqual([[1, true, '']])
  })

  it('who does not read gets what it missed as one update when it does', async () => {
    const { world, apply, state, open } = watched()
    apply(formed())
    const slow = open('default', false)
    slow.know(0)
    for (const name of ['g1', 'g2', 'g3']) apply(joined(state, [name]))
    apply(registered('n1', 7999))
    await world.runFor(10_000)
    expect(slow.link.sent.length).toBe(1)
    slow.link.takes = true
    slow.handlers.onDrain?.()
    const update = slow.updates()[1]
    expect(update?.differences.map((change) => `${change.from}>${change.to?.number}`)).toEqual(['0>3'])
    expect(update?.directory?.nodes?.length).toBe(3)
    await world.runFor(1)
    expect(slow.link.sent.length).toBe(2)
  })

  it('that come back get what changed since what they knew, of configs and of migrations', async () => {
    const { world, apply, state, open } = watched()
    apply(formed())
    apply(joined(state, ['g1']))
    apply(joined(state, ['g2']))
    const known = state.migrations.version
    const record = state.migrations.open()[0]
    if (record === undefined) throw new Error('a migration was planned')
    apply(joined(state, ['g3']))
    const back = open()
    back.handlers.onMessage(new pb.v1.WatchRequest({ knownNumber: 2, knownDirectory: 3, migrations: true, knownMigrations: known }))
    await world.runFor(1)
    const [update] = back.updates()
    expect([update?.config, update?.differences.map(({ from, to }) => [from, to?.number])]).toEqual([null, [[2, 3]]])
    expect([update?.migrations?.since, update?.migrations?.version]).toEqual([known, state.migrations.version])
    expect(update?.migrations?.migrations?.some(({ id }) => id === record.id)).toBe(
      state.migrations.byId.get(record.id)?.phase === 'aborted',
    )
  })

  it('may be 5,000: told a few in each turn, each once of all that came meanwhile, in bytes that they share', async () => {
    const { world, clock, apply, state, open, onWrite } = watched()
    apply(formed(16_384))
    apply(joined(state, ['g1', 'g2', 'g3']))
    const all = Array.from({ length: 5000 }, (_, at) => {
      const watcher = open()
      watcher.know(state.config?.number ?? 0, at < 100)
      return watcher
    })
    await world.runFor(1)
    const before = all.map(({ link }) => link.sent.length)
    const turns = new Map<number, number>()
    let written = 0
    onWrite(() => {
      turns.set(world.events, (turns.get(world.events) ?? 0) + 1)
      // A change that comes while the first are told: the others get both in one.
      if (++written === 1000) clock.setTimer(0, () => apply(joined(state, ['g5'])))
    })
    apply(joined(state, ['g4']))
    await world.runFor(1000)
    expect(Math.max(...turns.values())).toBeLessThanOrEqual(256)
    const more = all.map(({ link }, at) => link.sent.length - (before[at] ?? 0))
    expect(more.every((count) => count === 1 || count === 2)).toBe(true)
    expect(more.filter((count) => count === 1).length).toBeGreaterThan(2500)
    const lasts = all.map((watcher) => watcher.link.sent.at(-1))
    expect(new Set(lasts).size).toBeLessThanOrEqual(4)
    for (const bytes of new Set(lasts))
      expect(pb.v1.WatchUpdate.decode(bytes ?? new Uint8Array(0)).differences[0]?.to?.number).toBe(state.config?.number)
  })

  it.each([3, 1000])(
    'are told of a join to 16,384 shards and %i groups in less than 64 KiB, its migrations included; and of all its commits at once',
    async (count) => {
      const { world, apply, state, open } = watched()
      apply(formed(16_384))
      apply(
        joined(
          state,
          Array.from({ length: count }, (_, at) => `g${at + 1}`),
        ),
      )
      const watchers = [open(), open()]
      watchers[0]?.know(state.config?.number ?? 0, true)
      watchers[1]?.know(state.config?.number ?? 0)
      await world.runFor(1)
      const told = () =>
        watchers.map(({ link }) => {
          expect(link.sent.length).toBe(1)
          return link.sent.splice(0)[0]?.length ?? 0
        })
      told()
      apply(joined(state, ['one-more']))
      const moving = state.migrations.open()
      expect(moving.reduce((sum, { shards }) => sum + shards.length, 0)).toBe(count === 3 ? 4096 : 16)
      await world.runFor(1)
      const [node, client] = told()
      expect(node).toBeLessThan(64 * 1024)
      expect(client).toBeLessThan(1024)
      for (const { id } of moving) apply(ready(state, id))
      expect(state.migrations.open().every(({ phase }) => phase === 'committed')).toBe(true)
      await world.runFor(1)
      expect(Math.max(...told())).toBeLessThan(64 * 1024)
    },
  )

  it('hear nothing of what does not concern them, and end with the server', async () => {
    const { world, apply, state, watchers, open } = watched()
    const early = open()
    early.know(0)
    expect(early.link.sent.length).toBe(0)
    apply(formed())
    apply(joined(state, ['g1']))
    await world.runFor(1)
    expect(early.link.sent.length).toBe(1)
    apply(claimed(1, 5))
    await world.runFor(1)
    expect(early.link.sent.length).toBe(1)
    expect(watchers.count).toBe(1)
    watchers.close()
    expect(early.link.ended).toBe(true)
    expect(watchers.count).toBe(0)
    const before = early.link.sent.length
    await world.runFor(10_000)
    expect(early.link.sent.length).toBe(before)
  })
})

describe('entries', () => {
  it('keep their bytes from version to version', () => {
    const state = new ConfigState()
    const bytes = (entry: ReturnType<typeof formed>) => Buffer.from(encodeEntry(entry)).toString('hex')
    state.apply(decodeEntry(encodeEntry(formed())), nowhere)
    const all = {
      formed: formed(),
      change: joined(state, ['g1', 'g2'], { requestId: 'r' }),
      register: registered('n1', 7410),
      claim: claimed(1, 2),
    }
    expect(Object.entries(all).map(([name, entry]) => `${name} ${bytes(entry)}`)).toMatchSnapshot()
  })

  it('hear no sign of life from a controller that is in touch with no leader: they turn to another', async () => {
    const { world, apply, open, touch } = watched()
    apply(formed())
    const { know, link } = open()
    know(1)
    await world.runFor(2500)
    const before = link.sent.length
    expect(before).toBeGreaterThan(0)
    touch.isThere = false
    await world.runFor(10_000)
    expect(link.sent.length).toBe(before)
    touch.isThere = true
    await world.runFor(2500)
    expect(link.sent.length).toBeGreaterThan(before)
  })
})
