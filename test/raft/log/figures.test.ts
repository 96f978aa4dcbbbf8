import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { silentLogger } from '../../../base/logger.ts'
import { NodeClock } from '../../../base/node-clock.ts'
import { NodeFileSystem } from '../../../base/node-file-system.ts'
import { SeededRandom } from '../../../base/random.ts'
import { SharedLog } from '../../../raft/log/shared-log.ts'

const keys = [1, 2, 3].map((n) => ({ uid: `g${n}@1`, replica: n }))
const runMs = 800

function open(folder: string): Promise<SharedLog> {
  const onFailure = (error: Error) => {
    throw error
  }
  return SharedLog.open({ fileSystem: new NodeFileSystem(), clock: new NodeClock(), logger: silentLogger, folder, onFailure })
}

/** The most processor time (of all threads) between two turns of the event loop while `work` runs: wall time would blame us for our neighbours. */
async function busiestTurnMs(work: () => Promise<unknown>): Promise<number> {
  let busiest = 0
  let last = process.cpuUsage()
  let running = true
  const tick = () => {
    const spent = process.cpuUsage(last)
    busiest = Math.max(busiest, (spent.user + spent.system) / 1000)
    last = process.cpuUsage()
    if (running) setImmediate(tick)
  }
  setImmediate(tick)
  await work()
  running = false
  return busiest
}

it('figures: appends of 4 KiB by 3 groups on the real disk, and opening what they wrote in short turns', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'ostraka-log-figures-'))
  try {
    let written: number[] = []
    for (const inFlight of [1, 64, 256]) {
      const log = await open(join(folder, String(inFlight)))
      const groups = keys.map((key) => log.group(key))
      const data = Array.from({ length: 64 }, (_, i) => new SeededRandom(i).bytes(4096))
      let done = 0
      const cpu = process.cpuUsage()
      const start = performance.now()
      await new Promise<void>((resolve) => {
        let waiting = 0
        const next = (i: number) => {
          const group = groups[i % 3] as (typeof groups)[number]
          const index = group.lastIndex + 1
          waiting++
          group.append([{ term: 1, index, kind: 0, data: data[index % 64] as Uint8Array }], { term: 1, vote: 1, commit: index - 1 }, () => {
            done++
            waiting--
            if (performance.now() - start < runMs) next(i)
            else if (waiting === 0) resolve()
          })
        }
        for (let i = 0; i < inFlight; i++) next(i)
      })
      const seconds = (performance.now() - start) / 1000
      const { user, system } = process.cpuUsage(cpu)
      const { batches, bytesWritten } = log.stats()
      const perSecond = Math.round(done / seconds)
      const mega = (bytesWritten / seconds / 1e6).toFixed(0)
      const cost = ((user + system) / done).toFixed(1)
      console.log(
        `${inFlight} in flight: ${perSecond} appends/s, ${mega} MB/s, ${(done / batches).toFixed(1)} per batch, ${cost} us of processor each`,
      )
      written = groups.map((group) => group.lastIndex)
      expect(written.reduce((sum, last) => sum + last, 0)).toBe(done)
      await log.close()
    }
    let log: SharedLog | undefined
    const start = performance.now()
    const busiest = await busiestTurnMs(async () => {
      log = await open(join(folder, '256'))
    })
    const seconds = (performance.now() - start) / 1000
    console.log(`open: ${((log?.bytes ?? 0) / seconds / 1e6).toFixed(0)} MB/s, busiest turn ${busiest.toFixed(1)} ms of processor`)
    expect(keys.map((key) => log?.group(key).lastIndex)).toEqual(written)
    await log?.close()
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
