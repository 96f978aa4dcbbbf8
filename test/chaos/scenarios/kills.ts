/** kill -9 of processes that `ostraka up` started, and starts again. */
import { setTimeout as delay } from 'node:timers/promises'
import type { SeededRandom } from '../../../base/random.ts'
import type { Up } from '../../../testing/up.ts'
import type { ClusterUnderLoad } from '../cluster-under-load.ts'
import type { Figures } from './stage.ts'

/** kill -9 of the leader of a random group, now and then of the controllers' leader, every few seconds. */
export async function leaders(load: ClusterUnderLoad, random: SeededRandom, seconds: number, everyMs: number): Promise<Figures> {
  const resumesMs: number[] = []
  const end = performance.now() + seconds * 1000
  let controllers = 0
  while (performance.now() < end) {
    await delay(everyMs)
    const status = await load.status()
    if (random.next() < 0.2) {
      const pid = status.controllers.find(({ role }) => role === 'leader')?.pid ?? 0
      if (pid > 0) process.kill(pid, 'SIGKILL')
      controllers++
      continue
    }
    const names = Object.keys(status.groups)
    const name = names[random.below(names.length)] ?? ''
    const node = status.nodes.find(({ id, live }) => live && id === status.groups[name]?.leader)
    if (node === undefined) continue
    const key = await keyOf(load, name)
    process.kill(node.pid, 'SIGKILL')
    const killedMs = performance.now()
    await load.client.put(key, 'probe')
    resumesMs.push(performance.now() - killedMs)
  }
  resumesMs.sort((a, b) => a - b)
  return {
    kills: resumesMs.length + controllers,
    ofControllers: controllers,
    resumeMedianMs: Math.round(resumesMs[Math.floor(resumesMs.length / 2)] ?? 0),
    resumeMaxMs: Math.round(resumesMs.at(-1) ?? 0),
  }
}

/** A key that no client of the workload uses, in a shard of `group`. */
async function keyOf(load: ClusterUnderLoad, group: string): Promise<string> {
  for (let i = 0; ; i++) {
    const key = `probe-${i}`
    if ((await load.client.explain(key)).group === group) return key
  }
}

/** kill -9 of every process at once, and a start on the same data. */
export async function everything(up: Up, rounds: number): Promise<Figures> {
  const readyMs: number[] = []
  for (let round = 0; round < rounds; round++) {
    await delay(3000)
    await up.killAll()
    const start = performance.now()
    await up.restart()
    readyMs.push(performance.now() - start)
  }
  await delay(1000)
  readyMs.sort((a, b) => a - b)
  return { rounds, readyMedianMs: Math.round(readyMs[Math.floor(readyMs.length / 2)] ?? 0), readyMaxMs: Math.round(readyMs.at(-1) ?? 0) }
}
