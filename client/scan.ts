/**
 * A scan over the whole cluster: the shards of each group are read page by page, and the pages merged in the order of the keys. Each page
 * is a linearizable read of its shards. A group is only ever asked for shards that it owns by our config; when that changes, everything
 * buffered is dropped and the scan begins anew behind the last record handed out. So a key that is there throughout comes exactly once.
 */
import { assert } from '../base/assert.ts'
import { compareBytes, keyAfter, prefixEnd } from '../base/bytes.ts'
import { sleep } from '../base/clock.ts'
import { TransportError } from '../base/transport.ts'
import { limits } from '../proto/limits.ts'
import { pb } from '../proto/messages.ts'
import { kvMethods } from '../proto/methods.ts'
import type { Dispatcher } from './dispatcher.ts'
import { makeError } from './make-error.ts'
import { isForAnyReplica, ownBuffer } from './operation.ts'
import { attemptTimeoutMs, leaderBackoffMs, loadBackoffMs, unanswered, type Verdict, verdictOf } from './retry.ts'
import type { ScannedRecord } from './types.ts'

/** For so long a node that could not be reached is not asked where there is another. */
const unreachableAvoidMs = 500

export interface ScanPlan {
  /** Inclusive; empty: from the beginning. */
  readonly start: Uint8Array
  /** Exclusive; empty: to the end. */
  readonly end: Uint8Array
  readonly limit: number
  readonly reverse: boolean
  readonly consistency: pb.v1.Consistency
  readonly maxStalenessMs: number
  /** For each page. */
  readonly deadlineMs: number
  readonly signal: AbortSignal | undefined
}

/** The range that satisfies prefix, start and end; undefined: it is empty. */
export function scanRange(
  prefix: Uint8Array,
  start: Uint8Array,
  end: Uint8Array,
): { readonly start: Uint8Array; readonly end: Uint8Array } | undefined {
  // A copy: the slice of a Buffer would be a view of it.
  const behind = prefix.length > 0 ? (prefixEnd(Uint8Array.from(prefix)) ?? noBytes) : noBytes
  const from = compareBytes(start, prefix) >= 0 ? start : prefix
  const to = end.length === 0 ? behind : behind.length === 0 || compareBytes(end, behind) <= 0 ? end : behind
  if (to.length > 0 && compareBytes(from, to) >= 0) return undefined
  return { start: from, end: to }
}

/** Throws OstrakaError out of the iteration. */
export async function* scanCluster(dispatcher: Dispatcher, plan: ScanPlan): AsyncGenerator<ScannedRecord, void, undefined> {
  let { start, end, limit } = plan
  while (limit > 0) {
    const cursors = await openCursors(dispatcher, { ...plan, start, end, limit })
    for (;;) {
      const whole = await Promise.all(cursors.map((cursor) => cursor.ready()))
      if (whole.includes(false)) break
      const cursor = first(cursors, plan.reverse)
      if (cursor === undefined) return
      const record = cursor.take(--limit)
      if (plan.reverse) end = record.key
      else start = keyAfter(record.key)
      yield record
      if (limit === 0) return
    }
    if (end.length > 0 && compareBytes(start, end) >= 0) return
  }
}

/** The cursor with the next record, undefined if all are at their end. */
function first(cursors: readonly GroupCursor[], reverse: boolean): GroupCursor | undefined {
  let best: GroupCursor | undefined
  let bestKey: Uint8Array = noBytes
  for (const cursor of cursors) {
    const key = cursor.key
    if (key === undefined) continue
    const order = best === undefined ? -1 : compareBytes(key, bestKey)
    assert(order !== 0, 'a key in two groups at once')
    if (best !== undefined && order > 0 !== reverse) continue
    best = cursor
    bestKey = key
  }
  return best
}

/** One for each group, over all shards. Waits until every shard has a group. */
async function openCursors(dispatcher: Dispatcher, plan: ScanPlan): Promise<GroupCursor[]> {
  const deadlineMs = dispatcher.clock.monotonicMs() + plan.deadlineMs
  for (;;) {
    mayGoOn(dispatcher, plan)
    const config = dispatcher.router.config
    const shardsOf = new Map<string, number[]>()
    let homeless = config === undefined ? 1 : 0
    for (let shard = 0; shard < (config?.shardCount ?? 0); shard++) {
      const uid = config?.groupOf(shard)?.uid
      const shards = uid === undefined ? undefined : shardsOf.get(uid)
      if (uid === undefined) homeless++
      else if (shards === undefined) shardsOf.set(uid, [shard])
      else shards.push(shard)
    }
    if (homeless === 0) return [...shardsOf].map(([uid, shards]) => new GroupCursor(dispatcher, plan, uid, shards))
    const leftMs = deadlineMs - dispatcher.clock.monotonicMs()
    if (leftMs <= 0) throw makeError('DEADLINE', `${homeless} shards belong to no group yet`, true)
    await dispatcher.atLeast((config?.number ?? 0) + 1, leftMs).catch(() => undefined)
  }
}

/** What is left of one group's shards. */
class GroupCursor {
  readonly #dispatcher: Dispatcher
  readonly #plan: ScanPlan
  readonly #uid: string
  readonly #shards: number[]
  #start: Uint8Array
  #end: Uint8Array
  #page: pb.v1.ScanEntry.$Properties[] = []
  #position = 0
  #more = true
  #loading: Promise<boolean> | undefined

  constructor(dispatcher: Dispatcher, plan: ScanPlan, uid: string, shards: number[]) {
    this.#dispatcher = dispatcher
    this.#plan = plan
    this.#uid = uid
    this.#shards = shards
    this.#start = plan.start
    this.#end = plan.end
  }

  /** The next record's key, undefined at the end. */
  get key(): Uint8Array | undefined {
    return this.#page[this.#position]?.key ?? undefined
  }

  /** The next record. `limit`: how many more will be wanted of all cursors. */
  take(limit: number): ScannedRecord {
    const entry = this.#page[this.#position++]
    assert(entry !== undefined, 'a record is there')
    const left = this.#page.length - this.#position
    // The next page is fetched while the last quarter of this one is used.
    if (this.#more && this.#loading === undefined && left < this.#page.length / 4 && limit > left && left > 0) this.#prefetch()
    const record = { key: ownBuffer(entry.key), value: ownBuffer(entry.value), revision: entry.revision ?? 0 }
    return entry.expiresInMs ? { ...record, expiresInMs: entry.expiresInMs } : record
  }

  /** True: a record is there, or the end. False: a shard belongs to another group by now. */
  ready(): boolean | Promise<boolean> {
    if (this.#position < this.#page.length || !this.#more) return true
    return this.#awaitPage()
  }

  async #awaitPage(): Promise<boolean> {
    while (this.#position >= this.#page.length && this.#more) {
      if (this.#loading === undefined) this.#prefetch()
      const whole = await this.#loading
      this.#loading = undefined
      if (!whole) return false
    }
    return true
  }

  #prefetch(): void {
    this.#loading = this.#load()
    // Its failure is told to who waits for the page, if anybody ever does.
    this.#loading.catch(() => undefined)
  }

  async #load(): Promise<boolean> {
    const reply = await fetchPage(this.#dispatcher, this.#plan, this.#uid, this.#shards, this.#start, this.#end)
    if (reply === undefined) return false
    const last = reply.entries[reply.entries.length - 1]?.key
    assert(last !== undefined || !reply.more, 'a page with more behind it has a record')
    if (last) {
      if (this.#plan.reverse) this.#end = Buffer.from(last)
      else this.#start = keyAfter(last)
    }
    this.#page = [...this.#page.slice(this.#position), ...reply.entries]
    this.#position = 0
    this.#more = reply.more
    return true
  }
}

/** Undefined: by a newer config one of the shards belongs to another group. */
async function fetchPage(
  dispatcher: Dispatcher,
  plan: ScanPlan,
  uid: string,
  shards: number[],
  start: Uint8Array,
  end: Uint8Array,
): Promise<pb.v1.ScanReply | undefined> {
  const { router, clock } = dispatcher
  const deadlineMs = clock.monotonicMs() + plan.deadlineMs
  let last = ''
  for (let failures = 0, silences = 0; ; failures++) {
    mayGoOn(dispatcher, plan)
    for (const shard of shards) if (router.groupOf(shard)?.uid !== uid) return undefined
    const leftMs = deadlineMs - clock.monotonicMs()
    if (leftMs <= 0)
      throw makeError('DEADLINE', `no page of ${uid} within ${plan.deadlineMs} ms${last === '' ? '' : `; last: ${last}`}`, true)
    // A page that any replica may answer is asked of the leader once one could not.
    const isSpread = failures === 0 && isForAnyReplica(plan.consistency)
    const node = (isSpread ? router.reader(uid, clock.monotonicMs()) : router.target(uid)) ?? ''
    const request = {
      group: uid,
      configNumber: router.config?.number ?? 0,
      shards,
      start,
      end,
      reverse: plan.reverse,
      limit: Math.min(plan.limit, limits.scanEntriesDefault),
      consistency: plan.consistency,
      maxStalenessMs: plan.maxStalenessMs,
    }
    const verdict = await ask(
      dispatcher,
      node,
      new pb.v1.ScanRequest(request),
      Math.min(leftMs, attemptTimeoutMs(silences, router.isSuspect(node))),
      plan.signal,
    )
    if (verdict instanceof pb.v1.ScanReply) {
      if (isSpread) router.heard(node)
      else router.answered(uid, node)
      return verdict
    }
    last = `${verdict.code}, ${verdict.message}`
    if (verdict.action === 'finish') throw makeError(verdict.code, verdict.message, true)
    if (verdict.code === 'DEADLINE') silences++
    if (!isSpread || verdict.action !== 'leader') await prepareRetry(dispatcher, uid, node, verdict, failures, leftMs)
    else if (!verdict.definite) router.failed(uid, node, clock.monotonicMs(), unreachableAvoidMs)
  }
}

/** What a refusal asks for before the next attempt: a newer config, another node, or patience. */
async function prepareRetry(
  dispatcher: Dispatcher,
  uid: string,
  node: string,
  verdict: Verdict,
  failures: number,
  leftMs: number,
): Promise<void> {
  const { router, clock, random } = dispatcher
  if (verdict.action === 'config' && verdict.configNumber > (router.config?.number ?? 0)) {
    await dispatcher.atLeast(verdict.configNumber, leftMs).catch(() => undefined)
  } else if (verdict.action === 'leader') {
    const followed = verdict.hint !== '' && router.redirected(uid, node, verdict.hint, clock.monotonicMs())
    if (verdict.hint === '') router.failed(uid, node, clock.monotonicMs(), verdict.code === 'UNAVAILABLE' ? unreachableAvoidMs : 0)
    if (!followed || failures > 3) await sleep(clock, Math.min(leftMs, leaderBackoffMs(failures, random)))
  } else {
    await sleep(clock, Math.min(leftMs, loadBackoffMs(verdict.waitMs, failures, random)))
  }
}

async function ask(
  dispatcher: Dispatcher,
  node: string,
  request: pb.v1.ScanRequest,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<pb.v1.ScanReply | Verdict> {
  const link = dispatcher.linkTo(node)
  if (link === undefined) return unanswered('UNAVAILABLE', `${node}: its address is not known`)
  request.timeoutMs = Math.max(1, Math.ceil(timeoutMs))
  try {
    const reply = await link.channel.unary(kvMethods.scan, request, signal === undefined ? { timeoutMs } : { timeoutMs, signal })
    return reply.error ? verdictOf(reply.error, true) : reply
  } catch (error) {
    if (!(error instanceof TransportError)) throw error
    return unanswered(error.code === 'DEADLINE_EXCEEDED' ? 'DEADLINE' : 'UNAVAILABLE', `${node} (${link.address}): ${error.message}`)
  }
}

function mayGoOn(dispatcher: Dispatcher, plan: ScanPlan): void {
  if (dispatcher.closed) throw makeError('CANCELLED', 'the client was closed', false)
  if (plan.signal?.aborted) throw makeError('CANCELLED', 'the caller gave up', true)
}

const noBytes = new Uint8Array(0)
