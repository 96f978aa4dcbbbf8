/** Replicas that come, go and are replaced, and a controller that is, over real processes. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { jsonOf } from './expectations.ts'
import { bin, freeBasePort, Up } from './up.ts'

let up: Up
let controller: ChildProcess | undefined
beforeAll(async () => {
  const flags = ['--nodes', '4', '--groups', '1', '--replicas', '3', '--shards', '16', '--election-timeout-ms', '300', '--no-restart']
  up = await Up.start(flags)
  expect(await up.run(['put', 'kept', 'value'])).toMatchObject({ code: 0 })
})
afterAll(async () => {
  if (controller?.exitCode === null) {
    const exited = once(controller, 'exit')
    controller.kill('SIGKILL')
    await exited
  }
  await up?.dispose()
})

const run = (words: readonly string[]) => up.run(words)

async function members(): Promise<string[]> {
  const { groups } = (await jsonOf(run, ['admin', 'query'])) as { groups: { g1: { members: { id: string }[] } } }
  return groups.g1.members.map(({ id }) => id).sort()
}

async function done(...words: string[]): Promise<void> {
  expect(await up.run(['admin', ...words, '--wait', '--json'])).toMatchObject({ code: 0, stderr: '' })
  expect(await up.run(['get', 'kept'])).toMatchObject({ code: 0, stdout: 'value' })
}

async function untilDead(kind: 'nodes' | 'controllers', id: string): Promise<void> {
  for (;;) {
    const status = (await jsonOf(run, ['admin', 'status'])) as Record<typeof kind, { id: string; live: boolean }[]>
    if (status[kind].find((process) => process.id === id)?.live === false) return
  }
}

it('a replica is added and removed, a node begins anew, and one that is dead is replaced', async () => {
  expect(await members()).toEqual(['n1', 'n2', 'n3'])
  await done('add-replica', 'g1', 'n4')
  expect(await members()).toEqual(['n1', 'n2', 'n3', 'n4'])
  await done('remove-replica', 'g1', 'n1')
  expect(await members()).toEqual(['n2', 'n3', 'n4'])
  await done('replace-node', 'n3', 'n3')
  expect(await members()).toEqual(['n2', 'n3', 'n4'])
  const [n1, n2] = up.ready.nodes
  process.kill(n2?.pid ?? 0, 'SIGKILL')
  await untilDead('nodes', 'n2')
  expect(await up.run(['admin', 'remove-replica', 'g1', 'n3'])).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('no majority then'),
  })
  await done('replace-node', 'n2', `n1=${n1?.address}`)
  expect(await members()).toEqual(['n1', 'n3', 'n4'])
  expect(await up.run(['put', 'kept', 'value'])).toMatchObject({ code: 0 })
})

it('a controller that is dead is replaced, and its successor holds the cluster together when another one ends', async () => {
  type Controller = { id: string; address: string; pid: number }
  const { controllers } = (await jsonOf(run, ['admin', 'status'])) as { controllers: Controller[] }
  const [c1, c2, c3] = controllers
  process.kill(c2?.pid ?? 0, 'SIGKILL')
  await untilDead('controllers', 'c2')
  const address = `127.0.0.1:${(await freeBasePort()) + 45}`
  expect(await up.run(['admin', 'replace-node', 'c2', `c4=${address}`])).toMatchObject({ code: 0 })
  const peers = [c1, c3].map((one) => `${one?.id}=${one?.address}`).join(',')
  const flags = ['--id', 'c4', '--listen', address, '--peers', `${peers},c4=${address}`, '--data', join(up.data, 'c4'), '--shards', '16']
  controller = spawn(process.execPath, [bin, 'controller', ...flags, '--election-timeout-ms', '300', '--log-level', 'silent'], {
    stdio: 'ignore',
  })
  for (;;) {
    const status = (await jsonOf(run, ['admin', 'status'])) as { controllers: { id: string; state?: string; live: boolean }[] }
    const now = status.controllers.map(({ id, live, state }) => `${id} ${live} ${state ?? 'votes'}`)
    if (now.join() === 'c1 true votes,c3 true votes,c4 true votes') break
  }
  process.kill(c1?.pid ?? 0, 'SIGKILL')
  // Whose list of controllers names only c1, c2 and c3.
  expect(await up.run(['admin', 'status', '--timeout', '20'])).toMatchObject({ code: 0 })
  await done('remove-replica', 'g1', 'n4')
})
