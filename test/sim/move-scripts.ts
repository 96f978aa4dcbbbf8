/**
 * Scripts of moving shards, each with a story that random seeds seldom tell. A cluster that keeps the protocol passes all of them; one with the
 * break that a script names fails it. The seed draws which shard it is and all times.
 */
import { assert } from '../../base/assert.ts'
import { pb } from '../../proto/messages.ts'
import { EntryCode, encodeMigration } from '../../shardserver/entry.ts'
import type { MigrationBreak } from '../../shardserver/migration-break.ts'
import { ScriptStage } from './script-stage.ts'
import { World } from './world.ts'

type Script = (stage: ScriptStage) => Promise<void>

/** A shard leaves and comes back. Then the outcome of its first move comes a second time: it must not be taken for one of the stay that is. */
const lateOutcome: Script = async (stage) => {
  const shard = stage.someShard()
  const first = await stage.move(shard, 'g2')
  await stage.move(shard, 'g1')
  const late = stage.heard.filter(({ kind, id, group }) => kind === EntryCode.Outcome && id === first && group === stage.uid('g1'))
  assert(late.length > 0, 'no outcome was heard')
  for (const entry of late) await stage.repeat(entry)
}

/** A shard comes and leaves again. Then everything that brought it comes a second time: the group must know that it took part in that before. */
const wholeMoveAgain: Script = async (stage) => {
  const shard = stage.someShard()
  const first = await stage.move(shard, 'g2')
  await stage.move(shard, 'g1')
  for (const entry of stage.heard.filter(({ id, group }) => id === first && group === stage.uid('g2'))) await stage.repeat(entry)
}

/** While the target catches up every replay is logged twice, and the first ones again behind the later ones. */
const doubledReplays: Script = async (stage) => {
  const shard = stage.someShard()
  let doubled = 0
  const id = await stage.ask(shard, 'g2')
  const keys = Array.from({ length: 6 }, (_, i) => stage.keyIn(shard, i))
  for (let round = 0; stage.stateIn(stage.uid('g2'), shard) !== 'serving' && round < 300; round++) {
    await stage.put(keys[round % keys.length] ?? '', `round ${round}`)
    const replays = stage.heard.filter(({ kind, id: ofEntry }) => kind === EntryCode.Replay && ofEntry === id)
    for (; doubled < replays.length; doubled++) {
      for (const entry of replays.slice(0, doubled + 1)) await stage.repeat(entry)
    }
  }
  assert((await stage.ended(id)) === 'done', `migration ${id} was aborted`)
}

/**
 * The target refuses what it was given, and the shard goes back. A node of it sleeps through that: its config still names its group as the owner.
 * Once it leads it must not make the shard empty.
 */
const staleOwner: Script = async (stage) => {
  const { cluster, world } = stage
  const shard = stage.someShard()
  const group = stage.uid('g2')
  const leader = cluster.groupLeader(group) ?? ''
  const sleeper = stage.targetNodes.find((name) => name !== leader) ?? ''
  const cutOff = (name: string) => {
    for (const controller of cluster.controllerNames) cluster.network.cutBoth(name, controller, 'stall')
  }
  stage.onStep(({ step, id }) => {
    if (step !== 'commit') return
    cutOff(leader)
    stage.propose(group, (timeMs) => encodeMigration(timeMs, { kind: 'refuse', id, shards: [shard] }))
  })
  const id = await stage.ask(shard, 'g2')
  await world.runUntil(() => stage.stateIn(group, shard) === 'refused', 20_000)
  const { number } = stage.config
  while ((await stage.configNumberOf(sleeper)) < number) await world.runFor(5)
  cutOff(sleeper)
  for (const controller of cluster.controllerNames) {
    cluster.network.mend(leader, controller)
    cluster.network.mend(controller, leader)
  }
  assert((await stage.ended(id)) === 'given-back', `migration ${id} was not given back`)
  await world.runUntil(() => stage.stateIn(group, shard) === 'absent', 20_000)
  for (let round = 0; round < 50 && cluster.groupLeader(group) !== sleeper; round++) {
    cluster.transferTo(sleeper)
    await world.runFor(200)
  }
  assert(cluster.groupLeader(group) === sleeper, `${sleeper} does not come to lead`)
  await world.runFor(3000)
}

/** Only one replica of the target can reach the source. When it is gone, the target must go on without it. */
const onlyCopyLost: Script = async (stage) => {
  const { cluster, world } = stage
  const shard = stage.someShard()
  const group = stage.uid('g2')
  const leader = cluster.groupLeader(group) ?? ''
  for (const other of stage.targetNodes) {
    if (other !== leader) for (const source of stage.sourceNodes) cluster.network.cutBoth(other, source, 'refuse')
  }
  let held = false
  stage.onStep(({ step }) => {
    if (step === 'ingest' && cluster.isAlive(leader)) cluster.kill(leader)
    held ||= step === 'files'
  })
  const id = await stage.ask(shard, 'g2')
  await world.runUntil(() => held, 20_000)
  await world.runFor(3000)
  stage.onStep(undefined)
  if (cluster.isAlive(leader)) cluster.kill(leader)
  cluster.network.heal()
  // Two of three are up: a majority serves, whatever the third one held.
  await stage.checkData()
  await stage.ended(id)
}

/** A write is executed, and its shard moves. Its answer was lost: it comes again, to the new owner, and must not be executed a second time. */
const retriedElsewhere: Script = async (stage) => {
  const shard = stage.someShard()
  const key = new TextEncoder().encode(stage.keyIn(shard, 10))
  const clientId = stage.world.random.bytes(16)
  const writes = { clientId, commands: [{ shard, sequence: 1, lowestOutstanding: 1, first: true, increment: { key, by: '5' } }] }
  const first = (await stage.raw(stage.uid('g1'), { writes })).writes[0]
  assert(first?.value === '5', `the first try answers ${JSON.stringify(first)}`)
  await stage.move(shard, 'g2')
  const second = (await stage.raw(stage.uid('g2'), { writes })).writes[0]
  assert(second?.value === '5' && second.revision === first.revision, `the second try answers ${JSON.stringify(second)}`)
}

/**
 * A write is refused when it is applied, while its shard is being copied. Its answer was lost: it comes again, to the new owner, where nothing
 * stands against it by now. It must still be refused.
 */
const refusedElsewhere: Script = async (stage) => {
  const shard = stage.someShard()
  const name = stage.keyIn(shard, 11)
  const key = new TextEncoder().encode(name)
  const clientId = stage.world.random.bytes(16)
  const writes = { clientId, commands: [{ shard, sequence: 1, lowestOutstanding: 1, first: true, increment: { key, by: '5' } }] }
  await stage.put(name, 'no number')
  const exporting = stage.watch('export')
  const id = await stage.ask(shard, 'g2')
  await stage.world.runUntil(exporting, 20_000)
  const first = (await stage.raw(stage.uid('g1'), { writes })).writes[0]
  assert(first?.error?.code === pb.v1.ErrorCode.INVALID_ARGUMENT, `the first try answers ${JSON.stringify(first)}`)
  assert((await stage.ended(id)) === 'done', `migration ${id} was aborted`)
  await stage.put(name, '37')
  const second = (await stage.raw(stage.uid('g2'), { writes })).writes[0]
  assert(second?.error?.code === pb.v1.ErrorCode.INVALID_ARGUMENT, `the second try answers ${JSON.stringify(second)}`)
}

/** All replicas of the source lose their cut before anybody has copied it: it is cut anew, and nothing that was written meanwhile is missing. */
const lostCut: Script = async (stage) => {
  const { cluster, world } = stage
  const shard = stage.someShard()
  const exporting = stage.watch('export')
  const id = await stage.ask(shard, 'g2')
  await world.runUntil(exporting, 20_000)
  // In the moment of the cut, before anything is fetched.
  for (const target of stage.targetNodes) for (const source of stage.sourceNodes) cluster.network.cutBoth(target, source, 'stall')
  await stage.put(stage.keyIn(shard, 4), 'written behind the first cut')
  await world.runFor(500 + world.random.next() * 500)
  for (const name of stage.sourceNodes) for (const { stateMachine } of cluster.hosted(name)) await world.settle(stateMachine.flush())
  for (const name of stage.sourceNodes) {
    cluster.kill(name)
    const disk = cluster.disk(name)
    for (const path of disk.paths()) if (path.includes(`/exports/${id}.`)) disk.removeFolder(path)
  }
  for (const name of stage.sourceNodes) cluster.restart(name)
  await world.runFor(3000)
  cluster.network.heal()
  assert((await stage.ended(id)) === 'done', `migration ${id} was aborted`)
  const attempt = (await stage.migration(id)).attempt ?? 0
  assert(attempt > 1, `migration ${id} was done with attempt ${attempt}`)
}

/** The source has released and does not learn that the target serves. It must not answer reads of what may have changed there. */
const readAtTheOld: Script = async (stage) => {
  const { cluster, world } = stage
  const shard = stage.someShard()
  const name = stage.keyIn(shard, 0)
  const [source, target] = [stage.uid('g1'), stage.uid('g2')]
  stage.onStep(({ step }) => {
    if (step !== 'release') return
    for (const node of stage.sourceNodes)
      for (const controller of cluster.controllerNames) cluster.network.cutBoth(node, controller, 'stall')
  })
  await stage.ask(shard, 'g2')
  await world.runUntil(() => stage.stateIn(target, shard) === 'serving', 30_000)
  await stage.put(name, 'written at the new owner')
  assert(stage.stateIn(source, shard) === 'released', `the source is ${stage.stateIn(source, shard)}`)
  const reads = [{ shard, key: new TextEncoder().encode(name), consistency: pb.v1.Consistency.LINEARIZABLE }]
  const answer = (await stage.raw(source, { reads })).reads[0]
  assert(!answer?.found, `the old owner answers a read with ${answer?.value}`)
}

/** The target is ready, but the controllers do not hear of it, and the move is cancelled. The source must have served all along. */
const cancelledWhenReady: Script = async (stage) => {
  const { cluster, world } = stage
  const shard = stage.someShard()
  stage.onStep(({ step }) => {
    if (step !== 'ingest') return
    for (const node of stage.targetNodes)
      for (const controller of cluster.controllerNames) cluster.network.cutBoth(node, controller, 'stall')
  })
  const id = await stage.ask(shard, 'g2')
  await world.runUntil(() => stage.heard.some((entry) => entry.id === id && entry.kind === EntryCode.Ingest), 20_000)
  await world.runFor(1000 + world.random.next() * 1000)
  await stage.put(stage.keyIn(shard, 5), 'written at the source')
  await world.settle(stage.admin.steer({ shard, steering: pb.v1.Steering.CANCEL, author: 'script' }, { timeoutMs: 10_000 }))
  cluster.network.heal()
  assert((await stage.ended(id)) === 'aborted', `migration ${id} is done although it was cancelled`)
}

/** Steps before the commit at which a group may go away. */
const stepsBefore = ['import', 'export', 'files', 'ingest'] as const

/**
 * The majority of the target dies in the middle of a copy and does not come back for minutes. The controllers abort the move, the source, which has served
 * all along, ends its export, and who comes back at last drops what was copied.
 */
const targetLost: Script = async (stage) => {
  const { cluster, world } = stage
  const shard = stage.someShard()
  // From the ingest on the target may have asked for the commit, and what is committed is never aborted.
  const when = stepsBefore[world.random.below(stepsBefore.indexOf('ingest'))]
  const survivor = world.random.below(3)
  const victims = stage.targetNodes.filter((_, i) => i !== survivor)
  stage.onStep(({ step }) => {
    if (step === when) for (const name of victims) if (cluster.isAlive(name)) cluster.kill(name)
  })
  const id = await stage.ask(shard, 'g2')
  await world.runUntil(() => victims.every((name) => !cluster.isAlive(name)), 20_000)
  stage.onStep(undefined)
  await stage.put(stage.keyIn(shard, 5), 'served while the target is gone')
  assert((await stage.ended(id, 120_000)) === 'aborted', `migration ${id} was not aborted at ${when}`)
  const { reason } = await stage.migration(id)
  assert(reason?.endsWith('g2 has lost its majority'), `migration ${id} was aborted: ${reason}`)
  await world.runUntil(() => stage.stateIn(stage.uid('g1'), shard) === 'serving', 20_000)
  await world.runFor(30_000 * world.random.next())
  for (const name of victims) cluster.restart(name)
  await world.runUntil(() => stage.stateIn(stage.uid('g2'), shard) !== 'importing', 30_000)
}

/** All nodes of the source go to sleep in the middle of a copy, for longer than anything else may stand still. The move waits for them and ends. */
const sourceAsleep: Script = async (stage) => {
  const { cluster, world } = stage
  const shard = stage.someShard()
  const when = stepsBefore[world.random.below(stepsBefore.length)]
  const isPowerLost = world.random.next() < 0.5
  stage.onStep(({ step }) => {
    if (step !== when) return
    for (const name of stage.sourceNodes) {
      if (!cluster.isAlive(name)) continue
      if (isPowerLost) cluster.powerLoss(name)
      else cluster.kill(name)
    }
  })
  const id = await stage.ask(shard, 'g2')
  await world.runUntil(() => stage.sourceNodes.every((name) => !cluster.isAlive(name)), 20_000)
  stage.onStep(undefined)
  const elsewhere = stage.config.shardsOf(stage.uid('g2'))[0] ?? 0
  await stage.put(stage.keyIn(elsewhere, 5), 'served while the source is gone')
  await world.runFor(90_000 + 60_000 * world.random.next())
  const { phase } = await stage.migration(id)
  assert(phase === pb.v1.MigrationPhase.COPYING, `migration ${id} did not wait for its source, gone at ${when}: ${phase}`)
  for (const name of stage.sourceNodes) cluster.restart(name)
  assert((await stage.ended(id)) === 'done', `migration ${id} was aborted`)
}

const scripts: readonly { readonly name: string; readonly script: Script; readonly catches?: MigrationBreak }[] = [
  { name: 'a late outcome', script: lateOutcome, catches: 'late-excise' },
  { name: 'a whole move again', script: wholeMoveAgain, catches: 'fence-forgotten' },
  { name: 'doubled replays', script: doubledReplays, catches: 'replay-without-cursor' },
  { name: 'a stale owner', script: staleOwner, catches: 'born-again' },
  { name: 'the only copy lost', script: onlyCopyLost, catches: 'ingest-before-majority' },
  { name: 'retried elsewhere', script: retriedElsewhere, catches: 'sessions-left-behind' },
  { name: 'refused elsewhere', script: refusedElsewhere, catches: 'delta-misses-refusals' },
  { name: 'a lost cut', script: lostCut },
  { name: 'a read at the old owner', script: readAtTheOld, catches: 'released-reads' },
  { name: 'the target is lost', script: targetLost },
  { name: 'the source is asleep', script: sourceAsleep },
  { name: 'cancelled when ready', script: cancelledWhenReady, catches: 'release-before-commit' },
]

/** Whether a script is told of `name`. */
export function hasScript(name: MigrationBreak): boolean {
  return scripts.some(({ catches }) => catches === name)
}

export interface ScriptsRun {
  readonly traceHash: string
  readonly traceLines: readonly string[]
  readonly virtualMs: number
  readonly operations: number
  readonly faults: number
}

/** Plays all scripts, each in a world of its own; with a break only those that must catch it. Rejects with seed and script in the message. */
export async function runScripts(seed: number, broken: MigrationBreak | undefined, recordTrace: boolean): Promise<ScriptsRun> {
  const hashes: string[] = []
  const traceLines: string[] = []
  let virtualMs = 0
  for (const { name, script, catches } of scripts) {
    if (broken !== undefined && catches !== broken) continue
    const world = new World({ seed, recordTrace })
    const stage = new ScriptStage(world, broken === undefined ? {} : { breaks: new Set([broken]) })
    try {
      await stage.open()
      await stage.fill()
      await script(stage)
      await stage.finish()
    } catch (error) {
      throw new Error(`seed ${seed}, script '${name}': ${error instanceof Error ? error.message : error}`, { cause: error })
    } finally {
      stage.close()
    }
    hashes.push(world.traceHash())
    traceLines.push(...world.traceLines)
    virtualMs += world.nowMs
  }
  return { traceHash: hashes.join(' '), traceLines, virtualMs, operations: hashes.length, faults: hashes.length }
}
