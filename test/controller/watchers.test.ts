import { describe, expect, it } from 'vitest'
import type { Stream } from '../../base/transport.ts'
import { ConfigState } from '../../controller/config-state.ts'
import { decodeEntry, encodeEntry } from '../../controller/entry.ts'
import { encodeRecord } from '../../controller/migration-record.ts'
import { Watchers } from '../../controller/watchers.ts'
import { pb } from '../../proto/messages.ts'
import { memoryWorld } from '../proto/memory-transport.ts'
import { claimed, formed, joined, registered } from './entries.ts'

const nowhere = { put() {}, delete() {} }

function watched() {
  const { world, clock } = memoryWorld(4)
  const state = new ConfigState()
  const apply = (entry: ReturnType<typeof formed>) => {
    state.apply(decodeEntry(encodeEntry(entry)), nowhere)
    watchers.changed()
  }
  const watchers = new Watchers(() => state, clock)
  const open = (listener = 'default', takes = true) => {
    const sent: Uint8Array[] = []
    const link = { sent, takes, ended: false }
    const stream: Stream<Uint8Array> = {
      write: (bytes) => {
        sent.push(bytes)
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
  return { world, state, apply, watchers, open }
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

  it('that ask for migrations get the whole list whenever it changed, encoded once for all of them', async () => {
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
    expect([last?.migrations?.version, last?.migrations?.migrations?.[0]?.paused, last?.differences.length]).toEqual([2, true, 0])
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
    expect(update?.differences.map((change) => `${change.from}>${change.to?.number}`)).toEqual(['0>1', '1>2', '2>3'])
    expect(update?.directory?.nodes?.length).toBe(3)
    await world.runFor(1)
    expect(slow.link.sent.length).toBe(2)
  })

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
})
