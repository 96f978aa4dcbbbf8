import { describe, expect, it } from 'vitest'
import { DiskError } from '../../../base/errors.ts'
import { pb } from '../../../proto/messages.ts'
import { migrationMethods } from '../../../proto/methods.ts'
import { deltaBytes } from '../../../shardserver/delta.ts'
import { digestOfNothing } from '../../../shardserver/record-digest.ts'
import { SlowWrites } from '../../../shardserver/slow-writes.ts'
import { MoveRig, source, target } from './move-rig.ts'

const { REPORT_ACTIVE, REPORT_CANNOT, REPORT_CLEAN, REPORT_READY, REPORT_REFUSED } = pb.v1.ReportKind

/** The steps of an undisturbed move that each group's log has. */
const targetSteps = ['import', 'ingest', 'replay', 'activate']

function reportsOf(rig: MoveRig, kind: pb.v1.ReportKind, group?: string): number {
  return rig.controllers.reports.filter((report) => report.kind === kind && (group === undefined || report.group === group)).length
}

/** Both groups hold what they are to hold, and nothing is left of the migration. */
function expectMoved(rig: MoveRig, shards: readonly number[], values: readonly number[]): void {
  for (const shard of shards) {
    expect(rig.target.record(shard).state).toBe('serving')
    expect(rig.source.record(shard).state).toBe('absent')
    expect(rig.source.data.has(shard)).toBe(false)
  }
  expect(rig.target.data.get(shards[0] ?? 0)).toEqual(values)
  expect(rig.source.record(6).state).toBe('serving')
}

async function expectAbortedAfterAMinute(rig: MoveRig): Promise<void> {
  await rig.world.runUntil(() => rig.controllers.phase(1) === 'aborted', 120_000)
  expect(rig.world.nowMs).toBeGreaterThan(60_000)
  expect(rig.world.nowMs).toBeLessThan(70_000)
}

function expectStayed(rig: MoveRig, shards: readonly number[]): void {
  for (const shard of shards) {
    expect(rig.source.record(shard).state).toBe('serving')
    expect(['unborn', 'absent']).toContain(rig.target.record(shard).state)
    expect(rig.target.data.has(shard)).toBe(false)
  }
}

/** Writes 1, 2, … to shard 3, at whichever group serves it, until stopped; each acknowledged one is in the list. */
function load(rig: MoveRig, everyMs: number) {
  const acknowledged: number[] = []
  let next = 1
  let stopped = false
  const write = () => {
    const groups = [rig.source, rig.target].filter((group) => group.write(3, next))
    expect(groups.length).toBeLessThan(2)
    if (groups.length === 1) acknowledged.push(next++)
  }
  const step = () => {
    if (stopped) return
    write()
    rig.world.schedule(everyMs, undefined, 'load', step)
  }
  step()
  return {
    acknowledged,
    write,
    stop: () => {
      stopped = true
    },
  }
}

describe('moving shards between two groups', () => {
  it('brings all that the source acknowledged, and leaves nothing behind', async () => {
    const rig = new MoveRig(1)
    const writes = load(rig, 3)
    await rig.world.runFor(50)
    rig.controllers.plan(1, [3, 5])
    await rig.runUntilSettled(1)
    writes.stop()
    expect(rig.controllers.phase(1)).toBe('done')
    expectMoved(rig, [3, 5], writes.acknowledged)
    expect(rig.source.steps).toEqual(['export', 'release', 'outcome'])
    expect([...new Set(rig.target.steps)]).toEqual(targetSteps)
    const active = rig.controllers.reports.filter(({ kind }) => kind === REPORT_ACTIVE)
    expect(active[0]?.pauseUs).toBeGreaterThan(0)
    expect(active[0]?.pauseUs).toBeLessThan(100_000)
    expect(reportsOf(rig, REPORT_CLEAN)).toBe(2)
  })

  it('moves shards that nobody has written to without a copy of anything', async () => {
    const rig = new MoveRig(23)
    rig.source.knowsNothing = true
    rig.controllers.plan(1, [3, 5])
    await rig.runUntilSettled(1)
    expectMoved(rig, [3, 5], [])
    expect(rig.target.steps).toEqual(['import', 'ingest', 'activate'])
    expect(rig.target.replicas.map(({ held }) => held.size)).toEqual([0, 0, 0])
    const ready = rig.controllers.reports.find(({ kind }) => kind === REPORT_READY)
    expect(ready?.digest).toEqual(digestOfNothing)
  })

  for (const kind of ['import', 'export', 'ingest', 'activate']) {
    it(`goes on without a copy where the target's leader changes at ${kind}, and brings what is written meanwhile`, async () => {
      const rig = new MoveRig(24)
      rig.source.knowsNothing = true
      const acknowledged: number[] = []
      const write = () => {
        if (rig.source.write(3, acknowledged.length)) acknowledged.push(acknowledged.length)
      }
      let hits = 0
      for (const group of [rig.source, rig.target]) {
        group.fate = (step) => {
          if (step === kind && hits++ === 0) rig.world.schedule(0, undefined, 'elect', () => rig.lead(rig.target, 't2'))
          if (step === 'export') rig.world.schedule(1, undefined, 'write', write)
          return 'applied'
        }
      }
      rig.controllers.plan(1, [3, 5])
      await rig.runUntilSettled(1)
      expect(hits).toBeGreaterThan(0)
      expectMoved(rig, [3, 5], acknowledged)
      expect(acknowledged.length).toBeGreaterThan(0)
      expect(rig.target.replicas.map(({ held }) => held.size)).toEqual([0, 0, 0])
    })
  }

  it('is not disturbed by what happens to other migrations while it waits for its files', async () => {
    const rig = new MoveRig(25)
    for (const replica of rig.source.replicas) replica.isMaking = true
    rig.controllers.plan(1, [3])
    await rig.world.runFor(5000)
    const asked = () => rig.asked('t1', migrationMethods.holds)
    const first = asked()
    await rig.world.runFor(2000)
    const alone = asked() - first
    for (let i = 0; i < 200; i++) {
      rig.controllers.plan(100 + i, [6])
      rig.controllers.change(100 + i, { phase: 'aborted', fromConfirmed: true, toConfirmed: true })
      await rig.world.runFor(10)
    }
    expect(alone).toBeGreaterThan(0)
    expect(asked() - first - alone).toBeLessThanOrEqual(alone + 3)
  })

  it('asks for an export that is being made no sooner than its source says', async () => {
    const rig = new MoveRig(26)
    for (const replica of rig.source.replicas) {
      replica.isMaking = true
      replica.waitMs = 1500
    }
    rig.controllers.plan(1, [3])
    await rig.world.runFor(15_500)
    // Three replicas of the target, each about ten times.
    const asked = rig.source.replicas.reduce((sum, replica) => sum + replica.asked, 0)
    expect(asked).toBeGreaterThanOrEqual(27)
    expect(asked).toBeLessThanOrEqual(36)
  })

  it('copies from another replica of the source within seconds where one is asleep', async () => {
    const rig = new MoveRig(27)
    for (const node of ['t1', 't2', 't3']) for (const asleep of ['s2', 's3']) rig.network.cutBoth(node, asleep, 'stall')
    rig.controllers.plan(1, [3])
    await rig.runUntilSettled(1)
    expectMoved(rig, [3], [])
    // t2 and t3 begin with those that sleep, t3 comes to s1 at last.
    expect(rig.world.nowMs).toBeLessThan(15_000)
  })

  it('moves several sets at a time, and no more than it may', async () => {
    const rig = new MoveRig(2)
    let most = 0
    rig.target.fate = () => {
      most = Math.max(most, rig.target.migrations().length)
      return 'applied'
    }
    for (const [i, shard] of [3, 5, 6].entries()) rig.controllers.plan(i + 1, [shard])
    for (const id of [1, 2, 3]) await rig.runUntilSettled(id)
    expect([3, 5, 6].map((shard) => rig.target.record(shard).state)).toEqual(['serving', 'serving', 'serving'])
    expect(most).toBe(2)
  })

  for (const kind of ['import', 'export', 'ingest', 'replay', 'release', 'activate', 'outcome']) {
    for (const fate of ['lost', 'lost-but-applied'] as const) {
      it(`goes on where the leader changes with ${kind} in its log, ${fate}`, async () => {
        const rig = new MoveRig(3)
        const writes = load(rig, 3)
        let hits = 0
        for (const group of [rig.source, rig.target]) {
          group.fate = (step) => {
            if (step !== kind || hits > 0) return 'applied'
            hits++
            rig.world.schedule(0, undefined, 'elect', () => rig.lead(group, group === rig.source ? 's2' : 't3'))
            return fate
          }
        }
        rig.controllers.plan(1, [3, 5])
        await rig.runUntilSettled(1)
        writes.stop()
        expect(hits).toBe(1)
        expectMoved(rig, [3, 5], writes.acknowledged)
      })
    }
  }

  for (const [victim, what] of [
    ['t1', "target's leader"],
    ['s1', "source's leader"],
    ['t2', 'target follower'],
  ] as const) {
    for (const kind of ['import', 'export', 'ingest', 'release', 'activate']) {
      it(`goes on where a ${what} dies at ${kind}, and where it comes back`, async () => {
        const rig = new MoveRig(4)
        const writes = load(rig, 3)
        let hits = 0
        for (const group of [rig.source, rig.target]) {
          group.fate = (step) => {
            if (step === kind && hits++ === 0) rig.world.schedule(0, undefined, 'die', () => rig.kill(victim))
            return 'applied'
          }
        }
        rig.controllers.plan(1, [3, 5])
        await rig.world.runUntil(() => !rig.machine(victim).process.alive, 20_000)
        await rig.world.runFor(3000)
        rig.restart(victim)
        await rig.runUntilSettled(1)
        writes.stop()
        expectMoved(rig, [3, 5], writes.acknowledged)
      })
    }
  }

  it('serves only with all that the source did up to its release, however many pieces that is', async () => {
    const rig = new MoveRig(8)
    const writes = load(rig, 3)
    rig.source.fate = (kind) => {
      // So many commands before the release that they come in several pieces.
      if (kind === 'release') for (let i = 0; i < 10; i++) writes.write()
      return 'applied'
    }
    rig.controllers.plan(1, [3])
    await rig.world.runUntil(() => rig.target.record(3).state === 'serving', 60_000)
    writes.stop()
    await rig.runUntilSettled(1)
    expectMoved(rig, [3], writes.acknowledged)
  })

  it('repeats a report whose answer was lost', async () => {
    const rig = new MoveRig(5)
    rig.controllers.losesAnswers = 1
    rig.controllers.plan(1, [3])
    await rig.runUntilSettled(1)
    expect(rig.controllers.phase(1)).toBe('done')
    expect(reportsOf(rig, REPORT_READY) + reportsOf(rig, REPORT_ACTIVE)).toBeGreaterThan(1)
  })

  it('waits for no controller between the commit and serving', async () => {
    const rig = new MoveRig(6)
    rig.target.fate = (kind) => {
      if (kind === 'activate') expect(rig.controllers.silent).toBe(true)
      return 'applied'
    }
    rig.source.fate = (kind) => {
      if (kind === 'release') rig.controllers.silent = true
      return 'applied'
    }
    rig.controllers.plan(1, [3])
    await rig.world.runUntil(() => rig.target.record(3).state === 'serving', 20_000)
    expect(rig.controllers.phase(1)).toBe('committed')
    rig.controllers.silent = false
    await rig.runUntilSettled(1)
    expectMoved(rig, [3], [])
  })

  it('commits with a target whose watch is behind, and releases at a source whose watch is', async () => {
    const rig = new MoveRig(7)
    rig.controllers.plan(1, [3])
    for (const node of ['s1', 's2', 's3']) rig.deafen(node)
    await rig.world.runUntil(() => rig.target.record(3).state === 'serving', 20_000)
    rig.deaf.clear()
    await rig.runUntilSettled(1)
    expectMoved(rig, [3], [])
  })

  it('releases at the source as soon as that has seen the commit, before the target has', async () => {
    const rig = new MoveRig(23)
    const writes = load(rig, 3)
    rig.controllers.plan(1, [3])
    await rig.world.runUntil(() => rig.target.steps.includes('ingest'), 20_000)
    rig.controllers.answerMs = 1000
    for (const node of ['t1', 't2', 't3']) rig.deafen(node)
    await rig.world.runUntil(() => rig.controllers.phase(1) === 'committed', 20_000)
    const committedMs = rig.world.nowMs
    await rig.world.runUntil(() => rig.source.record(3).state === 'released', 20_000)
    expect(rig.world.nowMs - committedMs).toBeLessThan(10)
    await rig.world.runUntil(() => rig.target.record(3).state === 'serving', 20_000)
    expect(rig.world.nowMs - committedMs).toBeGreaterThan(900)
    rig.deaf.clear()
    await rig.runUntilSettled(1)
    writes.stop()
    expectMoved(rig, [3], writes.acknowledged)
    // The source has refused commands all that time.
    const active = rig.controllers.reports.filter(({ kind }) => kind === REPORT_ACTIVE)
    expect(active[0]?.pauseUs).toBeGreaterThan(900_000)
  })

  it('has the source ask the controllers within some milliseconds where its watch does not bring the commit', async () => {
    const rig = new MoveRig(24)
    const writes = load(rig, 3)
    for (const node of ['s1', 's2', 's3']) rig.deafen(node)
    rig.controllers.plan(1, [3])
    await rig.world.runUntil(() => rig.controllers.phase(1) === 'committed', 20_000)
    const committedMs = rig.world.nowMs
    await rig.world.runUntil(() => rig.target.record(3).state === 'serving', 20_000)
    expect(rig.world.nowMs - committedMs).toBeLessThan(50)
    rig.deaf.clear()
    await rig.runUntilSettled(1)
    writes.stop()
    expectMoved(rig, [3], writes.acknowledged)
  })

  for (const [step, how, what] of [
    ['export', 'stall', 'says nothing any more'],
    ['replay', 'stall', 'says nothing any more'],
    ['release', 'stall', 'says nothing any more'],
    ['release', 'refuse', 'is not there any more'],
  ] as const) {
    it(`is held up at ${step} no longer than the source has no leader where the former one ${what}`, async () => {
      const rig = new MoveRig(41)
      const writes = load(rig, 3)
      // So that there are connections.
      rig.controllers.plan(7, [5])
      await rig.runUntilSettled(7)
      for (const group of [rig.source, rig.target]) group.steps.splice(0)
      rig.controllers.plan(8, [3])
      if (step === 'export') await rig.world.runUntil(() => rig.target.steps.includes('import'), 20_000)
      else if (step === 'replay') await rig.world.runUntil(() => rig.target.steps.includes('ingest'), 20_000)
      else await rig.world.runUntil(() => rig.controllers.phase(8) === 'committed', 20_000)
      for (const node of ['t1', 't2', 't3']) rig.network.cutBoth(node, 's1', how)
      rig.lead(rig.source, '')
      await rig.world.runFor(1500)
      const isThrough = () => {
        if (step === 'export') return rig.source.steps.includes('export')
        return step === 'replay' ? rig.controllers.phase(8) === 'committed' : rig.target.record(3).state === 'serving'
      }
      expect(isThrough()).toBe(false)
      rig.lead(rig.source, 's3')
      const electedMs = rig.world.nowMs
      await rig.world.runUntil(isThrough, 20_000)
      expect(rig.world.nowMs - electedMs).toBeLessThan(500)
      await rig.runUntilSettled(8)
      writes.stop()
      expectMoved(rig, [3], writes.acknowledged)
    })
  }

  it('asks no more for what the source did behind the cut than it fetched with the files', async () => {
    const rig = new MoveRig(42)
    const writes = load(rig, 50)
    await rig.world.runFor(100)
    for (const replica of rig.source.replicas) {
      replica.isMaking = true
      replica.workRate = 1e6
    }
    rig.controllers.plan(1, [3])
    await rig.world.runFor(10_000)
    for (const replica of rig.source.replicas) replica.isMaking = false
    const deltas = () => rig.asked('t1', migrationMethods.delta)
    let ingestedMs = 0
    const early: { readonly deltas: number; readonly ms: number; readonly commands: number }[] = []
    let askedBefore = 0
    rig.target.fate = (step) => {
      if (step === 'ingest') {
        ingestedMs = rig.world.nowMs
        askedBefore = deltas()
      } else if (step === 'replay') {
        const commands = rig.target.data.get(3)?.length ?? 0
        early.push({ deltas: deltas() - askedBefore, ms: rig.world.nowMs - ingestedMs, commands })
      }
      return 'applied'
    }
    await rig.runUntilSettled(1)
    writes.stop()
    expectMoved(rig, [3], writes.acknowledged)
    // 200 commands, four to a piece; one call is in flight, another reads behind the last piece that is held.
    const atOnce = early.filter(({ deltas: asked }) => asked === 0)
    expect(atOnce.length).toBeGreaterThan(30)
    expect(atOnce[0]?.ms).toBeLessThanOrEqual(2)
  })

  for (const [how, disturb] of [
    ['the leader of the target changes', (rig: MoveRig) => rig.lead(rig.target, 't2')],
    ['the leader of the source changes', (rig: MoveRig) => rig.lead(rig.source, 's3')],
    [
      'the cut is lost and another one made',
      (rig: MoveRig) => {
        for (const replica of rig.source.replicas) {
          replica.cuts.clear()
          replica.isMaking = false
        }
      },
    ],
  ] as const) {
    it(`brings nothing twice, and nothing too few, of what it fetched with the files where ${how} meanwhile`, async () => {
      const rig = new MoveRig(43)
      const writes = load(rig, 50)
      for (const replica of rig.source.replicas) {
        replica.isMaking = true
        replica.workRate = 1e6
      }
      rig.controllers.plan(1, [3])
      await rig.world.runFor(4000)
      expect(rig.asked('t1', migrationMethods.delta)).toBeGreaterThan(3)
      disturb(rig)
      await rig.world.runFor(4000)
      for (const replica of rig.source.replicas) replica.isMaking = false
      await rig.runUntilSettled(1)
      writes.stop()
      expectMoved(rig, [3], writes.acknowledged)
    })
  }

  it('waits with the commit until rounds that bring little take no less time: what is left is what clients write in one', async () => {
    const rig = new MoveRig(44)
    rig.source.commandBytes = 1024
    const writes = load(rig, 150)
    await rig.world.runFor(100)
    rig.target.fate = (step) => {
      if (step === 'ingest') rig.target.applyMs = 1600
      else if (step === 'replay') rig.target.applyMs = Math.max(25, rig.target.applyMs / 2)
      return 'applied'
    }
    for (const replica of rig.source.replicas) replica.isMaking = true
    rig.controllers.plan(1, [3])
    await rig.world.runUntil(() => rig.source.steps.includes('export'), 20_000)
    // A little is written behind the cut, less than a piece.
    await rig.world.runFor(300)
    for (const replica of rig.source.replicas) replica.isMaking = false
    await rig.world.runUntil(() => reportsOf(rig, REPORT_READY) > 0, 60_000)
    const { cursor } = rig.target.record(3)
    expect(rig.source.commands(3, cursor).length).toBeLessThanOrEqual(1)
    await rig.runUntilSettled(1)
    writes.stop()
    expectMoved(rig, [3], writes.acknowledged)
  })

  for (const [what, commandBytes, applyMs, rounds] of [
    ['as soon as a round is short', 64 * 1024, 1, 1],
    ['as soon as one brings little in the time of the one before', 1024, 30, 2],
    ['only when it has proved that none will', 64 * 1024, 30, 6],
  ] as const) {
    it(`asks for the commit ${what}, and slows no writes where little is left`, async () => {
      const rig = new MoveRig(25)
      rig.source.commandBytes = commandBytes
      rig.target.applyMs = applyMs
      const writes = load(rig, 10)
      rig.controllers.plan(1, [3])
      await rig.world.runUntil(() => reportsOf(rig, REPORT_READY) > 0, 60_000)
      const replays = rig.target.steps.filter((step) => step === 'replay').length
      expect(replays).toBeGreaterThanOrEqual(rounds)
      expect(replays).toBeLessThanOrEqual(rounds + 10)
      await rig.runUntilSettled(1)
      writes.stop()
      expect(rig.slowed).toEqual([])
      expectMoved(rig, [3], writes.acknowledged)
    })
  }

  it('follows for a while before it asks for the commit where it had much to bring, and slows no writes meanwhile', async () => {
    const waits = []
    for (const [commandBytes, wanted] of [
      [64 * 1024, 'long'],
      [16, 'short'],
    ] as const) {
      const rig = new MoveRig(45)
      rig.source.commandBytes = commandBytes
      const writes = load(rig, 5)
      for (const replica of rig.source.replicas) replica.isMaking = true
      rig.controllers.plan(1, [3])
      await rig.world.runUntil(() => rig.source.steps.includes('export'), 20_000)
      // 400 commands: 25 MiB, or 20 KiB.
      await rig.world.runFor(2000)
      for (const replica of rig.source.replicas) replica.isMaking = false
      await rig.world.runUntil(() => rig.target.steps.includes('ingest'), 20_000)
      const ingestedMs = rig.world.nowMs
      await rig.world.runUntil(() => reportsOf(rig, REPORT_READY) > 0, 60_000)
      waits.push([wanted, rig.world.nowMs - ingestedMs])
      await rig.runUntilSettled(1)
      writes.stop()
      expect(rig.slowed).toEqual([])
      expectMoved(rig, [3], writes.acknowledged)
    }
    expect(waits).toEqual([
      ['long', expect.toSatisfy((ms: number) => ms > 1500 && ms < 3000)],
      ['short', expect.toSatisfy((ms: number) => ms < 500)],
    ])
  })

  it('asks the source to slow the writes down where the target does not keep up, and asks for no commit until it does', async () => {
    const rig = new MoveRig(9)
    const writes = load(rig, 0.15)
    rig.controllers.plan(1, [3])
    await rig.world.runUntil(() => rig.slowed.length > 0, 60_000)
    expect(rig.controllers.phase(1)).toBe('copying')
    expect(reportsOf(rig, REPORT_READY)).toBe(0)
    writes.stop()
    await rig.runUntilSettled(1)
    expectMoved(rig, [3], writes.acknowledged)
  })

  it('ends while clients write more than the target replays: the source lets less through than that', async () => {
    const rig = new MoveRig(9)
    rig.source.commandBytes = 32 * 1024
    const slowWrites = new SlowWrites(rig.machine('s1').process.clock)
    const rates: number[] = []
    let slowedAtMs: number | undefined
    rig.onWish = (wish) => {
      if (wish.replayRate > 0) slowedAtMs ??= rig.world.nowMs
      rates.push(wish.replayRate)
      slowWrites.slow(source, wish)
    }
    const acknowledged: number[] = []
    let refused = 0
    const write = (value: number) => {
      if (rig.source.write(3, value) || rig.target.write(3, value)) acknowledged.push(value)
    }
    let next = 0
    let stopped = false
    const step = () => {
      if (stopped) return
      const value = next++
      const run = () => write(value)
      slowWrites.pass(source, { commands: [{ shard: 3 }], bytes: deltaBytes(rig.source.commandBytes), run, refuse: () => refused++ })
      rig.world.schedule(0.15, undefined, 'load', step)
    }
    step()
    rig.controllers.plan(1, [3])
    await rig.world.runUntil(() => rig.controllers.phase(1) === 'committed', 60_000)
    const asked = rates.filter((rate) => rate > 0)
    expect(asked.length).toBeGreaterThan(0)
    expect(Math.max(...asked)).toBeLessThan(5 * Math.min(...asked))
    // It does not follow for a while first: a second or more in which writers wait.
    expect(rates.slice(rates.findIndex((rate) => rate > 0)).every((rate) => rate > 0)).toBe(true)
    expect(rig.world.nowMs - (slowedAtMs ?? 0)).toBeLessThan(1000)
    await rig.runUntilSettled(1)
    stopped = true
    slowWrites.keepOnly(source, [])
    expectMoved(rig, [3], acknowledged)
  })

  it('reads what is left at the leader of the source, and has it slow the writes down, also after the leader changed', async () => {
    const rig = new MoveRig(9)
    const writes = load(rig, 0.15)
    rig.controllers.plan(1, [3])
    await rig.world.runUntil(() => rig.target.steps.includes('replay'), 60_000)
    expect(rig.slowed).toEqual([])
    rig.lead(rig.source, 's3')
    await rig.world.runUntil(() => rig.slowed.length > 0, 60_000)
    expect(new Set(rig.slowed)).toEqual(new Set(['s3']))
    writes.stop()
    await rig.runUntilSettled(1)
    expectMoved(rig, [3], writes.acknowledged)
  })

  it('takes a sync that fails under a copy for the end of the process, and does not try again', async () => {
    const rig = new MoveRig(10)
    const syncs: string[] = []
    rig.machine('t2').process.disk.inject = ({ kind, path }) => {
      if (kind !== 'sync' || !path.includes('records')) return undefined
      syncs.push(path)
      return 'EIO'
    }
    rig.controllers.plan(1, [3])
    await rig.runUntilSettled(1)
    expect(rig.failures).toEqual([expect.any(DiskError)])
    expect(syncs).toHaveLength(1)
    expectMoved(rig, [3], [])
  })

  for (const [kind, phase] of [
    ['import', 'copying'],
    ['export', 'copying'],
    ['ingest', 'copying'],
    ['commit', 'committed'],
  ] as const) {
    it(`waits for a source whose nodes die at ${kind}, for as long as it takes, and goes on when it is back`, async () => {
      const rig = new MoveRig(19)
      const nodes = ['s1', 's2', 's3']
      const writes = load(rig, 3)
      let hits = 0
      const die = () => {
        writes.stop()
        for (const node of nodes) rig.kill(node)
        rig.lead(rig.source, '')
      }
      for (const group of [rig.source, rig.target]) {
        group.fate = (step) => {
          if (step === kind && hits++ === 0) rig.world.schedule(0, undefined, 'die', die)
          return 'applied'
        }
      }
      rig.controllers.plan(1, [3, 5])
      if (kind === 'commit') {
        await rig.world.runUntil(() => rig.controllers.phase(1) === 'committed', 20_000)
        die()
      }
      await rig.world.runUntil(() => !rig.machine('s1').process.alive, 20_000)
      await rig.world.runFor(600_000)
      expect(rig.controllers.phase(1)).toBe(phase)
      // One of three is back: nobody can lead them yet.
      rig.restart('s2')
      await rig.world.runFor(180_000)
      expect(rig.controllers.phase(1)).toBe(phase)
      expect(reportsOf(rig, REPORT_CANNOT)).toBe(0)
      for (const node of ['s1', 's3']) rig.restart(node)
      rig.lead(rig.source, 's3')
      await rig.runUntilSettled(1)
      expectMoved(rig, [3, 5], writes.acknowledged)
    })
  }

  it('keeps what is released for a target whose nodes die, for as long as it takes: no clock gives it back', async () => {
    const rig = new MoveRig(24)
    const nodes = ['t1', 't2', 't3']
    const die = () => {
      for (const node of nodes) rig.kill(node)
      rig.lead(rig.target, '')
    }
    rig.source.fate = (kind) => {
      if (kind === 'release') rig.world.schedule(0, undefined, 'die', die)
      return 'applied'
    }
    rig.controllers.plan(1, [3, 5])
    await rig.world.runUntil(() => !rig.machine('t1').process.alive, 20_000)
    await rig.world.runFor(600_000)
    expect([3, 5].map((shard) => rig.source.record(shard).state)).toEqual(['released', 'released'])
    expect(rig.source.steps).not.toContain('outcome')
    for (const node of nodes) rig.restart(node)
    rig.lead(rig.target, 't2')
    await rig.runUntilSettled(1)
    expectMoved(rig, [3, 5], [])
  })

  for (const kind of ['ingest', 'replay']) {
    it(`tells the digest of the cut also where the target's leader changes at ${kind}`, async () => {
      const rig = new MoveRig(22)
      const writes = load(rig, 3)
      let hits = 0
      rig.target.fate = (step) => {
        if (step === kind && hits++ === 0) rig.world.schedule(0, undefined, 'elect', () => rig.lead(rig.target, 't2'))
        return 'applied'
      }
      rig.controllers.plan(1, [3])
      await rig.runUntilSettled(1)
      writes.stop()
      const ready = rig.controllers.reports.filter((report) => report.kind === REPORT_READY)
      expect(ready.length).toBeGreaterThan(0)
      for (const { digest } of ready) expect(digest).toHaveLength(16)
    })
  }

  it('gives up what is committed where the source is given up before it has released', async () => {
    const rig = new MoveRig(11)
    rig.source.fate = (kind) => (kind === 'release' ? 'lost' : 'applied')
    rig.controllers.plan(1, [3])
    await rig.world.runUntil(() => rig.controllers.phase(1) === 'committed', 20_000)
    for (const node of ['s1', 's2', 's3']) rig.kill(node)
    rig.controllers.change(1, { fromConfirmed: true })
    await rig.runUntilSettled(1)
    expect(rig.controllers.phase(1)).toBe('given-back')
    expect(rig.target.record(3).state).toBe('absent')
  })

  it('does not begin while paused, makes no progress while paused, and goes on', async () => {
    const rig = new MoveRig(8)
    rig.controllers.plan(1, [3])
    rig.controllers.change(1, { paused: true })
    await rig.world.runFor(5000)
    expect(rig.target.steps).toEqual([])
    rig.controllers.change(1, { paused: false })
    await rig.world.runUntil(() => rig.target.steps.includes('import'), 5000)
    rig.controllers.change(1, { paused: true })
    await rig.world.runFor(90_000)
    expect(rig.controllers.phase(1)).toBe('copying')
    expect(reportsOf(rig, REPORT_CANNOT)).toBe(0)
    rig.controllers.change(1, { paused: false })
    await rig.runUntilSettled(1)
    expect(rig.controllers.phase(1)).toBe('done')
  })
})

describe('a move that cannot be', () => {
  it('cuts again where the cut is lost everywhere', async () => {
    const rig = new MoveRig(11)
    rig.source.fate = (kind) => {
      if (kind === 'export' && rig.source.migrations().length === 0) {
        rig.world.schedule(0, undefined, 'lose', () => {
          for (const replica of rig.source.replicas) replica.cuts.clear()
        })
      }
      return 'applied'
    }
    // The cut of an attempt is asked for only once the target's log names that attempt.
    const asked: (readonly [attempt: number, logged: number])[] = []
    rig.network.overhear((path, _, bytes) => {
      if (path === migrationMethods.export.path) asked.push([pb.v1.ExportRequest.decode(bytes).attempt, rig.target.record(3).attempt])
    })
    rig.controllers.plan(1, [3])
    await rig.runUntilSettled(1)
    expect(rig.controllers.phase(1)).toBe('done')
    expect(new Set(asked.map(([attempt]) => attempt))).toEqual(new Set([1, 2]))
    expect(asked.filter(([attempt, logged]) => attempt > logged)).toEqual([])
    expect(rig.target.steps.filter((step) => step === 'import')).toHaveLength(2)
    expect(rig.source.steps.filter((step) => step === 'export')).toHaveLength(2)
  })

  it('is aborted after a minute where every cut is lost: a cut is no progress', async () => {
    const rig = new MoveRig(32)
    rig.source.fate = (kind) => {
      if (kind === 'export') {
        rig.world.schedule(0, undefined, 'lose', () => {
          for (const replica of rig.source.replicas) replica.cuts.clear()
        })
      }
      return 'applied'
    }
    rig.controllers.plan(1, [3])
    await expectAbortedAfterAMinute(rig)
    expect(rig.source.steps.filter((step) => step === 'export').length).toBeGreaterThan(1)
    await rig.runUntilSettled(1)
    expectStayed(rig, [3])
  })

  it('goes on without a replica of the target that never fetches the files, however long the copy took', async () => {
    const rig = new MoveRig(33)
    for (const replica of rig.source.replicas) replica.isMaking = true
    for (const replica of rig.target.replicas) replica.stageMs = 1000
    rig.deafen('t3')
    rig.controllers.plan(1, [3])
    await rig.world.runFor(45_000)
    for (const replica of rig.source.replicas) replica.isMaking = false
    await rig.world.runUntil(() => rig.controllers.phase(1) !== 'copying', 120_000)
    expect(rig.controllers.phase(1)).toBe('committed')
    // The others were given time.
    expect(rig.world.nowMs).toBeGreaterThan(100_000)
  })

  it('is refused for good where copies differ, and the source serves on', async () => {
    const rig = new MoveRig(12)
    for (const replica of rig.target.replicas.slice(0, 1)) replica.wrongDigest = true
    rig.controllers.plan(1, [3, 5])
    await rig.runUntilSettled(1)
    expect(rig.controllers.phase(1)).toBe('aborted')
    expect(reportsOf(rig, REPORT_REFUSED)).toBe(1)
    expectStayed(rig, [3, 5])
  })

  it('is aborted after a minute in which a source that is there gave nothing', async () => {
    const rig = new MoveRig(13)
    rig.source.fate = (kind) => (kind === 'export' ? 'lost' : 'applied')
    rig.controllers.plan(1, [3])
    await expectAbortedAfterAMinute(rig)
    const asked = rig.controllers.reports.filter(({ kind }) => kind === REPORT_CANNOT)
    expect(asked.map(({ reason }) => reason)).toEqual(['no progress for 60 s: export of migration 1: leadership was lost'])
    await rig.runUntilSettled(1)
    expectStayed(rig, [3])
  })

  it('is aborted after a minute in which a source that is there was still making its export', async () => {
    const rig = new MoveRig(21)
    for (const replica of rig.source.replicas) replica.isMaking = true
    rig.controllers.plan(1, [3])
    await expectAbortedAfterAMinute(rig)
    await rig.runUntilSettled(1)
    expectStayed(rig, [3])
  })

  it('is not aborted by a leader of the target that slept for more than a minute, while another one drove', async () => {
    const rig = new MoveRig(38)
    const writes = load(rig, 1000)
    const [sleeper, ...others] = rig.target.replicas
    // They get on with verifying what came, and nobody tells the sleeper.
    for (const replica of rig.target.replicas) replica.stageMs = 300_000
    for (const replica of others) replica.workRate = 1e6
    rig.controllers.plan(1, [3])
    await rig.world.runUntil(() => rig.source.steps.includes('export'), 20_000)
    await rig.world.runFor(5000)
    for (const other of ['t2', 't3']) rig.network.cutBoth('t1', other, 'stall')
    rig.machine('t1').process.pause(90_000, 'running')
    if (sleeper !== undefined) sleeper.isDeposed = true
    rig.lead(rig.target, 't2')
    await rig.world.runFor(95_000)
    expect(rig.machine('t1').process.paused).toBe(false)
    expect(rig.controllers.phase(1)).toBe('copying')
    // It learns only later of the other one, however long it takes.
    await rig.world.runFor(120_000)
    expect(reportsOf(rig, REPORT_CANNOT)).toBe(0)
    if (sleeper !== undefined) sleeper.isDeposed = false
    rig.network.heal()
    rig.lead(rig.target, 't2')
    await rig.runUntilSettled(1, 400_000)
    writes.stop()
    expectMoved(rig, [3], writes.acknowledged)
  })

  it('has a whole minute again where all of the target slept: nobody was there to see the source give anything', async () => {
    const rig = new MoveRig(39)
    for (const replica of rig.source.replicas) replica.isMaking = true
    rig.controllers.plan(1, [3])
    await rig.world.runUntil(() => rig.source.steps.includes('export'), 20_000)
    await rig.world.runFor(5000)
    for (const node of ['t1', 't2', 't3']) rig.machine(node).process.pause(90_000, 'running')
    await rig.world.runFor(140_000)
    expect(reportsOf(rig, REPORT_CANNOT)).toBe(0)
    await rig.world.runUntil(() => rig.controllers.phase(1) === 'aborted', 30_000)
    expect(rig.controllers.reports.filter(({ kind }) => kind === REPORT_CANNOT)).toHaveLength(1)
  })

  it('is not committed by the word of who believes to lead the target and does not', async () => {
    const rig = new MoveRig(40)
    const [first] = rig.target.replicas
    rig.target.fate = (kind) => {
      if (kind === 'ingest' && first !== undefined) rig.world.schedule(0, undefined, 'depose', () => (first.isDeposed = true))
      return 'applied'
    }
    rig.controllers.plan(1, [3])
    await rig.world.runUntil(() => rig.target.steps.includes('ingest'), 20_000)
    await rig.world.runFor(5000)
    expect(reportsOf(rig, REPORT_READY)).toBe(0)
    rig.lead(rig.target, 't2')
    await rig.runUntilSettled(1)
    expectMoved(rig, [3], [])
  })

  it('goes on for as long as the source gets on with making its export', async () => {
    const rig = new MoveRig(34)
    for (const replica of rig.source.replicas) replica.isMaking = true
    const [, second] = rig.source.replicas
    if (second !== undefined) second.workRate = 1e6
    rig.controllers.plan(1, [3])
    await rig.world.runFor(300_000)
    expect(rig.controllers.phase(1)).toBe('copying')
    for (const replica of rig.source.replicas) replica.isMaking = false
    await rig.runUntilSettled(1)
    expectMoved(rig, [3], [])
  })

  it('goes on for as long as the target gets on with verifying what came', async () => {
    const rig = new MoveRig(35)
    for (const replica of rig.target.replicas) {
      replica.stageMs = 300_000
      replica.workRate = 1e6
    }
    rig.controllers.plan(1, [3])
    await rig.runUntilSettled(1, 400_000)
    expectMoved(rig, [3], [])
    expect(rig.source.steps).toEqual(['export', 'release', 'outcome'])
    expect(rig.world.nowMs).toBeGreaterThan(300_000)
  })

  it('is aborted after a minute in which nothing that came was verified', async () => {
    const rig = new MoveRig(36)
    for (const replica of rig.target.replicas) replica.stageMs = 300_000
    rig.controllers.plan(1, [3])
    await expectAbortedAfterAMinute(rig)
  })

  it('is aborted where its export is made and lost again and again', async () => {
    const rig = new MoveRig(37)
    for (const replica of rig.source.replicas) replica.workRate = 1e6
    const making = (isMaking: boolean) => {
      for (const replica of rig.source.replicas) replica.isMaking = isMaking
    }
    rig.source.fate = (kind) => {
      if (kind === 'export') {
        making(true)
        rig.world.schedule(40_000, undefined, 'lose', () => {
          for (const replica of rig.source.replicas) replica.cuts.clear()
          making(false)
        })
      }
      return 'applied'
    }
    rig.controllers.plan(1, [3])
    await rig.world.runUntil(() => rig.controllers.phase(1) === 'aborted', 400_000)
    expect(rig.source.steps.filter((step) => step === 'export').length).toBeGreaterThan(3)
    expect(rig.controllers.reports.filter(({ kind }) => kind === REPORT_CANNOT)).toHaveLength(1)
  })

  it('is aborted after a minute also where one replica of the source is away: the others are there', async () => {
    const rig = new MoveRig(28)
    for (const replica of rig.source.replicas) replica.isMaking = true
    rig.kill('s3')
    rig.controllers.plan(1, [3])
    await expectAbortedAfterAMinute(rig)
  })

  it('waits where two of three replicas of the source are away, though the third one answers', async () => {
    const rig = new MoveRig(29)
    for (const replica of rig.source.replicas) replica.isMaking = true
    rig.controllers.plan(1, [3])
    await rig.world.runUntil(() => rig.source.steps.includes('export'), 20_000)
    for (const node of ['s2', 's3']) rig.kill(node)
    await rig.world.runFor(300_000)
    expect(rig.controllers.phase(1)).toBe('copying')
    for (const replica of rig.source.replicas) replica.isMaking = false
    for (const node of ['s2', 's3']) rig.restart(node)
    await rig.runUntilSettled(1)
    expectMoved(rig, [3], [])
  })

  it('takes no place for long where most of its source cannot be reached, and the rest says nothing', async () => {
    const rig = new MoveRig(33)
    // So that there are connections: on these nobody says that there is no answer.
    rig.controllers.plan(7, [4])
    await rig.runUntilSettled(7)
    for (const node of ['s2', 's3']) rig.kill(node)
    for (const node of ['t1', 't2', 't3']) rig.network.cutBoth(node, 's1', 'stall')
    for (const [i, shard] of [3, 5, 6].entries()) rig.controllers.plan(8 + i, [shard])
    const importing = () => rig.target.migrations().filter(({ state }) => state === 'importing').length
    await rig.world.runUntil(() => importing() === 2, 5000)
    const startMs = rig.world.nowMs
    await rig.world.runUntil(() => importing() === 3, 60_000)
    expect(rig.world.nowMs - startMs).toBeLessThan(3000)
  })

  it('is refused where the disk of a replica of the target is full while it copies, and says which', async () => {
    const rig = new MoveRig(30)
    rig.machine('t2').process.disk.inject = ({ kind, path }) => (kind === 'write' && path.includes('records') ? 'ENOSPC' : undefined)
    rig.controllers.plan(1, [3])
    await rig.runUntilSettled(1)
    expect(rig.controllers.phase(1)).toBe('aborted')
    const refused = rig.controllers.reports.filter(({ kind }) => kind === REPORT_REFUSED)
    expect(refused.map(({ reason }) => reason)).toEqual(['the disk of t2 is full'])
    expect(rig.target.steps).not.toContain('ingest')
    expect(rig.failures).toEqual([])
    expectStayed(rig, [3])
  })

  it('tells what it waits for: a place, its source, another try', async () => {
    const rig = new MoveRig(31)
    const waits = () =>
      rig
        .machine('t1')
        .migrations.progressOf('g2@1')
        .map(({ waitsFor }) => waitsFor ?? '')
        .sort()
    let isLost = true
    rig.target.fate = (kind) => (kind === 'import' && isLost ? 'lost' : 'applied')
    for (const replica of rig.source.replicas) replica.isMaking = true
    for (const [i, shard] of [3, 5, 6].entries()) rig.controllers.plan(i + 1, [shard])
    await rig.world.runUntil(() => waits().includes('another try: import of migration 1: leadership was lost'), 10_000)
    isLost = false
    await rig.world.runUntil(() => waits().join() === ',,a free place (--max-migrations)', 10_000)
    for (const node of ['s1', 's2', 's3']) rig.kill(node)
    await rig.world.runUntil(() => waits().every((what) => what === 'its source, which is away'), 60_000)
    for (const replica of rig.source.replicas) replica.isMaking = false
    for (const node of ['s1', 's2', 's3']) rig.restart(node)
    for (const id of [1, 2, 3]) await rig.runUntilSettled(id)
    expect([3, 5, 6].map((shard) => rig.target.record(shard).state)).toEqual(['serving', 'serving', 'serving'])
  })

  it('is refused where a replica of the target has no room for it, and says which', async () => {
    const rig = new MoveRig(20)
    const writes = load(rig, 3)
    await rig.world.runFor(50)
    rig.room.set('t3', 10)
    rig.controllers.plan(1, [3])
    await rig.runUntilSettled(1)
    writes.stop()
    expect(rig.controllers.phase(1)).toBe('aborted')
    const refused = rig.controllers.reports.filter(({ kind }) => kind === REPORT_REFUSED)
    expect(refused).toMatchObject([{ noRoom: true, reason: expect.stringMatching(/^t3 has no room for the [1-9]\d* bytes of the copy$/) }])
    expect(rig.target.steps).not.toContain('ingest')
    expectStayed(rig, [3])
    rig.room.delete('t3')
    rig.controllers.plan(2, [3])
    await rig.runUntilSettled(2)
    expectMoved(rig, [3], writes.acknowledged)
  })

  for (const kind of ['import', 'export', 'ingest', 'replay']) {
    it(`ends where the controllers abort it at ${kind}, and the source never stops serving`, async () => {
      const rig = new MoveRig(14)
      const writes = load(rig, 3)
      let aborted = false
      for (const group of [rig.source, rig.target]) {
        group.fate = (step) => {
          if (step === kind && !aborted) {
            aborted = true
            rig.controllers.change(1, { phase: 'aborted' })
          }
          return 'applied'
        }
      }
      rig.controllers.plan(1, [3, 5])
      await rig.runUntilSettled(1)
      await rig.world.runFor(100)
      writes.stop()
      expect(rig.source.data.get(3)).toEqual(writes.acknowledged)
      expectStayed(rig, [3, 5])
    })
  }

  it('is given back after the commit where the last replay is damaged', async () => {
    const rig = new MoveRig(15)
    rig.target.fate = (kind) => {
      if (kind === 'activate') rig.target.damage = true
      return 'applied'
    }
    rig.controllers.plan(1, [3])
    await rig.runUntilSettled(1)
    expect(rig.controllers.phase(1)).toBe('given-back')
    expectStayed(rig, [3])
    expect(rig.source.record(3).epoch).toBe(3)
  })

  it('asks about an import that comes long after its end, and drops it', async () => {
    const rig = new MoveRig(16)
    rig.controllers.plan(1, [3])
    rig.controllers.change(1, { phase: 'aborted', fromConfirmed: true, toConfirmed: true })
    rig.controllers.byId.delete(1)
    const step = { kind: 'import' as const, id: 1, shards: [3], attempt: 1, from: 'g1@1' }
    const { encodeMigration } = await import('../../../shardserver/entry.ts')
    rig.target.apply(encodeMigration(0, step))
    expect(rig.target.record(3).state).toBe('importing')
    await rig.world.runUntil(() => rig.target.record(3).state === 'absent', 20_000)
  })

  it('confirms the end of one that it never took part in', async () => {
    const rig = new MoveRig(17)
    rig.controllers.plan(1, [3])
    rig.controllers.change(1, { phase: 'aborted' })
    await rig.runUntilSettled(1)
    expect(rig.source.steps).toEqual([])
    expect(rig.target.steps).toEqual([])
  })

  it('confirms no end while no round confirms that it leads: its log may hold what it has not applied', async () => {
    const rig = new MoveRig(19)
    const [leader] = rig.target.replicas
    if (leader !== undefined) leader.isDeposed = true
    rig.controllers.plan(1, [3])
    rig.controllers.change(1, { phase: 'aborted' })
    await rig.world.runUntil(() => reportsOf(rig, REPORT_CLEAN, source) > 0, 20_000)
    await rig.world.runFor(5000)
    expect(reportsOf(rig, REPORT_CLEAN, target)).toBe(0)
    rig.lead(rig.target, 't2')
    await rig.runUntilSettled(1)
    expect(reportsOf(rig, REPORT_CLEAN, target)).toBeGreaterThan(0)
  })

  it('is answered with refusals where a caller is of another cluster, or not shown the commit', async () => {
    const rig = new MoveRig(18)
    rig.controllers.plan(1, [3])
    rig.controllers.change(1, { paused: true })
    const naming = { group: 'g1@1', migration: 1, shards: [3] }
    const ask = (node: string, clusterId: Uint8Array) =>
      rig.release(node, new pb.v1.ReleaseRequest({ ...naming, clusterId, configNumber: 9 }))
    expect(await ask('s1', new Uint8Array(16))).toBe('FAILED_PRECONDITION')
    expect(await ask('s1', new Uint8Array(16).fill(7))).toBe('FAILED_PRECONDITION')
    expect(await ask('s2', new Uint8Array(16).fill(7))).toBe('NOT_LEADER')
    expect(await ask('t1', new Uint8Array(16).fill(7))).toBe('NOT_FOUND')
    expect(rig.source.steps).toEqual([])
  })
})

describe('births above epoch 1', () => {
  it('are made by the controllers order only, once, and confirmed', async () => {
    const rig = new MoveRig(21)
    rig.controllers.births = [{ shard: 9, group: 'g2@1', epoch: 4 }]
    rig.controllers.onChange()
    await rig.world.runUntil(() => rig.controllers.births.length === 0, 20_000)
    expect(rig.target.record(9)).toMatchObject({ state: 'serving', epoch: 4 })
    expect(rig.target.steps).toEqual(['rebirth'])
    expect(rig.source.record(9).state).toBe('unborn')
  })

  it('of many shards take a few rounds of the log together, and one that is lost keeps none of the others', async () => {
    const rig = new MoveRig(22)
    rig.target.applyMs = 20
    let proposals = 0
    rig.target.fate = () => (++proposals === 300 ? 'lost' : 'applied')
    const shards = Array.from({ length: 600 }, (_, at) => 100 + at)
    rig.controllers.births = shards.map((shard) => ({ shard, group: 'g2@1', epoch: 2 }))
    const beganMs = rig.world.nowMs
    rig.controllers.onChange()
    await rig.world.runUntil(() => rig.controllers.births.length === 0, 60_000)
    expect(shards.every((shard) => rig.target.record(shard).state === 'serving')).toBe(true)
    expect(proposals).toBe(601)
    // One after the other they took 12 s; what was lost is looked at again within half a second.
    expect(rig.world.nowMs - beganMs).toBeLessThan(1500)
  })
})
