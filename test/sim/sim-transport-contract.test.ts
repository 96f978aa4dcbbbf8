import { afterAll } from 'vitest'
import { transportContract } from '../base/transport-contract.ts'
import { SimNetwork } from './sim-network.ts'
import { SimProcess } from './sim-process.ts'
import { World } from './world.ts'

const world = new World({ seed: 1 })
const process = new SimProcess(world, { name: 'n1', network: new SimNetwork(world) })

/** The contract waits in real time: let virtual time run beside it, at about its pace. */
let running = true
const pump = async () => {
  while (running) {
    await world.runFor(1)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}
const pumped = pump()
afterAll(async () => {
  running = false
  await pumped
})

transportContract('simulated', () => ({
  transport: process.transport,
  listenAddress: 'n1:0',
  deadAddress: async () => 'nobody:1',
}))
