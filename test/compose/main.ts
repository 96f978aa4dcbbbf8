#!/usr/bin/env node
/**
 * The image and `docker-compose.yml` on a real engine: npm run test:compose [-- --keep-image | --only-build]
 *
 * The steps build on each other; after one that failed the rest is not tried, and everything is removed all the same. Without an engine all
 * are skipped. `--keep-image` leaves the image for the next run; `--only-build` builds it for that, and no more.
 */
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { AcknowledgedWrites } from './acknowledged-writes.ts'
import { Compose, container, controllers, image, nodes, until } from './compose.ts'

const IMAGE_BYTES_MAX = 350_000_000
const WRITERS = 8
/** The addresses that docker-compose.yml publishes, and the command line takes when it is told none. */
const published = ['127.0.0.1:7400', '127.0.0.1:7401', '127.0.0.1:7402']

type Figures = Readonly<Record<string, number | string>>

interface Step {
  readonly name: string
  readonly run: (run: Run) => Promise<Figures | undefined>
}

class Run {
  readonly compose: Compose
  #writes: AcknowledgedWrites | undefined

  constructor(compose: Compose) {
    this.compose = compose
  }

  get writes(): AcknowledgedWrites {
    assert(this.#writes !== undefined, 'no writes yet')
    return this.#writes
  }

  async startWrites(): Promise<void> {
    this.#writes = await AcknowledgedWrites.start(published, WRITERS)
  }

  async stopWrites(): Promise<void> {
    await this.#writes?.stop()
  }
}

async function imageIsSmall({ compose }: Run): Promise<Figures> {
  await compose.build()
  const [size, user] = (await compose.docker('image', 'inspect', '--format', '{{.Size}} {{.Config.User}}', image)).trim().split(' ')
  assert(Number(size) < IMAGE_BYTES_MAX, `the image has ${size} bytes`)
  assert.equal(user, 'ostraka')
  return { imageMegabytes: Math.round(Number(size) / 1e6) }
}

async function upIsHealthy({ compose }: Run): Promise<Figures> {
  const startMs = performance.now()
  await compose.up()
  const upSeconds = Math.round((performance.now() - startMs) / 1000)
  const status = await compose.status()
  assert.deepEqual(status.controllers.map(({ id, address, live }) => `${id} ${address} ${live}`).sort(), [
    'c1 127.0.0.1:7400 true',
    'c2 127.0.0.1:7401 true',
    'c3 127.0.0.1:7402 true',
  ])
  const expected = nodes.map((id, at) => `${id} 127.0.0.1:${7410 + at} true`)
  assert.deepEqual(status.nodes.map(({ id, address, live }) => `${id} ${address} ${live}`).sort(), expected)
  assert.deepEqual(Object.keys(status.groups).sort(), ['g1', 'g2'])
  assert.deepEqual(
    Object.values(status.groups).map(({ shards }) => shards),
    [128, 128],
  )
  assert.match(status.groups.g1?.leader ?? '', /^n[123]$/)
  assert.match(status.groups.g2?.leader ?? '', /^n[456]$/)
  assert.match(await compose.docker('exec', container('n1'), 'id', '-u'), /^[1-9]\d+$/m, 'runs as root')
  const ready = await fetch('http://127.0.0.1:7430/readyz')
  assert.equal(ready.status, 200)
  return { upSeconds }
}

/** Keys of both groups, written on one side and read on the other. */
async function bothSidesRoute({ compose }: Run): Promise<undefined> {
  const groups = new Set<string>()
  for (let i = 0; i < 8; i++) {
    const put = await compose.host('put', `host-${i}`, `from the host ${i}`)
    assert.equal(put.code, 0, put.stderr)
    assert.equal(await compose.exec(i % 2 === 0 ? 'n1' : 'c2', 'get', `host-${i}`), `from the host ${i}`)
    groups.add((JSON.parse((await compose.host('explain', `host-${i}`, '--json')).stdout) as { group: string }).group)
  }
  assert.deepEqual([...groups].sort(), ['g1', 'g2'])
  await compose.exec('n6', 'put', 'container', 'from a container')
  assert.equal((await compose.host('get', 'container')).stdout, 'from a container')
  assert.equal(await compose.exec('c1', 'get', 'container'), 'from a container')
  const status = JSON.parse(await compose.exec('n1', 'admin', 'status', '--json')) as { nodes: { id: string; address: string }[] }
  assert.equal(status.nodes.find(({ id }) => id === 'n5')?.address, 'server-5:7400')
  return undefined
}

async function survivesLeader(run: Run): Promise<Figures> {
  const { compose } = run
  await run.startWrites()
  const { writes } = run
  await until('writes before the kill', 30_000, async () => (writes.count > 200 ? true : undefined))
  const victim = (await compose.status()).groups.g1?.leader ?? ''
  writes.takeSlowestMs()
  await compose.docker('kill', container(victim))
  await Promise.all([writes.probe('g1'), writes.probe('g2')])
  const before = writes.count
  await until('writes after the kill', 30_000, async () => (writes.count > before + 200 ? true : undefined))
  const slowestPutMs = writes.takeSlowestMs()
  // Clients inside route anew as well.
  const inside = nodes.find((id) => id !== victim) ?? ''
  assert.equal(await compose.exec(inside, 'get', 'host-0'), 'from the host 0')
  await until(`another leader than ${victim}`, 30_000, async () => {
    const { leader = '' } = (await compose.status()).groups.g1 ?? {}
    return leader !== victim && leader !== '' ? true : undefined
  })
  await compose.docker('start', container(victim))
  await compose.healthy(victim)
  assert.deepEqual(writes.failures, [])
  return { killedLeader: victim, slowestPutMs }
}

async function survivesController(run: Run): Promise<Figures> {
  const { compose, writes } = run
  const leader = (await compose.status()).controllers.find(({ role }) => role === 'leader')?.id ?? ''
  const before = writes.count
  await compose.docker('kill', container(leader))
  const startMs = performance.now()
  await until('another leader of the controllers', 30_000, async () => {
    const now = (await compose.status()).controllers.find(({ role, live }) => role === 'leader' && live)?.id
    return now !== undefined && now !== leader ? true : undefined
  })
  const controllersResumeMs = Math.round(performance.now() - startMs)
  await until('writes after the kill', 30_000, async () => (writes.count > before + 200 ? true : undefined))
  await compose.docker('start', container(leader))
  await compose.healthy(leader)
  return { killedController: leader, controllersResumeMs }
}

/** Ends the load. Nothing that was acknowledged is missing, no call failed, and who was killed has caught up with the others. */
async function nothingIsLost(run: Run): Promise<Figures> {
  const { compose, writes } = run
  await delay(1000)
  await run.stopWrites()
  assert.deepEqual(writes.failures, [])
  assert.deepEqual(await writes.missing(published), [])
  for (const [group, members] of Object.entries({ g1: nodes.slice(0, 3), g2: nodes.slice(3) })) {
    await until(`equal replicas of ${group}`, 60_000, async () => {
      const seen = new Set(await Promise.all(members.map((id) => replicaState(compose, id, group))))
      return seen.size === 1 ? true : undefined
    })
  }
  return { acknowledged: writes.count }
}

async function replicaState(compose: Compose, id: string, group: string): Promise<string> {
  const { code, stdout, stderr } = await compose.host('admin', 'status', id, '--hash', '--json')
  assert.equal(code, 0, stderr)
  const { groups } = JSON.parse(stdout) as { groups: Record<string, { applied: number; stateHash: string }> }
  assert(groups[group]?.stateHash, `${id} tells no hash of ${group}`)
  return `${groups[group].applied} ${groups[group].stateHash}`
}

async function volumesKeepTheData({ compose, writes }: Run): Promise<Figures> {
  const { configNumber } = await compose.status()
  const volumes = await compose.volumes()
  const startMs = performance.now()
  const codes = await compose.stop()
  const stopSeconds = Math.round((performance.now() - startMs) / 1000)
  assert.deepEqual(new Set(Object.values(codes)), new Set([0]), `not all ended by themselves: ${JSON.stringify(codes)}`)
  await compose.down()
  assert.deepEqual(await compose.volumes(), volumes, 'volumes after down')
  const againMs = performance.now()
  await compose.up()
  const upAgainSeconds = Math.round((performance.now() - againMs) / 1000)
  assert.deepEqual(await writes.missing(published), [])
  assert.equal((await compose.host('get', 'container')).stdout, 'from a container')
  assert.equal((await compose.status()).configNumber, configNumber, 'the second bootstrap changed the config')
  return { stopSeconds, upAgainSeconds }
}

const steps: readonly Step[] = [
  { name: 'the image is small and does not run as root', run: imageIsSmall },
  { name: 'up comes to healthy, two groups share the shards', run: upIsHealthy },
  { name: 'put and get route from the host and from containers', run: bothSidesRoute },
  { name: "docker kill of a group leader's container is survived under load", run: survivesLeader },
  { name: "docker kill of the controllers' leader is survived under load", run: survivesController },
  { name: 'every acknowledged write is there, replicas are equal', run: nothingIsLost },
  { name: 'all end by themselves on SIGTERM; down and up keep the data', run: volumesKeepTheData },
]
const cleanUp = 'everything is removed'

/** Runs the steps; returns how many passed. Stops at the first that fails. */
async function runSteps(run: Run, figures: Record<string, number | string>): Promise<number> {
  for (const [at, { name, run: step }] of steps.entries()) {
    const startMs = performance.now()
    try {
      Object.assign(figures, await step(run))
    } catch (error) {
      console.log(`FAILED ${name}: ${error instanceof Error ? error.message : String(error)}`)
      await tellLogs(run.compose)
      return at
    }
    console.log(`ok     ${name} (${Math.round((performance.now() - startMs) / 1000)} s)`)
  }
  return steps.length
}

async function tellLogs(compose: Compose): Promise<void> {
  console.log(await compose.docker('ps', '-a', '--format', '{{.Names}}: {{.Status}}').catch(String))
  for (const id of [...controllers, ...nodes]) {
    console.log(`-- ${id}\n${await compose.docker('logs', '--tail', '8', container(id)).catch(String)}`)
  }
}

async function removed(compose: Compose, keepImage: boolean): Promise<boolean> {
  try {
    await compose.remove(keepImage)
    const left = (await compose.leftovers()).filter((line) => !(keepImage && line.startsWith('image ')))
    assert.deepEqual(left, [])
    console.log(`ok     ${cleanUp}`)
    return true
  } catch (error) {
    console.log(`FAILED ${cleanUp}: ${error instanceof Error ? error.message : String(error)}`)
    return false
  }
}

async function onlyBuild(): Promise<number> {
  const compose = await Compose.find()
  if (typeof compose === 'string') console.log(`skipped: ${compose}`)
  else await compose.build()
  return 0
}

async function main(keepImage: boolean): Promise<number> {
  const compose = await Compose.find()
  if (typeof compose === 'string') {
    for (const name of [...steps.map((step) => step.name), cleanUp]) console.log(`skipped ${name}: ${compose}`)
    console.log(`0 passed, 0 failed, ${steps.length + 1} skipped`)
    return 0
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      compose.removeNow()
      process.exit(1)
    })
  }
  // A run that was killed may have left its containers.
  await compose.remove(true)
  const figures: Record<string, number | string> = { versions: compose.versions }
  const startMs = performance.now()
  const run = new Run(compose)
  const done = await runSteps(run, figures)
  await run.stopWrites().catch(() => {})
  const clean = await removed(compose, keepImage)
  figures.seconds = Math.round((performance.now() - startMs) / 1000)
  const passed = done + (clean ? 1 : 0)
  const failed = (done < steps.length ? 1 : 0) + (clean ? 0 : 1)
  const skipped = steps.length + 1 - passed - failed
  console.log(JSON.stringify(figures))
  console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
  return failed === 0 ? 0 : 1
}

process.exit(await (process.argv.includes('--only-build') ? onlyBuild() : main(process.argv.includes('--keep-image'))))
