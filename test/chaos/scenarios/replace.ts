/** All replicas of a group are replaced, one by one, by the commands that people type, under load. */
import { type Figures, fail, type Stage } from './stage.ts'

const half = 3
/** How long one change may take, the copy included. */
const waitSeconds = '60'

/** The group is on n1 to n3; n4 to n6 hold nothing. There by replace-node, back by add-replica and remove-replica. */
export async function replace(stage: Stage, rounds: number): Promise<Figures> {
  const { cluster, prober } = stage
  const [group = ''] = cluster.groups
  const nodes = cluster.ready.nodes
  const startMs = performance.now()
  const tookMs: number[] = []
  const change = async (...parameters: string[]) => {
    const beginMs = performance.now()
    const { code, stdout, stderr } = await cluster.run(['admin', ...parameters, '--wait', '--timeout', waitSeconds])
    const ms = Math.round(performance.now() - beginMs)
    console.log(`  ${parameters.join(' ')}: ${ms} ms, ${(stdout || stderr).trim()}`)
    if (code !== 0) fail(`admin ${parameters.join(' ')} ended with ${code}`, { stderr })
    tookMs.push(ms)
    await cluster.healthy()
  }
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < half; i++) {
      const [old, spare] = [nodes[i], nodes[half + i]]
      await change('replace-node', old?.id ?? '', `${spare?.id}=${spare?.address}`)
    }
    for (let i = 0; i < half; i++) {
      const [old, spare] = [nodes[i], nodes[half + i]]
      await change('add-replica', group, old?.id ?? '')
      await change('remove-replica', group, spare?.id ?? '')
    }
  }
  const outage = prober.outageSince(group, startMs)
  const holders = [...((await cluster.replicas()).get(group)?.keys() ?? [])].sort()
  const figures = { changes: tookMs.length, longestMs: Math.max(...tookMs), silenceMaxMs: Math.round(outage?.silenceMs ?? 0), holders }
  const wanted = nodes.slice(0, half).map(({ id }) => id)
  if (holders.join() !== wanted.join()) fail(`${group} is held by ${holders}, not by ${wanted}`, figures)
  return figures
}
