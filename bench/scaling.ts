#!/usr/bin/env node
/**
 * What the size of a cluster costs its controllers: placing all shards, a join of one more group, a leave of one, and what of it goes over the wire.
 * On paper: no cluster is started.
 *
 *   npm run bench:scaling                                       # 256 to 16,384 shards, 3 to 1,000 groups; fails beyond the limits below
 *   npm run bench:scaling -- --shards 16384 --groups 3,1000     # others
 *
 * Work is done as the controllers' leader does it, in slices of 5 ms; a computation's figures are medians of so many rounds, a slice's too, of the
 * longest one of each round. `apply` is one turn on each controller. 16,384 shards are looked at three times: empty, of unknown size, and of 256 MiB each.
 */
import Table from 'cli-table3'
import { Command } from 'commander'
import { must } from '../base/assert.ts'
import type { Clock } from '../base/clock.ts'
import { checkLeave } from '../controller/admin-checks.ts'
import { ConfigState } from '../controller/config-state.ts'
import { controllersGroup } from '../controller/controller-members.ts'
import { type ControllerEntry, decodeEntry, encodeEntry } from '../controller/entry.ts'
import { computeJoin } from '../controller/join.ts'
import type { LeaderView, Outcome } from '../controller/leader-view.ts'
import { computeLeave } from '../controller/leave.ts'
import { computeReport } from '../controller/report.ts'
import { inSlices, type Slices } from '../controller/slices.ts'
import { Watchers } from '../controller/watchers.ts'
import { encodeConfig } from '../proto/config.ts'
import { pb } from '../proto/messages.ts'
import { firstStanding } from '../raft/standing.ts'
import { median } from './median.ts'

/** What may not be exceeded: work to place all shards, a slice of it, bytes of a join with its migrations to a node. */
const limits = { placeMs: 1000, sliceMs: 10, differenceBytes: 64 * 1024 }

/** What each shard holds, bytes: how many of them move together goes by it. `unknown`: as controllers that have just been elected know it. */
const contents = new Map([
  ['nothing', 0],
  ['unknown', undefined],
  ['256 MiB', 256 * 1024 * 1024],
])
/** With that many shards all contents are looked at, with fewer only empty ones. */
const fullShards = 16_384

interface Timed<T> {
  readonly value: T
  readonly workMs: number
  readonly longestMs: number
}

/** Runs the computation as the leader does and times its slices. */
async function timed<T>(slices: Slices<T>): Promise<Timed<T>> {
  let workMs = 0
  let longestMs = 0
  let began = performance.now()
  const end = () => {
    const took = performance.now() - began
    workMs += took
    longestMs = Math.max(longestMs, took)
  }
  const clock: Pick<Clock, 'monotonicMs' | 'soon'> = {
    monotonicMs: () => performance.now(),
    soon: (callback) => {
      end()
      setImmediate(() => {
        began = performance.now()
        callback()
      })
    },
  }
  const value = must(await inSlices(slices, clock, () => true), 'nothing stops it')
  end()
  return { value, workMs, longestMs }
}

/** One controller's state, with one watcher of each kind. */
class Cluster {
  readonly state = new ConfigState()
  readonly node: Listener
  readonly client: Listener
  readonly #watchers: Watchers
  readonly #bytesOfEach: number | undefined
  readonly #turns: (() => void)[] = []

  constructor(shards: number, bytesOfEach: number | undefined) {
    this.#bytesOfEach = bytesOfEach
    this.apply({ kind: 'formed', formed: { clusterId: new Uint8Array(16), shardCount: shards } })
    const clock: Clock = {
      monotonicMs: () => 0,
      wallMs: () => 0,
      setTimer: () => ({ cancel() {} }),
      soon: (callback) => this.#turns.push(callback),
    }
    this.#watchers = new Watchers(
      () => this.state,
      clock,
      () => true,
    )
    this.node = new Listener(this.#watchers, true)
    this.client = new Listener(this.#watchers, false)
  }

  get view(): LeaderView {
    return {
      state: this.state,
      atMs: Date.now(),
      sizeOf: () => this.#bytesOfEach,
      progressOf: () => ({ attempt: 0, bytesTotal: 0 }),
      isLive: () => true,
      hasLeader: () => true,
      hasNoRoom: () => false,
      isLivenessKnown: true,
      isDriven: () => true,
      lost: [],
      controllers: controllersGroup(this.state.controllerMembers, firstStanding(new Map([[1, 'c1']]))),
    }
  }

  /** Bytes of the entry, and how long a controller took over it. */
  apply(entry: ControllerEntry): { readonly bytes: number; readonly ms: number } {
    const encoded = encodeEntry(entry)
    const began = performance.now()
    const { outcome } = this.state.apply(decodeEntry(encoded), { put() {}, delete() {} })
    const ms = performance.now() - began
    if (outcome !== 'applied') throw new Error(`an entry was ${outcome}`)
    return { bytes: encoded.length, ms }
  }

  /** Has the watchers told. */
  tell(): void {
    this.#watchers.changed()
    for (let turn = this.#turns.shift(); turn !== undefined; turn = this.#turns.shift()) turn()
  }
}

/** Bytes of the newest update. */
class Listener {
  bytes = 0

  constructor(watchers: Watchers, migrations: boolean) {
    const write = (update: Uint8Array) => {
      this.bytes = update.length
      return true
    }
    const handlers = watchers.route.accept({ write, end() {}, closed: false }, { listener: 'default', peer: 'bench' })
    handlers.onMessage(new pb.v1.WatchRequest({ migrations }))
  }
}

/** Groups of three nodes each, every node in three groups. */
function joinOf(first: number, count: number) {
  const groups = Array.from({ length: count }, (_, at) => ({
    name: `g${first + at}`,
    weight: 1,
    isWeightGiven: false,
    members: [0, 1, 2].map((i) => ({ node: `n${first + at + i}`, address: `10.0.0.1:${7410 + first + at + i}` })),
  }))
  return { groups, once: false, author: 'operator', requestId: new Uint8Array(0), base: 0, baseMigrations: 0 }
}

function changeOf(outcome: Outcome): ControllerEntry {
  if (outcome.kind !== 'change') throw new Error('nothing changes')
  return { kind: 'change', change: outcome.change }
}

function movesIn({ state }: Cluster): number {
  return state.migrations.open().reduce((sum, { shards }) => sum + shards.length, 0)
}

async function measure(shards: number, groups: number, bytesOfEach: number | undefined) {
  const first = new Cluster(shards, bytesOfEach)
  const placed = await timed(computeJoin(first.view, joinOf(1, groups)))
  const founding = changeOf(placed.value)
  const applyFirst = first.apply(founding)
  const joined = await timed(computeJoin(first.view, joinOf(groups + 1, 1)))
  first.tell()
  const join = first.apply(changeOf(joined.value))
  first.tell()
  const [toNode, toClient] = [first.node.bytes, first.client.bytes]
  const joinMoves = movesIn(first)
  const migrations = first.state.migrations.open().length
  const one = must(first.state.migrations.open()[0], 'a join moves shards')
  const report = { group: one.to, reason: '', digest: new Uint8Array(16), pauseUs: 0, births: [], attempt: 1, bytes: 0, noRoom: false }
  const commit = first.apply(changeOf(computeReport(first.view, { migration: one.id, kind: 'ready', ...report })))
  first.tell()

  const second = new Cluster(shards, bytesOfEach)
  second.apply(founding)
  const left = await timed(computeLeave(second.view, { ...checkLeave({ group: 'g1' }), author: 'operator' }))
  const leave = second.apply(changeOf(left.value))
  return {
    place: placed,
    applyFirstMs: applyFirst.ms,
    join: joined,
    applyJoinMs: join.ms,
    joinMoves,
    migrations,
    leave: left,
    applyLeaveMs: leave.ms,
    leaveMoves: movesIn(second),
    commitMs: commit.ms,
    configBytes: pb.v1.Config.encode(encodeConfig(must(first.state.config, 'formed'))).finish().length,
    listBytes: pb.v1.MigrationList.encode(first.state.migrations.list()).finish().length,
    toNode,
    toClient,
    commitToNode: first.node.bytes,
  }
}

type Measured = Awaited<ReturnType<typeof measure>>

const kib = (bytes: number) => (bytes < 1024 ? `${bytes} B` : `${(bytes / 1024).toFixed(1)} KiB`)
const ms = (value: number) => value.toFixed(value < 10 ? 1 : 0)

async function main(options: { readonly shards: string; readonly groups: string; readonly rounds: string }): Promise<void> {
  const style = { head: [], border: [] }
  const work = new Table({
    style,
    head: [
      'shards',
      'of',
      'groups',
      'place: ms',
      'slice',
      'apply',
      'join: ms',
      'slice',
      'apply',
      'moves',
      'leave: ms',
      'slice',
      'apply',
      'moves',
      'commit',
    ],
  })
  const wire = new Table({
    style,
    head: ['shards', 'of', 'groups', 'config', 'join to a client', 'to a node', 'migrations', 'their list', 'a commit to a node'],
  })
  const failures: string[] = []
  for (const shards of options.shards.split(',').map(Number)) {
    for (const groups of options.groups.split(',').map(Number)) {
      if (groups >= shards) continue
      for (const [holds, bytesOfEach] of contents) {
        if (holds !== 'nothing' && shards < fullShards) continue
        const rounds: Measured[] = []
        for (let round = 0; round < Number(options.rounds); round++) rounds.push(await measure(shards, groups, bytesOfEach))
        const of = (value: (one: Measured) => number) => median(rounds.map(value))
        const last = must(rounds.at(-1), 'at least one round')
        const row = (name: 'place' | 'join' | 'leave') => [ms(of((one) => one[name].workMs)), ms(of((one) => one[name].longestMs))]
        const which = [shards, holds, groups]
        const join = [...row('join'), ms(of((one) => one.applyJoinMs)), last.joinMoves]
        const leave = [...row('leave'), ms(of((one) => one.applyLeaveMs)), last.leaveMoves]
        work.push([...which, ...row('place'), ms(of((one) => one.applyFirstMs)), ...join, ...leave, ms(of((one) => one.commitMs))])
        const updates = [last.configBytes, last.toClient, last.toNode].map(kib)
        wire.push([...which, ...updates, last.migrations, kib(last.listBytes), kib(last.commitToNode)])
        const what = `${shards} shards of ${holds}, ${groups} groups`
        const slice = Math.max(...(['place', 'join', 'leave'] as const).map((name) => of((one) => one[name].longestMs)))
        if (of((one) => one.place.workMs) >= limits.placeMs) failures.push(`${what}: placing took a second`)
        if (slice > limits.sliceMs) failures.push(`${what}: a slice of ${ms(slice)} ms`)
        if (last.toNode >= limits.differenceBytes) failures.push(`${what}: a difference of ${kib(last.toNode)}`)
      }
    }
  }
  console.log(work.toString())
  console.log(wire.toString())
  for (const failure of failures) console.log(failure)
  console.log(failures.length === 0 ? `${work.length} passed, 0 failed` : `0 passed, ${failures.length} failed`)
  if (failures.length > 0) process.exitCode = 1
}

await new Command('bench:scaling')
  .option('--shards <counts>', 'one after the other', '256,1024,4096,16384')
  .option('--groups <counts>', 'one after the other', '3,10,100,1000')
  .option('--rounds <n>', 'of each', '5')
  .action(main)
  .parseAsync()
