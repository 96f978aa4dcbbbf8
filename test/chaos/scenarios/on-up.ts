import { Up } from '../../../testing/up.ts'
import { ClusterUnderLoad, type LoadOptions } from '../cluster-under-load.ts'
import { type Figures, fail } from './stage.ts'

const deadlineMs = 30_000

/** As much as the machine gives. */
const fullLoad: Pick<LoadOptions, 'thinkMs' | 'uniqueWrites'> = { uniqueWrites: { perSecond: 50, keys: 20_000 } }
/** What is timed must find the machine with something to spare: work on shards that move gives way to clients. */
export const pacedLoad: typeof fullLoad = { thinkMs: 20, uniqueWrites: { perSecond: 25, keys: 20_000 } }

/** Plays `act` on a cluster that `ostraka up` runs, under load; rejects where the history is wrong, a call failed or replicas differ. */
export async function onUp(
  seed: number,
  act: (load: ClusterUnderLoad, up: Up) => Promise<Figures>,
  weight: typeof fullLoad = fullLoad,
): Promise<Figures> {
  const up = await Up.start()
  let load: ClusterUnderLoad | undefined
  try {
    load = new ClusterUnderLoad(up, { seed, clients: 8, keys: 150, deadlineMs, ...weight })
    await load.start()
    const acted = await Promise.race([act(load, up), load.failed])
    await load.stop()
    const replicas = await load.compareReplicas()
    const operations = load.check()
    const { ok, failed, unknown, lastError } = load.workload.counts
    const unique = load.uniqueWrites
    const writes = { uniqueWrites: unique.acknowledged, readBack: unique.readBack, longestWriteGapMs: Math.round(unique.longestGapMs) }
    const failures = failed + unknown + unique.failed
    const figures = { ...acted, operations, answered: ok, ...writes, failed: failures, equalReplicas: replicas }
    if (failures > 0) fail(`${failures} calls failed, one of the last with: ${lastError || unique.lastError}`, figures)
    return figures
  } catch (error) {
    console.log(up.stderr.split('\n').slice(-20).join('\n'))
    await load?.abandon()
    throw error
  } finally {
    await up.dispose()
  }
}
