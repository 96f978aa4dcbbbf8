/** The disks of all nodes are full: writes are refused in good order, reads, elections and recovery go on; room again, and so do writes. */
import { setTimeout as delay } from 'node:timers/promises'
import { type Client, connect } from '../../../client/index.ts'
import { OstrakaError } from '../../../proto/errors.ts'
import { pick } from '../faults/fault.ts'
import { type Figures, fail, type Stage } from './stage.ts'

const MiB = 1024 * 1024
export const diskBytes = 192 * MiB
/** So that the logs and tables of a run stay far below the disk's size. */
export const smallFlags = [
  '--memtable-bytes',
  String(8 * MiB),
  '--disk-reserve-bytes',
  String(4 * MiB),
  '--snapshot-log-bytes',
  String(4 * MiB),
]

/** Nodes look at their disks once a second, and clients are told to wait as long. */
const refusedMs = 5000
const resumedMs = 5000
/** Of calls that say how the cluster stands: writes are given up soon. */
const writeMs = 1500

export async function diskFull(stage: Stage, seconds: number): Promise<Figures> {
  const db = await connect({ controllers: [...stage.cluster.ready.controllers], deadlineMs: 10_000 })
  const end = performance.now() + seconds * 1000
  const refused: number[] = []
  const elected: number[] = []
  const resumed: number[] = []
  try {
    const keys = await keysOfGroups(db, stage.cluster.groups)
    do {
      for (const key of keys.values()) await db.put(key, 'before')
      await delay(1000)
      const round = await oneRound(stage, db, keys)
      refused.push(round.refusedMs)
      elected.push(round.electedMs)
      resumed.push(round.resumedMs)
    } while (performance.now() < end)
  } finally {
    for (const disk of stage.disks.values()) await disk.free()
    await db.close()
  }
  const max = (values: readonly number[]) => Math.round(Math.max(...values))
  return { rounds: refused.length, refusedMaxMs: max(refused), electedMaxMs: max(elected), resumedMaxMs: max(resumed) }
}

async function oneRound({ cluster, disks, random }: Stage, db: Client, keys: ReadonlyMap<string, string>) {
  const fullMs = performance.now()
  await Promise.all([...disks.values()].map((disk) => disk.fill()))
  for (const key of keys.values()) await untilRefused(db, key, fullMs + refusedMs)
  const told = performance.now() - fullMs
  for (const key of keys.values()) await mustRead(db, key)
  const group = pick(random, cluster.groups) ?? ''
  const leader = (await cluster.leaders()).get(group) ?? ''
  const killedMs = performance.now()
  await cluster.process(leader).kill()
  await mustRead(db, keys.get(group) ?? '')
  const electedMs = performance.now() - killedMs
  await cluster.process(leader).start()
  await cluster.healthy()
  const freedMs = performance.now()
  await Promise.all([...disks.values()].map((disk) => disk.free()))
  for (const key of keys.values()) await db.put(key, 'after')
  const resumed = performance.now() - freedMs
  const round = { refusedMs: told, electedMs, resumedMs: resumed }
  console.log(
    `  full: refused after ${Math.round(told)} ms, ${leader} killed and read behind ${Math.round(electedMs)} ms, freed: written after ${Math.round(resumed)} ms`,
  )
  if (electedMs > 5 * cluster.options.electionTimeoutMs) fail(`${group} did not elect on full disks`, round)
  if (resumed > resumedMs) fail('writes did not resume when there was room', round)
  return round
}

/** A write of its own fails, for sure and because of the disk; until then writes may succeed. */
async function untilRefused(db: Client, key: string, untilMs: number): Promise<void> {
  for (;;) {
    try {
      await db.put(key, 'while full', { deadlineMs: writeMs })
    } catch (error) {
      if (!(error instanceof OstrakaError)) throw error
      if (error.definite && error.message.includes('OVERLOADED')) return
      if (performance.now() > untilMs)
        throw new Error(`a write on a full disk ends as ${error.code} (definite: ${error.definite}), ${error.message}`)
    }
    if (performance.now() > untilMs) throw new Error('writes are taken though all disks are full')
  }
}

async function mustRead(db: Client, key: string): Promise<void> {
  const found = await db.get(key)
  if (found === undefined) throw new Error(`${key} is gone while disks are full`)
}

async function keysOfGroups(db: Client, groups: readonly string[]): Promise<Map<string, string>> {
  const keys = new Map<string, string>()
  for (let i = 0; keys.size < groups.length; i++) {
    const { group = '' } = await db.explain(`full-${i}`)
    if (groups.includes(group) && !keys.has(group)) keys.set(group, `full-${i}`)
  }
  return keys
}
