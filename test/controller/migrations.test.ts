import { describe, expect, it } from 'vitest'
import { encodeRecord } from '../../controller/migration-record.ts'
import { settledMax } from '../../controller/migrations.ts'
import { computeAborts, undriven, waitingDrains } from '../../controller/upkeep.ts'
import { waitsForOf } from '../../controller/waits-for.ts'
import { OstrakaError } from '../../proto/errors.ts'
import { Lab, type Said } from './lab.ts'

function refusal(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    if (error instanceof OstrakaError) return `${error.code} ${error.message}`
    throw error
  }
  return 'done'
}

function pair(shardCount = 16): Lab {
  const lab = new Lab(shardCount)
  lab.join(['g1', 'g2'])
  return lab
}

describe('a join', () => {
  it('moves shards only to the joiner, as many as its share, each under a config number of its own that says why', () => {
    const lab = pair()
    const [id] = lab.join(['g3'])
    const before = lab.config
    expect(lab.open().every((record) => record.to === 'g3@3')).toBe(true)
    expect(lab.open().flatMap((record) => record.shards).length).toBe(5)
    lab.completeAll()
    expect(Object.values(lab.counts()).sort()).toEqual([5, 5, 6])
    expect(lab.config.number).toBe(8)
    expect([id, lab.config.author]).toEqual([1, 'op'])
    expect(lab.config.cause).toMatch(/^move \d+ from g[12] to g3 \(join g3\)$/)
    for (let shard = 0; shard < 16; shard++) {
      const moved = lab.config.groupOf(shard)?.name !== before.groupOf(shard)?.name
      expect(lab.config.epochOf(shard)).toBe(moved ? 2 : 1)
    }
    lab.rebalance()
    expect(lab.note).toContain('nothing to do')
  })

  it('replans what an earlier one had on its way, if it is not committed', () => {
    const lab = pair(64)
    lab.join(['g3'])
    const [first, second] = lab.open()
    if (first === undefined || second === undefined) throw new Error('two were expected')
    lab.report(first.id, 'ready')
    lab.join(['g4', 'g5'])
    expect(lab.state.migrations.byId.get(first.id)?.phase).toBe('committed')
    expect(lab.state.migrations.byId.get(second.id)).toMatchObject({ phase: 'aborted', reason: 'not wanted any more: join g4, g5' })
    lab.report(first.id, 'active')
    lab.completeAll()
    expect(Object.values(lab.counts()).sort()).toEqual([12, 13, 13, 13, 13])
  })

  it('is refused on another config than the one planned on, and where the name is being drained', () => {
    const lab = pair()
    expect(refusal(() => lab.join(['g3'], 1))).toBe('FAILED_PRECONDITION the config is 2, you planned on 1: plan again')
    lab.leave('g2')
    expect(refusal(() => lab.join(['g2']))).toContain('group g2 is being drained')
  })
})

describe('a leave', () => {
  it('drains the group, which is removed for good once it owns nothing and all is confirmed', () => {
    const lab = pair()
    lab.join(['g3'])
    lab.completeAll()
    lab.leave('g3')
    expect(lab.config.groupByName('g3')?.state).toBe('draining')
    expect(lab.note).toBe('5 shards will move, in 2 migrations; then g3 is removed')
    const [first, ...others] = lab.open().map(({ id }) => id)
    for (const id of others) lab.complete(id)
    lab.report(first ?? 0, 'ready')
    expect(lab.counts().g3).toBe(0)
    lab.upkeep()
    expect(lab.config.groupByName('g3')).toBeDefined()
    lab.report(first ?? 0, 'active')
    lab.report(first ?? 0, 'clean')
    lab.upkeep()
    expect(lab.config.groupByName('g3')).toBeDefined()
    lab.report(first ?? 0, 'clean', 'g3@3')
    lab.upkeep()
    expect(lab.config.groupByName('g3')).toBeUndefined()
    expect([lab.config.cause, lab.config.author]).toEqual(['leave g3: it is empty and removed', 'op'])
    expect([...lab.state.migrations.tombstones]).toEqual(['g3@3'])
    lab.join(['g3'])
    expect(lab.config.groupByName('g3')?.uid).not.toBe('g3@3')
  })

  it('moves shards only from the leaver, ends what was coming to it, and drops its pins', () => {
    const lab = pair()
    lab.join(['g3'])
    lab.move(0, lab.config.groupOf(0)?.name ?? '')
    const incoming = lab.open().map(({ id }) => id)
    const leaver = lab.config.groupOf(0)?.name ?? ''
    lab.leave('g3')
    expect(incoming.map((id) => lab.state.migrations.byId.get(id)?.phase)).toEqual(incoming.map(() => 'aborted'))
    expect(lab.open()).toEqual([])
    lab.leave(leaver)
    expect(lab.config.pins.size).toBe(0)
    expect(new Set(lab.open().map(({ from }) => from))).toEqual(new Set([lab.uid(leaver)]))
  })

  it('is refused for who is not there and for the last with data; draining again is nothing', () => {
    const lab = pair()
    expect(refusal(() => lab.leave('g9'))).toBe('NOT_FOUND no group g9: there are g1, g2')
    lab.leave('g1')
    const ids = lab.open().map(({ id }) => id)
    expect(lab.leave('g1')).toEqual(ids)
    expect(lab.note).toBe('nothing to do: g1 is being drained, 8 shards left')
    expect(refusal(() => lab.leave('g2'))).toBe('FAILED_PRECONDITION g2 is the last group that takes shards: join another one first')
  })

  it('plans again what was cancelled, and what came late', () => {
    const lab = pair()
    lab.leave('g1')
    const [first] = lab.open()
    lab.steer(first?.shards[0] ?? 0, 'cancel')
    expect(lab.open()).toEqual([])
    lab.upkeep()
    expect(lab.open().flatMap((record) => record.shards)).toEqual(first?.shards)
    expect(lab.open()[0]).toMatchObject({ cause: 'leave g1', author: 'op' })
  })

  it('of a group without majority is accepted, and says which shards wait', () => {
    const lab = pair()
    lab.lost.add('g2')
    lab.leave('g2')
    expect(lab.note).toContain('g2 has lost its majority: shards ')
    expect(lab.open().length).toBe(1)
  })
})

describe('a leave where not all groups can take shards', () => {
  const targets = (lab: Lab) => [...new Set(lab.open().map(({ to }) => to.replace(/@.*/, '')))].sort()

  it('goes to those that can, evenly, leaves the others as they are, and names them', () => {
    const lab = new Lab(64)
    lab.join(['g1', 'g2', 'g3', 'g4', 'g5'])
    const before = lab.counts()
    lab.lost.add('g4')
    lab.full.add('g5')
    lab.leave('g3')
    expect(lab.note).toMatch(
      /^1[23] shards will move, .*; not to groups that cannot take shards now: g4 has not come to life yet, g5 has no room$/,
    )
    expect(targets(lab)).toEqual(['g1', 'g2'])
    lab.completeAll()
    const after = lab.counts()
    expect([after.g4, after.g5]).toEqual([before.g4, before.g5])
    expect(Math.abs((after.g1 ?? 0) - (after.g2 ?? 0))).toBeLessThanOrEqual(1)
    lab.upkeep()
    lab.lost.clear()
    lab.rebalance()
    lab.completeAll()
    expect(Object.values(lab.counts())).toEqual([16, 16, 16, 16])
  })

  it('takes back from a group that never came to life what was on its way there from the leaver, and from nobody else', () => {
    const lab = pair(64)
    lab.lost.add('g3')
    for (const id of lab.join(['g3'])) lab.undriven.add(id)
    const [ofLeaver, ofOther] = ['g1', 'g2'].map((name) => lab.open().filter(({ from }) => from === lab.uid(name)))
    expect([ofLeaver?.length, ofOther?.length].every((count) => (count ?? 0) > 0)).toBe(true)
    lab.leave('g1')
    const phases = (records = ofLeaver) => new Set(records?.map(({ id }) => lab.state.migrations.byId.get(id)?.phase))
    expect([phases(), phases(ofOther)]).toEqual([new Set(['aborted']), new Set(['copying'])])
    const fromLeaver = lab.open().filter(({ from }) => from === lab.uid('g1'))
    expect([new Set(fromLeaver.map(({ to }) => to)), fromLeaver.flatMap(({ shards }) => shards).length]).toEqual([new Set(['g2@2']), 32])
  })

  it('is planned again elsewhere when its target has died or never came to life, also where a pin names that one', () => {
    const lab = new Lab(16)
    lab.join(['g1', 'g2', 'g3'])
    const shards = lab.config.shardsOf(lab.uid('g3'))
    const [pinned = 0] = shards
    lab.leave('g3')
    expect(targets(lab)).toEqual(['g1', 'g2'])
    for (const [name, why] of [
      ['g1', 'g1 has not come to life yet'],
      ['g2', 'g2 has lost its majority'],
    ] as const) {
      lab.lost.clear()
      lab.lost.add(name)
      if (name === 'g2') lab.start('g2')
      for (const { id, to } of lab.open()) if (to === lab.uid(name)) lab.undriven.add(id)
      lab.abortUndriven()
      expect(lab.open().some(({ to }) => to === lab.uid(name))).toBe(false)
      expect([...lab.state.migrations.byId.values()].some(({ reason }) => reason === `nobody has driven it for 60 s: ${why}`)).toBe(true)
      lab.upkeep()
      expect(lab.open().flatMap((record) => record.shards)).toHaveLength(shards.length)
      expect(targets(lab)).toEqual([name === 'g1' ? 'g2' : 'g1'])
    }
    lab.steer(pinned, 'cancel')
    lab.move(pinned, 'g2')
    const [held] = lab.open().filter(({ shards }) => shards.includes(pinned))
    lab.undriven.add(held?.id ?? 0)
    lab.abortUndriven()
    lab.upkeep()
    expect(lab.state.migrations.openOf(pinned)?.to).toBe(lab.uid('g1'))
    expect(lab.config.pins.get(pinned)).toBe('g2')
  })

  it('waits where nobody can, says so, aborts nothing in vain, and is planned when somebody can', () => {
    const lab = pair()
    lab.lost.add('g1')
    lab.leave('g2')
    expect(lab.note).toBe(
      'no group can take the 8 shards of g2 now: g1 has not come to life yet; they move when one can, then g2 is removed',
    )
    expect(lab.open()).toEqual([])
    lab.leave('g2')
    expect(lab.note).toBe('nothing to do: g2 is being drained, 8 shards left; no group can take them now: g1 has not come to life yet')
    expect([...waitingDrains(lab.view)]).toEqual([['g2@2', '8 shards to move: no group can take them now: g1 has not come to life yet']])
    lab.upkeep()
    expect(lab.open()).toEqual([])
    lab.lost.clear()
    lab.upkeep()
    expect(lab.open().flatMap(({ shards }) => shards)).toHaveLength(8)
    expect(waitingDrains(lab.view).size).toBe(0)
    for (const { id } of lab.open()) lab.undriven.add(id)
    lab.lost.add('g1')
    expect(undriven(lab.view)).toEqual([])
  })

  it('gives nothing up to a dead group that another one could have: what is abandoned is born where it is served', () => {
    const lab = new Lab(16)
    lab.join(['g1', 'g2', 'g3'])
    for (const name of ['g2', 'g3']) lab.lost.add(name)
    const given = lab.config.shardsOf(lab.uid('g3'))
    lab.leave('g3', { abandonData: true, confirmShards: given.length })
    expect(new Set(given.map((shard) => lab.config.groupOf(shard)?.name))).toEqual(new Set(['g1']))
  })
})

describe('a migration that nobody drives', () => {
  it('is aborted, says why, and leaves the shard with its source; one committed, paused or of a target that never lived goes on', () => {
    const lab = pair(64)
    lab.join(['g3', 'g4'])
    const before = lab.counts()
    const [paused, left] = lab.open().filter(({ to }) => to === lab.uid('g3'))
    const [committed, other] = lab.open().filter(({ to }) => to === lab.uid('g4'))
    if (!paused || !left || !committed || !other) throw new Error('two for each target were expected')
    lab.steer(paused.shards[0] ?? 0, 'pause')
    for (const { id } of lab.open()) lab.undriven.add(id)
    const record = (id: number) => lab.state.migrations.byId.get(id)
    lab.abortUndriven()
    expect(lab.open()).toHaveLength(4)
    lab.start('g3')
    lab.lost.add('g3')
    lab.abortUndriven()
    const reason = 'nobody has driven it for 60 s: g3 has lost its majority'
    expect(record(left.id)).toMatchObject({ phase: 'aborted', reason, toConfirmed: false })
    expect(record(paused.id)).toMatchObject({ phase: 'copying', paused: true })
    expect(record(other.id)?.phase).toBe('copying')
    expect(lab.counts()).toEqual(before)
    lab.report(committed.id, 'ready')
    lab.start('g4')
    lab.abortUndriven()
    expect(record(committed.id)?.phase).toBe('committed')
    expect(record(other.id)?.reason).toBe('nobody has driven it for 60 s: g4 has no leader that the controllers hear')
  })

  it('is not aborted where it is driven again when its turn comes', () => {
    const lab = pair()
    lab.leave('g2')
    lab.start('g1')
    lab.undriven.add(1)
    const { view } = lab
    expect(undriven(view).map(({ id }) => id)).toEqual([1])
    lab.undriven.delete(1)
    expect(computeAborts(lab.view, new Set([1]), 60_000)).toMatchObject({ kind: 'nothing' })
  })

  it('is planned again for a group that drains once its target has a majority', () => {
    const lab = pair()
    lab.leave('g2')
    lab.start('g1')
    lab.undriven.add(1)
    lab.lost.add('g1')
    lab.abortUndriven()
    lab.upkeep()
    expect(lab.open()).toEqual([])
    lab.lost.clear()
    lab.upkeep()
    expect(lab.open()).toMatchObject([{ id: 2, cause: 'leave g2' }])
  })
})

describe('giving a lost group up', () => {
  const more = (confirmShards: number) => ({ abandonData: true, confirmShards })

  it('is refused while the group lives, without the right number, and for the last group', () => {
    const lab = pair()
    expect(refusal(() => lab.leave('g2', more(8)))).toContain('g2 has its majority')
    lab.lost.add('g2').add('g1')
    expect(refusal(() => lab.leave('g2', more(7)))).toContain('g2 owns 8 shards: confirm with that number')
    lab.leave('g1')
    expect(refusal(() => lab.leave('g2', more(8)))).toContain('last group')
    expect(lab.config.groupByName('g2')).toBeDefined()
  })

  it('is to be asked for again while a new leader gives everybody the benefit of the doubt', () => {
    const lab = pair()
    lab.isLivenessKnown = false
    expect(() => lab.leave('g2', more(8))).toThrow(expect.objectContaining({ code: 'UNAVAILABLE', definite: true }))
    lab.lost.add('g2')
    lab.leave('g2', more(8))
    expect(lab.config.groupByName('g2')).toBeUndefined()
  })

  it('makes its shards empty elsewhere at the next epoch, until the new owners confirm', () => {
    const lab = pair()
    lab.lost.add('g2')
    const shards = lab.config.shardsOf(lab.uid('g2'))
    lab.leave('g2', more(8))
    expect(lab.counts()).toEqual({ g1: 16 })
    expect([...lab.state.migrations.tombstones]).toEqual(['g2@2'])
    expect(lab.config.cause).toBe('leave g2, giving up its data (8 shards)')
    const births = shards.map((shard) => ({ shard, group: 'g1@1', epoch: 2 }))
    expect(lab.state.migrations.list().births).toEqual(births)
    const { version } = lab.state.migrations
    lab.born('g1@1', [{ shard: shards[0] ?? 0, group: 'g1@1', epoch: 3 }])
    lab.born('g3@3', births)
    expect(lab.state.migrations.version).toBe(version)
    lab.born('g1@1', births.slice(1))
    expect(lab.state.migrations.list().births).toEqual(births.slice(0, 1))
    lab.born('g1@1', births)
    expect(lab.state.migrations.births.size).toBe(0)
  })

  it('leaves a shard with its source that was being handed to the lost group, and ends all else', () => {
    const lab = pair(64)
    lab.join(['g3'])
    const [first, second] = lab.open()
    if (first === undefined || second === undefined) throw new Error('two were expected')
    lab.report(first.id, 'ready')
    const owned = lab.counts().g3 ?? 0
    expect(owned).toBe(first.shards.length)
    lab.lost.add('g3')
    lab.leave('g3', more(owned))
    expect(lab.counts()).toEqual({ g1: 32, g2: 32 })
    expect(lab.state.migrations.byId.get(first.id)).toMatchObject({ phase: 'given-back', toConfirmed: true, fromConfirmed: false })
    expect(lab.state.migrations.byId.get(second.id)).toMatchObject({ phase: 'aborted', toConfirmed: true, fromConfirmed: false })
    expect(lab.state.migrations.births.size).toBe(0)
    for (const shard of first.shards) expect(lab.config.epochOf(shard)).toBe(3)
  })

  it('is done also where a shard went on before the lost group had told that it was born there', () => {
    const lab = pair()
    lab.join(['g3'])
    lab.completeAll()
    lab.lost.add('g3')
    const lost = lab.config.shardsOf(lab.uid('g3'))
    lab.leave('g3', more(lost.length))
    const [birth] = lab.state.migrations.births.values()
    if (birth === undefined) throw new Error('a birth was expected')
    const holder = lab.config.groupByUid(birth.group)?.name ?? ''
    const [id] = lab.move(birth.shard, holder === 'g1' ? 'g2' : 'g1')
    lab.complete(id ?? 0)
    lab.lost.add(holder)
    lab.leave(holder, more(lab.config.shardsOf(birth.group).length))
    expect(lab.config.groupByName(holder)).toBeUndefined()
    expect([...lab.state.migrations.births.values()].map(({ group }) => group)).not.toContain(birth.group)
    expect(lab.state.migrations.births.has(birth.shard)).toBe(false)
  })

  it('makes what it was handing over begin empty once the target has refused it', () => {
    const lab = pair()
    lab.leave('g1')
    const [first] = lab.open()
    lab.report(first?.id ?? 0, 'ready')
    lab.lost.add('g1')
    lab.leave('g1', more(0))
    expect(lab.state.migrations.byId.get(1)).toMatchObject({ phase: 'committed', fromConfirmed: true })
    lab.report(1, 'refused')
    expect(lab.state.migrations.byId.get(1)).toMatchObject({ phase: 'given-back', reason: 'disk full' })
    expect(lab.counts()).toEqual({ g2: 16 })
    expect([...lab.state.migrations.births.values()].map(({ epoch, group }) => `${group} ${epoch}`)).toEqual(Array(8).fill('g2@2 3'))
  })
})

describe('the weight of a group', () => {
  it('is changed by a config of its own, and moves shards only between the group and the others, as few as the shares ask for', () => {
    const lab = pair(64)
    lab.join(['g3'])
    lab.completeAll()
    const before = lab.config
    const plan = lab.plan({ weigh: { group: 'g3', weight: 2 } })
    expect(plan.moves).toHaveLength(11)
    expect(plan.imbalanceAfter).toBeLessThan(0.05)
    lab.weigh('g3', 2, before.number)
    expect(lab.note).toMatch(/^g3 had the weight 1; 11 shards will move, in \d+ migrations$/)
    expect(lab.config).toMatchObject({ number: before.number + 1, cause: 'weight g3 2', author: 'op' })
    expect(lab.config.groupByName('g3')?.weight).toBe(2)
    expect(new Set(lab.open().map(({ to }) => to))).toEqual(new Set([lab.uid('g3')]))
    lab.completeAll()
    expect(lab.counts()).toEqual({ g1: 16, g2: 16, g3: 32 })
    lab.weigh('g3', 1)
    lab.completeAll()
    expect(Object.values(lab.counts()).sort()).toEqual([21, 21, 22])
    expect(lab.weigh('g3', 1)).toEqual([])
    expect(lab.note).toBe('nothing to do: g3 has the weight 1')
  })

  it('is refused for who is not there or leaves, on another config than the one planned on, and out of range', () => {
    const lab = pair()
    lab.leave('g2')
    expect(refusal(() => lab.weigh('g2', 2))).toContain('group g2 is being drained')
    expect(refusal(() => lab.weigh('g9', 2))).toContain('NOT_FOUND no group g9')
    expect(refusal(() => lab.weigh('g1', 2, 1))).toContain('you planned on 1')
    for (const weight of [0, -1, 1e7, Number.NaN]) expect(refusal(() => lab.weigh('g1', weight))).toContain('INVALID_ARGUMENT weight')
  })

  it('is not changed by a join of a group that is there: another one is refused, and the command named that does it', () => {
    const lab = pair()
    lab.weigh('g2', 0.5)
    const { number } = lab.config
    const command = `'ostraka admin weight g2 1' changes it`
    expect(refusal(() => lab.join(['g2'], 0, [1]))).toBe(`FAILED_PRECONDITION group g2 is there with the weight 0.5: ${command}`)
    for (const weight of [0, 0.5]) {
      expect(lab.join(['g2'], 0, [weight])).toEqual([])
      expect(lab.note).toBe('nothing to do: the groups are there')
    }
    expect(lab.config.number).toBe(number)
  })
})

describe('a plan', () => {
  it('tells about how long it takes, if the sizes are known', () => {
    const lab = pair()
    for (const shard of lab.config.shardsOf(lab.uid('g2'))) lab.sizes.set(shard, 25_000_000)
    // 8 times 25 MB at 50 MB a second, in one set.
    expect(lab.plan({ leave: { group: 'g2' } })).toMatchObject({ estimatedMs: 4500 })
    expect(lab.plan({ rebalance: {} }).estimatedMs ?? 0).toBe(0)
    lab.knowsSizes = false
    const plan = lab.plan({ leave: { group: 'g2' } })
    expect([plan.estimatedMs, plan.moves?.length]).toEqual([0, 8])
  })
})

describe('move, unpin and rebalance', () => {
  it('pins and moves one shard; to its own group it only pins', () => {
    const lab = pair()
    const [a, b] = [lab.config.groupOf(5)?.name ?? '', lab.config.groupOf(5)?.name === 'g1' ? 'g2' : 'g1']
    const [id] = lab.move(5, b)
    expect(lab.config.pins.get(5)).toBe(b)
    expect([lab.config.number, lab.config.cause]).toEqual([3, `move 5 to ${b}`])
    expect(refusal(() => lab.move(5, a))).toContain(`shard 5 moves to ${b} now (migration 1)`)
    lab.complete(id ?? 0)
    expect(lab.config.cause).toBe(`move 5 from ${a} to ${b}`)
    expect(lab.move(5, b)).toEqual([])
    expect(lab.note).toContain('nothing to do')
    lab.rebalance()
    lab.completeAll()
    expect(lab.config.groupOf(5)?.name).toBe(b)
    expect(lab.counts()).toEqual({ g1: 8, g2: 8 })
    expect(lab.move(6, lab.config.groupOf(6)?.name ?? '')).toEqual([])
    expect(lab.config.pins.size).toBe(2)
    lab.unpin(6)
    expect([lab.config.pins.has(6), lab.config.cause]).toEqual([false, 'unpin 6'])
    lab.unpin(6)
    expect(lab.note).toContain('not pinned')
  })

  it('is refused for what is not there and for who is leaving', () => {
    const lab = pair()
    expect(refusal(() => lab.move(16, 'g1'))).toBe('NOT_FOUND no shard 16: they are 0 to 15')
    expect(refusal(() => lab.move(1, 'g9'))).toContain('NOT_FOUND no group g9')
    expect(refusal(() => lab.move(1, 'g1', 1))).toContain('you planned on 1')
    expect(refusal(() => lab.rebalance(1))).toContain('you planned on 1')
    expect(refusal(() => lab.unpin(99))).toContain('NOT_FOUND')
    lab.leave('g2')
    expect(refusal(() => lab.move(1, 'g2'))).toContain('group g2 is being drained')
  })

  it('of a plan is refused once a migration went on, though the config is the same', () => {
    const lab = pair()
    const away = lab.config.groupOf(3)?.name === 'g1' ? 'g2' : 'g1'
    const [id] = lab.move(3, away)
    lab.unpin(3)
    const { configNumber, migrationsMark } = lab.plan({ rebalance: {} })
    lab.report(id ?? 0, 'cannot')
    expect(lab.config.number).toBe(configNumber)
    const late = refusal(() => lab.rebalance(configNumber ?? 0, migrationsMark ?? 0))
    expect(late).toBe('FAILED_PRECONDITION migrations went on since you planned: plan again')
    const anew = lab.plan({ rebalance: {} })
    expect(refusal(() => lab.rebalance(anew.configNumber ?? 0, anew.migrationsMark ?? 0))).toBe('done')
    expect(new Lab().plan({ rebalance: {} }).migrationsMark).toBeGreaterThan(0)
  })

  it('tells who evens out of what goes on, and not of what it aborts: nobody waits for that', () => {
    const unwanted = pair()
      .config.shardsOf('g1@1')
      .flatMap((shard) => {
        const lab = pair()
        const [id] = lab.move(shard, 'g2')
        lab.unpin(shard)
        const told = lab.rebalance()
        return lab.state.migrations.byId.get(id ?? 0)?.phase === 'aborted' ? [{ told, note: lab.note }] : []
      })
    expect(unwanted.length).toBeGreaterThan(0)
    for (const one of unwanted) expect(one).toEqual({ told: [], note: '1 migration under way no longer wanted: aborted' })
    const lab = pair()
    const [from, to] = [lab.config.shardsOf('g1@1'), lab.config.shardsOf('g2@2')]
    const [there] = lab.move(from[1] ?? 0, 'g2')
    const [back] = lab.move(to[1] ?? 0, 'g1')
    const [more] = lab.move(from[2] ?? 0, 'g2')
    const told = lab.rebalance()
    expect(told.slice(0, 3)).toEqual([there, back, more])
    expect(told.length).toBe(4)
  })

  it('tells what a change would do, and does none of it', () => {
    const lab = pair()
    for (let shard = 0; shard < 16; shard++) lab.sizes.set(shard, 100 + shard)
    const { number } = lab.config
    const join = lab.plan({ join: { groups: [{ name: 'g3', members: [{ node: 'n1', address: 'n1:1' }] }] } })
    expect([join.configNumber, join.moves?.length, join.imbalanceBefore]).toEqual([2, 5, 0])
    expect(join.moves?.every((move) => move.to === 'g3' && move.bytes === 100 + (move.shard ?? 0))).toBe(true)
    expect(join.imbalanceAfter).toBeCloseTo(1 / 8)
    const leave = lab.plan({ leave: { group: 'g2' } })
    expect(leave.moves?.map(({ from, to }) => `${from} ${to}`)).toEqual(Array(8).fill('g2 g1'))
    const away = lab.config.groupOf(3)?.name === 'g1' ? 'g2' : 'g1'
    const move = lab.plan({ move: { shard: 3, group: away } })
    expect(move.moves).toEqual([{ shard: 3, from: away === 'g1' ? 'g2' : 'g1', to: away, bytes: 103 }])
    expect([move.imbalanceBefore, move.imbalanceAfter]).toEqual([0, 1 / 8])
    expect(lab.plan({ rebalance: {} }).moves).toEqual([])
    lab.lost.add('g2')
    const abandoned = lab.plan({ leave: { group: 'g2', abandonData: true, confirmShards: 8 } })
    expect(abandoned.moves?.map(({ from, to }) => `${from} ${to}`)).toEqual(Array(8).fill('g2 g1'))
    expect([lab.config.number, lab.state.migrations.next]).toEqual([number, 1])
  })
})

describe('what a migration waits for', () => {
  it('is told by what the controllers know of its ends and its pause, before what its target tells', () => {
    const lab = pair()
    const [shard = 0] = lab.config.shardsOf(lab.uid('g1'))
    const [id = 0] = lab.move(shard, 'g2')
    const waits = () => {
      const record = lab.state.migrations.byId.get(id)
      if (record === undefined) throw new Error('planned')
      return waitsForOf(lab.view, record, 'a free place')
    }
    expect(waits()).toBe('a free place')
    lab.leaderless.add('g2')
    expect(waits()).toBe('its target: g2 has no leader that the controllers hear')
    lab.start('g1')
    lab.lost.add('g1')
    expect(waits()).toBe('its source: g1 has lost its majority')
    lab.lost.add('g2')
    expect(waits()).toBe('its target: g2 has not come to life yet')
    lab.steer(shard, 'pause')
    expect(waits()).toBe('its resumption: paused by op')
    lab.steer(shard, 'cancel')
    expect(waits()).toBe('')
  })

  it('is said at once of a move, a join, a rebalance and a weight that have an end without a majority', () => {
    const lab = pair()
    const [shard = 0] = lab.config.shardsOf(lab.uid('g1'))
    lab.lost.add('g2')
    lab.move(shard, 'g2')
    expect(lab.note).toBe('g2 has not come to life yet: what goes there waits')
    lab.steer(shard, 'cancel')
    lab.unpin(shard)
    lab.start('g2')
    lab.weigh('g2', 2)
    expect(lab.note).toMatch(
      /^g2 had the weight 1; \d shards will move, in \d migrations?; g2 has lost its majority: what goes there waits$/,
    )
    for (const { shards } of lab.open()) lab.steer(shards[0] ?? 0, 'cancel')
    lab.rebalance()
    expect(lab.note).toBe('g2 has lost its majority: what goes there waits')
    for (const { shards } of lab.open()) lab.steer(shards[0] ?? 0, 'cancel')
    lab.weigh('g2', 1)
    lab.join(['g3'])
    expect(lab.note).toMatch(/^5 shards will move, .*; g2 has lost its majority: what comes from there waits$/)
  })
})

describe('steering', () => {
  it('keeps a paused migration from its commit, and cancels only before it', () => {
    const lab = pair()
    const away = lab.config.groupOf(3)?.name === 'g1' ? 'g2' : 'g1'
    expect(refusal(() => lab.steer(3, 'pause'))).toBe('NOT_FOUND shard 3 does not move')
    lab.move(3, away)
    expect(lab.steer(3, 'pause')).toEqual([1])
    expect(refusal(() => lab.report(1, 'ready'))).toContain('migration 1 is paused')
    const { atMs } = lab.view
    expect(lab.note).toMatch(/^migration 1; until it is resumed or cancelled its source keeps each write to these shards twice, /)
    expect(lab.state.migrations.byId.get(1)).toMatchObject({ paused: true, pausedBy: 'op', pausedAtMs: atMs })
    lab.steer(3, 'pause')
    expect(lab.note).toBe('nothing to do: migration 1 is paused by op')
    lab.steer(3, 'resume')
    expect(lab.state.migrations.byId.get(1)).toMatchObject({ paused: false, pausedBy: '', pausedAtMs: 0 })
    lab.steer(3, 'pause')
    lab.steer(3, 'cancel')
    expect(lab.note).toBe('migration 1; pinned still: 3')
    expect(lab.state.migrations.byId.get(1)).toMatchObject({ phase: 'aborted', reason: 'cancelled by op' })
    const [id] = lab.move(3, away)
    lab.report(id ?? 0, 'ready')
    for (const steering of ['pause', 'cancel'] as const) expect(refusal(() => lab.steer(3, steering))).toContain('FAILED_PRECONDITION')
    expect(lab.state.migrations.openOf(3)?.phase).toBe('committed')
  })
})

describe('reports', () => {
  it('said again, late or out of turn change nothing', () => {
    const lab = pair()
    lab.move(3, lab.config.groupOf(3)?.name === 'g1' ? 'g2' : 'g1')
    expect(refusal(() => lab.report(1, 'active'))).toContain('not committed')
    expect(refusal(() => lab.report(1, 'clean'))).toContain('not over')
    expect(refusal(() => lab.report(2, 'ready'))).toBe('NOT_FOUND no migration 2: the next one will be 2')
    expect(refusal(() => lab.report(1, 'ready', lab.state.migrations.byId.get(1)?.from))).toContain('has no say')
    lab.report(1, 'ready')
    const said = (kinds: readonly Said[]) => {
      for (const kind of kinds) lab.report(1, kind)
      return `${lab.config.number} ${lab.state.migrations.version} ${lab.state.migrations.byId.get(1)?.phase}`
    }
    expect(said(['ready', 'cannot'])).toBe('4 2 committed')
    expect(said(['active', 'ready', 'cannot', 'refused', 'active'])).toBe('4 3 done')
    expect(lab.state.migrations.byId.get(1)).toMatchObject({ digest: Uint8Array.of(7), pauseUs: 900, attempt: 1, bytesTotal: 5 })
    lab.clean(1)
    expect(said(['clean', 'ready', 'refused'])).toBe('4 5 done')
    expect(lab.state.migrations.list().migrations).toEqual([])
  })

  it('of a refusal after the commit give the shards back, and loosen the pin that sent them', () => {
    const lab = pair()
    const home = lab.config.groupOf(3)?.name ?? ''
    const away = home === 'g1' ? 'g2' : 'g1'
    lab.move(3, away)
    lab.report(1, 'ready')
    expect(lab.config.groupOf(3)?.name).toBe(away)
    lab.report(1, 'refused')
    expect([lab.config.groupOf(3)?.name, lab.config.epochOf(3), lab.config.pins.has(3)]).toEqual([home, 3, false])
    expect(lab.config.cause).toBe(`move 3 from ${away} to ${home}, given back`)
    expect(lab.state.migrations.byId.get(1)).toMatchObject({ phase: 'given-back', epochs: [3], reason: 'disk full' })
    lab.report(1, 'active')
    lab.report(1, 'ready')
    expect(lab.config.number).toBe(5)
  })
})

describe('the log', () => {
  it('refuses what does not fit, whole', () => {
    const lab = pair()
    const [a, b] = [lab.uid('g1'), lab.uid('g2')]
    const mine = lab.config.shardsOf(a)
    const planned = { id: 1, shards: mine.slice(0, 2), from: a, to: b, startedAtMs: 5 }
    const base = lab.config.number
    const other = lab.config.shardsOf(b)[0] ?? 0
    expect(lab.try({ base, planned: [{ ...planned, id: 2 }] })).toBe('stale')
    expect(lab.try({ base, planned: [{ ...planned, shards: [other] }] })).toBe('stale')
    expect(lab.try({ base, planned: [{ ...planned, to: 'g9@9' }] })).toBe('stale')
    expect(lab.try({ base, planned: [planned, { ...planned, id: 2 }] })).toBe('stale')
    expect(lab.try({ base, planned: [{ ...planned, shards: [] }] })).toBe('refused')
    expect(lab.try({ base, planned: [{ ...planned, phase: 1 }] })).toBe('stale')
    expect(lab.state.migrations.version).toBe(0)
    expect(lab.try({ base, planned: [planned] })).toBe('applied')
    expect(lab.try({ base, planned: [{ ...planned, id: 2, shards: mine.slice(1, 3) }] })).toBe('stale')
    expect(lab.try({ base, planned: [{ ...planned, shards: mine.slice(2, 3) }] })).toBe('stale')
    const known = lab.state.migrations.byId.get(1)
    if (known === undefined) throw new Error('planned')
    const commit = encodeRecord({ ...known, phase: 'committed', configNumber: 3, epochs: [2, 2] })
    const step = (number: number, shard: number | undefined, group: string, epoch: number) => ({
      from: number - 1,
      to: { number, shardCount: 16 },
      shards: [{ shard: shard ?? 0, group, epoch }],
    })
    expect(lab.try({ base, changed: [commit] })).toBe('stale')
    expect(lab.try({ base, steps: [step(3, mine[0], b, 2)], changed: [commit] })).toBe('stale')
    expect(lab.try({ base, steps: [step(3, mine[0], b, 2), step(4, mine[1], b, 3)], changed: [commit] })).toBe('stale')
    expect(lab.try({ base, steps: [step(3, mine[0], b, 2), step(4, mine[1], b, 2)] })).toBe('stale')
    expect(lab.try({ base, births: [{ shard: mine[0] ?? 0, group: b, epoch: 2 }] })).toBe('stale')
    expect(lab.try({ base, steps: [{ from: 2, to: { number: 3, shardCount: 16 }, removedGroups: [b] }] })).toBe('refused')
    expect([lab.config.number, lab.state.migrations.version]).toEqual([2, 1])
    expect(lab.try({ base, steps: [step(3, mine[0], b, 2), step(4, mine[1], b, 2)], changed: [commit] })).toBe('applied')
  })

  it('forgets all but the newest settled migrations, never one that somebody waits for', () => {
    const lab = pair()
    const away = () => (lab.config.groupOf(3)?.name === 'g1' ? 'g2' : 'g1')
    lab.move(4, lab.config.groupOf(4)?.name === 'g1' ? 'g2' : 'g1')
    // Ended, and one of its groups has not said yet that nothing of it is left there.
    const [halfway = 0] = lab.move(5, lab.config.groupOf(5)?.name === 'g1' ? 'g2' : 'g1')
    lab.steer(5, 'cancel')
    lab.report(halfway, 'clean', 'g1@1')
    for (let count = 0; count < settledMax + 5; count++) {
      const [id] = lab.move(3, away())
      lab.steer(3, 'cancel')
      lab.clean(id ?? 0)
    }
    const ids = [...lab.state.migrations.byId.keys()]
    expect([ids.length, ids[0], ids[1], ids[2]]).toEqual([settledMax + 2, 1, halfway, 8])
    lab.report(3, 'clean', 'g1@1')
    expect(lab.state.migrations.byId.has(3)).toBe(false)
  })

  it('keeps what came to nothing, however many others succeed: who waits for it learns so', () => {
    const lab = pair()
    const away = (shard: number) => (lab.config.groupOf(shard)?.name === 'g1' ? 'g2' : 'g1')
    const [failed = 0] = lab.move(4, away(4))
    lab.steer(4, 'cancel')
    lab.clean(failed)
    for (let count = 0; count < settledMax + 5; count++) lab.complete(lab.move(3, away(3))[0] ?? 0)
    const { byId } = lab.state.migrations
    expect([byId.get(failed)?.phase, byId.size]).toEqual(['aborted', settledMax + 1])
    const shown = lab.state.migrations.history().map(({ id }) => id)
    expect([shown.length, shown[0], shown.at(-1)]).toEqual([settledMax, failed + 6, failed + settledMax + 5])
  })
})
