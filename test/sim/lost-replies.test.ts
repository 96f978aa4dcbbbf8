/**
 * Hand-over of shards where an answer is lost (class 19 of bugs known from other systems: both or neither of two groups serve, late acknowledgements, reads
 * that find nothing). For each kind of call that a migration makes: it arrives and is obeyed, and the caller never hears of it. Two groups that serve one
 * shard fail the run at once; what clients saw meanwhile must be linearizable, whatever was acknowledged is in every later read, and no call may fail.
 */
import { describe, expect, it } from 'vitest'
import { pb } from '../../proto/messages.ts'
import { controllerMethods, fileMethods, migrationMethods } from '../../proto/methods.ts'
import { HistoryRecorder } from '../linearizability/history.ts'
import type { OstrakaInput, OstrakaOutput } from '../linearizability/ostraka-model.ts'
import { Workload } from '../workload/workload.ts'
import { checkHistory } from './convergence.ts'
import { Load } from './load.ts'
import { ScriptStage } from './script-stage.ts'
import { World } from './world.ts'

const deadlineMs = 30_000
/** How long nothing comes back from who was called; shorter than any election timeout. */
const silentMs = 200
/** Of each kind of call, on each way that the shard goes. */
const lossesMax = 2

interface Call {
  readonly name: string
  readonly path: string
  readonly kind?: number
}

const report = (name: string, kind: number): Call => ({ name: `the report that ${name}`, path: controllerMethods.report.path, kind })

const calls: readonly Call[] = [
  { name: 'the request for a cut', path: migrationMethods.export.path },
  { name: 'the request for the list of files', path: fileMethods.open.path },
  { name: 'the request for a piece of a file', path: fileMethods.read.path },
  { name: 'the question who holds the files', path: migrationMethods.holds.path },
  { name: 'the request for the commands since the cut', path: migrationMethods.delta.path },
  report('the target is ready to take over', pb.v1.ReportKind.REPORT_READY),
  { name: 'the request for the release', path: migrationMethods.release.path },
  report('the target serves', pb.v1.ReportKind.REPORT_ACTIVE),
  report('nothing is left', pb.v1.ReportKind.REPORT_CLEAN),
]

/** Has the answers to such calls lost. Tells, when it is asked, how many were, and how many calls came behind the first of these. */
function loseAnswers(stage: ScriptStage, { path, kind }: Call): () => { readonly lost: number; readonly calledAgain: number } {
  const { world, cluster } = stage
  const { network } = cluster
  let [lost, calledAgain, isSilent] = [0, 0, false]
  network.overhear((called, address, bytes) => {
    if (called !== path || (kind !== undefined && pb.v1.ReportRequest.decode(bytes).kind !== kind)) return
    if (lost > 0) calledAgain++
    if (isSilent || lost === lossesMax) return
    lost++
    isSilent = true
    const server = address.slice(0, address.indexOf(':'))
    const links = cluster.nodeNames.map((name) => [server, name] as const)
    // What is called arrives: only the way back is cut, and then the connection breaks with what waits on it.
    world.schedule(0, undefined, 'answers are held', () => {
      const letGo = network.hold(links)
      world.schedule(silentMs, undefined, 'answers are lost', () => {
        for (const [from, to] of links) network.cut(from, to, 'refuse')
        letGo()
        isSilent = false
      })
    })
  })
  return () => ({ lost, calledAgain })
}

describe('a move under load, with the answer lost to', { timeout: 120_000 }, () => {
  it.each(calls.map((call, i) => [call.name, call, 1201 + i] as const))('%s', async (_, call, seed) => {
    const world = new World({ seed })
    const stage = new ScriptStage(world)
    await stage.open()
    await stage.fill()
    const recorder = new HistoryRecorder<OstrakaInput, OstrakaOutput>()
    const workload = new Workload(recorder, world.random.fork(), { keys: 8, valueBytes: 100, nowMs: () => world.nowMs })
    const load = new Load(world, stage.cluster, workload, { clients: 4, deadlineMs })
    await world.runUntil(() => workload.counts.ok >= 50)
    const shards = stage.config.shardsOf(stage.uid('g1')).slice(0, 2)
    for (const group of ['g2', 'g1']) {
      const losses = loseAnswers(stage, call)
      for (const shard of shards) await stage.move(shard, group)
      await stage.checkData()
      const { lost, calledAgain } = losses()
      expect(lost).toBeGreaterThan(0)
      expect(calledAgain).toBeGreaterThan(0)
    }
    stage.cluster.network.overhear(undefined)
    const before = workload.counts.ok
    await world.runUntil(() => workload.counts.ok >= before + 50)
    load.stop()
    await world.runUntil(() => load.idle, deadlineMs)
    await stage.finish()
    await world.settle(workload.readAll(stage.client, () => Promise.reject(new Error('nobody answers'))))
    expect(workload.verdict()).toBeUndefined()
    expect(workload.counts).toMatchObject({ failed: 0, unknown: 0 })
    checkHistory(seed, recorder)
    stage.close()
  })
})
