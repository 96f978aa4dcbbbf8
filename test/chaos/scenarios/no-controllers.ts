/** All controllers are killed under load, and come back much later: nodes and clients go on by the config that they have. */
import { setTimeout as delay } from 'node:timers/promises'
import { type Figures, fail, type Stage } from './stage.ts'

/** Without controllers a group may be away at most as long as an election takes, and that only where its leader is killed, in election timeouts. */
const silenceTimeoutsMax = 5

/**
 * For `seconds` there is no controller. Half of that time later a node that leads is killed as well: the others elect new leaders by themselves, and clients
 * find them. In the end the controllers are started, and only then that node, which has to register with them.
 */
export async function noControllers({ cluster, prober }: Stage, seconds: number): Promise<Figures> {
  const { electionTimeoutMs } = cluster.options
  await delay(2000)
  const group = cluster.groups[0] ?? ''
  const fromMs = performance.now()
  await Promise.all(cluster.controllers.map((controller) => controller.kill()))
  await delay((seconds * 1000) / 2)
  const calmMs = await longestSilenceMs()
  const victim = (await cluster.leaders()).get(group) ?? fail(`nobody leads ${group}`, {})
  await cluster.process(victim).kill()
  await delay((seconds * 1000) / 2)
  const silenceMs = await longestSilenceMs()
  const heir = (await cluster.leaders()).get(group)
  if (heir === undefined || heir === victim) fail(`${group} is led by ${heir} after the kill of ${victim}`, {})
  const answering = await cluster.run(['admin', 'query', '--timeout', '1'])
  if (answering.code === 0) fail('a controller answers although all were killed', {})
  await Promise.all(cluster.controllers.map((controller) => controller.start()))
  await cluster.process(victim).start()
  await cluster.healthy()
  const changed = await cluster.run(['admin', 'move', '0', cluster.groups.at(-1) ?? '', '--wait'])
  if (changed.code !== 0) fail(`a move after the controllers are back: ${changed.stderr}`, {})
  const figures = { withoutControllersS: seconds, longestSilenceMs: Math.round(calmMs), withAKillMs: Math.round(silenceMs) }
  if (calmMs > electionTimeoutMs) fail(`writes were away for ${Math.round(calmMs)} ms although nothing but controllers was gone`, figures)
  if (silenceMs > silenceTimeoutsMax * electionTimeoutMs) fail(`writes were away for ${Math.round(silenceMs)} ms`, figures)
  return figures

  /** Of any group, since the controllers were killed until one more write to each is acknowledged. */
  async function longestSilenceMs(): Promise<number> {
    const nowMs = performance.now()
    await Promise.all(cluster.groups.map((name) => prober.resumed(name, nowMs, 2 * silenceTimeoutsMax * electionTimeoutMs)))
    return Math.max(...cluster.groups.map((name) => prober.outageSince(name, fromMs)?.silenceMs ?? Number.POSITIVE_INFINITY))
  }
}
