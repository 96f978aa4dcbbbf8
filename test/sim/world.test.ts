import { describe, expect, it } from 'vitest'
import { sleep } from '../../base/clock.ts'
import type { JobContext } from '../../base/executor.ts'
import { testJobs } from '../base/fixtures/jobs.ts'
import { SimNetwork } from './sim-network.ts'
import { SimProcess } from './sim-process.ts'
import { World } from './world.ts'

function makeProcess(world: World, options: Partial<ConstructorParameters<typeof SimProcess>[1]> = {}): SimProcess {
  return new SimProcess(world, { name: 'n1', network: new SimNetwork(world), ...options })
}

describe('World', () => {
  it('runs events by time, and those of one time in the order in which they were scheduled', async () => {
    const world = new World({ seed: 1 })
    const order: string[] = []
    for (const [delayMs, name] of [
      [5, 'd'],
      [1, 'a'],
      [5, 'e'],
      [3, 'b'],
      [3, 'c'],
    ] as const) {
      world.schedule(delayMs, undefined, name, () => order.push(`${name}@${world.nowMs}`))
    }
    world.schedule(2, undefined, 'cancelled', () => order.push('cancelled')).cancel()
    await world.runFor(10)
    expect(order).toEqual(['a@1', 'b@3', 'c@3', 'd@5', 'e@5'])
    expect(world.nowMs).toBe(10)
    expect(world.events).toBe(5)
  })

  it('sorts a thousand events as a plain sort does, seed 3', async () => {
    const world = new World({ seed: 3 })
    const ran: [number, number][] = []
    const times = Array.from({ length: 1000 }, (_, i) => [world.random.below(50), i] as [number, number])
    for (const [atMs, i] of times) world.schedule(atMs, undefined, 'x', () => ran.push([atMs, i]))
    await world.runFor(100)
    expect(ran).toEqual(times.toSorted((a, b) => a[0] - b[0] || a[1] - b[1]))
  })

  it('drains all microtasks between two events', async () => {
    const world = new World({ seed: 1 })
    const order: string[] = []
    world.schedule(1, undefined, 'first', () => {
      const chain = async () => {
        for (let i = 0; i < 50; i++) await undefined
        queueMicrotask(() => order.push('microtasks done'))
      }
      void chain()
    })
    world.schedule(1, undefined, 'second', () => order.push('second'))
    await world.runFor(2)
    expect(order).toEqual(['microtasks done', 'second'])
  })

  it('fails the run with seed and time when an event throws', async () => {
    const world = new World({ seed: 42 })
    world.schedule(3, undefined, 'bad', () => {
      throw new Error('broken')
    })
    await expect(world.runFor(10)).rejects.toThrow(/^seed 42, 3\.000 ms, event 1: Error: broken$/)
  })

  it('fails the run when a promise is rejected and nobody cares', async () => {
    const world = new World({ seed: 42 })
    world.schedule(3, undefined, 'bad', () => void Promise.reject(new Error('lonely')))
    await expect(world.runFor(10)).rejects.toThrow('lonely')
  })

  it('fails when what is waited for does not come, or no event is left', async () => {
    const world = new World({ seed: 1 })
    const tick = () => void world.schedule(1, undefined, 'tick', tick)
    tick()
    await expect(world.runUntil(() => false, 100)).rejects.toThrow('did not happen within 100 ms')
    await expect(new World({ seed: 1 }).settle(new Promise(() => {}))).rejects.toThrow('not settled')
    expect(await new World({ seed: 1 }).settle(Promise.resolve(5))).toBe(5)
    await expect(new World({ seed: 1 }).settle(Promise.reject(new Error('its own')))).rejects.toThrow('its own')
  })

  it('fails a loop that lets no time pass', async () => {
    const world = new World({ seed: 1 })
    const loop = () => void world.schedule(0, undefined, 'loop', loop)
    loop()
    await expect(world.runFor(1)).rejects.toThrow('time stands still: loop')
  }, 60_000)

  it('has the same trace for the same seed, and another for another', async () => {
    const trace = async (seed: number) => {
      const world = new World({ seed })
      const process = makeProcess(world)
      const step = async () => {
        const file = await process.fileSystem.open('f', 'create')
        for (let i = 0; i < 20; i++) {
          await file.write([process.random.bytes(100)], i * 100)
          await sleep(process.clock, process.random.next() * 10)
        }
        await file.sync()
      }
      await world.settle(step())
      return world.traceHash()
    }
    const first = await trace(1)
    expect(first).toMatch(/^[0-9a-f]{16}$/)
    expect(await trace(1)).toBe(first)
    const hashes = new Set<string>()
    for (let seed = 1; seed <= 50; seed++) hashes.add(await trace(seed))
    expect(hashes.size).toBe(50)
  })

  it('tells in its trace what happened and to whom, not only when', async () => {
    const trace = async (what: string, note: number) => {
      const world = new World({ seed: 1 })
      world.schedule(1, undefined, what, () => world.note(note))
      await world.runFor(2)
      return world.traceHash()
    }
    expect(await trace('a', 1)).toBe(await trace('a', 1))
    expect(new Set([await trace('a', 1), await trace('b', 1), await trace('a', 2)]).size).toBe(3)
  })
})

describe('SimProcess', () => {
  it('has a clock with an offset and a rate of its own', async () => {
    const world = new World({ seed: 1 })
    const fast = makeProcess(world, { clock: { rate: 2, monotonicOffsetMs: 500, wallOffsetMs: 9000 } })
    const right = makeProcess(world, { clock: { monotonicOffsetMs: 0 } })
    let firedMs = 0
    fast.clock.setTimer(100, () => {
      firedMs = world.nowMs
    })
    await world.runFor(1000)
    expect(firedMs).toBeCloseTo(50, 2)
    expect(fast.clock.monotonicMs()).toBe(2500)
    expect(right.clock.monotonicMs()).toBe(1000)
    expect(fast.clock.wallMs() - right.clock.wallMs()).toBe(10_000)
    right.clock.jumpWall(-5000)
    expect(fast.clock.wallMs() - right.clock.wallMs()).toBe(15_000)
  })

  it('never fires a timer before its own clock says so', async () => {
    const world = new World({ seed: 2 })
    const process = makeProcess(world, { clock: { rate: 1.000_07 } })
    let checked = 0
    for (let i = 0; i < 500; i++) {
      const delayMs = process.random.next() * 100
      const start = process.clock.monotonicMs()
      process.clock.setTimer(delayMs, () => {
        checked++
        expect(process.clock.monotonicMs() - start).toBeGreaterThanOrEqual(delayMs)
      })
      await world.runFor(0.3)
    }
    await world.runFor(200)
    expect(checked).toBe(500)
  })

  it('runs `soon` after what was already due', async () => {
    const world = new World({ seed: 1 })
    const process = makeProcess(world)
    const order: string[] = []
    process.schedule(1, 'turn', () => {
      process.clock.soon(() => order.push('soon 1'))
      process.clock.soon(() => order.push('soon 2'))
    })
    process.schedule(1, 'socket', () => order.push('socket'))
    await world.runFor(2)
    expect(order).toEqual(['socket', 'soon 1', 'soon 2'])
  })

  it('runs nothing after its death, and again in its next incarnation', async () => {
    const world = new World({ seed: 1 })
    const process = makeProcess(world)
    const fired: string[] = []
    process.clock.setTimer(10, () => fired.push('old'))
    let deaths = 0
    process.onDeath(() => deaths++)
    process.kill()
    process.kill()
    process.clock.setTimer(10, () => fired.push('set after death'))
    const next = process.restart()
    next.clock.setTimer(10, () => fired.push('new'))
    expect(() => next.restart()).toThrow('n1 lives')
    await world.runFor(100)
    expect(fired).toEqual(['new'])
    expect([deaths, process.alive, next.alive, next.incarnation, next.disk === process.disk]).toEqual([1, false, true, 2, true])
  })

  it('piles up while paused, goes on in order, and its clock stood still', async () => {
    const world = new World({ seed: 1 })
    const process = makeProcess(world, { clock: { monotonicOffsetMs: 0 } })
    const ran: string[] = []
    const note = (name: string) => () => ran.push(`${name}@${world.nowMs}/${process.clock.monotonicMs()}`)
    process.schedule(20, 'message 1', note('message 1'))
    process.schedule(15, 'message 0', note('message 0'))
    process.schedule(110, 'message 2', note('message 2'))
    process.clock.setTimer(50, note('timer'))
    await world.runFor(10)
    process.pause(100)
    expect(process.paused).toBe(true)
    await world.runFor(50)
    expect(process.clock.monotonicMs()).toBe(10)
    await world.runFor(200)
    expect(ran).toEqual(['message 0@110/10', 'message 1@110/10', 'message 2@110/10', 'timer@150/50'])
  })

  it('sees the time that it lost when only stopped', async () => {
    const world = new World({ seed: 1 })
    const process = makeProcess(world, { clock: { monotonicOffsetMs: 0 } })
    const ran: number[] = []
    process.clock.setTimer(50, () => ran.push(process.clock.monotonicMs()))
    process.pause(100, 'running')
    await world.runFor(200)
    expect(ran).toEqual([100])
  })

  it('collects log lines', () => {
    const world = new World({ seed: 1 })
    makeProcess(world).logger.child({ group: 'g1' }).warn({ index: 3 }, 'late')
    expect(world.logLines).toEqual([{ atMs: 0, process: 'n1', level: 'warn', fields: { group: 'g1', index: 3 }, message: 'late' }])
  })
})

describe('SimExecutor', () => {
  const jobs = {
    ...testJobs,
    mutate: async (input: { list: number[] }) => {
      input.list.push(2)
      return input.list
    },
    fail: async (_input: null, context: JobContext) => context.fileSystem.open('no', 'read'),
  }

  it('runs a job later, on copies of its input and output', async () => {
    const world = new World({ seed: 1 })
    const { executor } = makeProcess(world, { jobs })
    const list = [1]
    const output = await world.settle(executor.run<{ list: number[] }, number[]>('mutate', { list }))
    expect([list, output]).toEqual([[1], [1, 2]])
    expect(world.nowMs).toBeGreaterThan(0)
  })

  it('rejects with the job’s error, its code kept', async () => {
    const world = new World({ seed: 1 })
    const { executor } = makeProcess(world, { jobs })
    await expect(world.settle(executor.run('fail', null))).rejects.toMatchObject({ code: 'ENOENT' })
    await expect(world.settle(executor.run('none', null))).rejects.toThrow('no job is called none')
  })

  it('makes a long job pause, and lets time pass meanwhile', async () => {
    const world = new World({ seed: 1 })
    const { executor } = makeProcess(world, { jobs })
    expect(await world.settle(executor.run<{ steps: number }, number>('long', { steps: 200 }))).toBeGreaterThan(2)
  })

  it('never answers for a dead process', async () => {
    const world = new World({ seed: 1 })
    const process = makeProcess(world, { jobs })
    let answered = false
    process.executor.run('long', { steps: 10 }).then(() => {
      answered = true
    })
    process.kill()
    await world.runFor(100)
    expect(answered).toBe(false)
  })
})
