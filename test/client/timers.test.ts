import { describe, expect, it } from 'vitest'
import { Timers } from '../../client/timers.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'

describe('the timers of a client', () => {
  it('fire until they are closed, and none starts behind that', async () => {
    const world = new World({ seed: 1 })
    const { clock } = new SimProcess(world, { name: 'app', network: new SimNetwork(world) })
    const timers = new Timers(clock)
    const fired: string[] = []
    timers.after(10, () => fired.push('early'))
    timers.after(20, () => fired.push('late'))
    await world.runFor(15)
    timers.close()
    timers.after(1, () => fired.push('never'))
    await world.runFor(100)
    expect(fired).toEqual(['early'])
  })
})
