/** Whether a power cut shows what was acknowledged too early: disks whose syncs do nothing, then a power cut of all, and a loss that must be seen. */
import { setTimeout as delay } from 'node:timers/promises'
import { startAll } from '../faults/process-faults.ts'
import { Interrupted } from '../interrupt.ts'
import { type Figures, fail, onStage, type Stage, type StageOptions } from './stage.ts'

/** What clients and checks say of a lost write: a history without an order, a value that is not read back, a key that a scan misses, … */
const loss = /not linearizable|was acknowledged|there throughout|half a batch|out of order|was gone|was not there/
const lyingMs = 3000

/** Passes where the run fails. */
export async function powerProof(options: StageOptions): Promise<Figures> {
  const seen = await onStage(options, lieAndCut).then(
    () => undefined,
    (error: unknown) => {
      if (error instanceof Interrupted) throw error
      return error instanceof Error ? error.message : String(error)
    },
  )
  if (seen === undefined) fail('syncs that do nothing were not noticed', { lyingMs })
  if (!loss.test(seen)) fail('the run failed, but not for a lost write', { seen })
  return { seen: seen.slice(0, 200) }
}

async function lieAndCut({ cluster, images, shim }: Stage): Promise<Figures> {
  await cluster.healthy()
  for (const { id } of cluster.nodes) await shim?.lie(id, true)
  await delay(lyingMs)
  for (const process of cluster.nodes) process.signal('SIGKILL')
  await Promise.all(cluster.nodes.map((process) => process.exited))
  await Promise.all([...images.values()].map((image) => image.cutPower()))
  for (const { id } of cluster.nodes) await shim?.lie(id, false)
  await startAll(cluster.nodes)
  await cluster.healthy()
  return { lyingMs }
}
