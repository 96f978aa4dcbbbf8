import { encodeError } from '../proto/error-codec.ts'
import { OstrakaError } from '../proto/errors.ts'
import { limits } from '../proto/limits.ts'
import type { pb } from '../proto/messages.ts'
import type { ProposalOutcome, ReadOutcome as ReadIndexOutcome, ReadKind } from '../raft/state-machine.ts'
import type { GroupResult } from './apply-run.ts'
import { asRefusal } from './execute-call.ts'
import type { HostedGroup, KvNode } from './kv-node.ts'
import { readKindOf } from './read-kind.ts'
import type { ScanOptions, ScanOutcome } from './reads.ts'
import { deadlinePassed, expiredElsewhere, notHosted, refusalOf, replicaRefusal, shardRefusal } from './refusals.ts'
import { checkScanRequest, invalidArgument, timeoutOf } from './request-checks.ts'

const none = new Uint8Array(0)
/** A page may be cut short, but a client's wish for one is bounded too. */
const scanEntriesMax = 10_000

/** One page. Never rejects: what fails is in the reply. `ended` is called when its work is over, which may be after the deadline's reply. */
export async function runScan(
  node: KvNode,
  request: pb.v1.ScanRequest.$Properties,
  ended: () => void,
): Promise<pb.v1.ScanReply.$Properties> {
  let timer: { cancel(): void } | undefined
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = node.clock.setTimer(timeoutOf(request), () => reject(deadlinePassed(false)))
  })
  try {
    const page = await Promise.race([scanPage(node, request).finally(ended), deadline])
    return { entries: [...page.entries], more: page.more, configNumber: node.configNumber }
  } catch (error) {
    return { error: encodeError(asRefusal(error)), configNumber: node.configNumber }
  } finally {
    timer?.cancel()
  }
}

async function scanPage(node: KvNode, request: pb.v1.ScanRequest.$Properties): Promise<Extract<ScanOutcome, { kind: 'page' }>> {
  const hosted = await hostedGroup(node, request)
  const wrong = checkScanRequest(request, node.config?.shardCount ?? 0)
  if (wrong !== undefined) throw invalidArgument(wrong)
  const kind = readKindOf(node, hosted, request)
  if (kind !== undefined) await confirmRead(node, hosted, request.group ?? '', kind)
  const leaderTimeMs = node.timeOf(hosted)
  let outcome = await hosted.stateMachine.scan(optionsOf(request, leaderTimeMs))
  if (outcome.kind === 'needs-time-mark') {
    if (hosted.replica.role !== 'leader') throw expiredElsewhere(node, hosted)
    await logTimeMark(node, hosted, request.group ?? '', leaderTimeMs)
    outcome = await hosted.stateMachine.scan(optionsOf(request, leaderTimeMs))
  }
  if (outcome.kind === 'page') {
    for (const shard of request.shards ?? []) node.loads.countRead(shard)
    return outcome
  }
  if (outcome.kind === 'needs-time-mark') throw new OstrakaError('UNAVAILABLE', 'the time mark had no effect', true)
  throw shardRefusal(node, request, outcome.shard, outcome.state)
}

async function hostedGroup(node: KvNode, request: pb.v1.ScanRequest.$Properties): Promise<HostedGroup> {
  const present = node.group(request.group ?? '')
  if (present !== undefined && node.config !== undefined) return present
  const number = request.configNumber ?? 0
  if (!Number.isSafeInteger(number)) throw invalidArgument('config_number is out of range')
  const config = await node.fetchConfig(number, timeoutOf(request))
  const hosted = node.group(request.group ?? '')
  if (hosted === undefined) throw notHosted(request.group ?? '', config)
  return hosted
}

function optionsOf(request: pb.v1.ScanRequest.$Properties, leaderTimeMs: number): ScanOptions {
  return {
    shards: request.shards ?? [],
    start: request.start ?? none,
    end: request.end ?? none,
    reverse: request.reverse ?? false,
    limit: Math.min(scanEntriesMax, request.limit || limits.scanEntriesDefault),
    pageBytes: limits.scanPageBytes,
    leaderTimeMs,
  }
}

/** The scan begins in the turn in which this resolves. */
function confirmRead(node: KvNode, hosted: HostedGroup, group: string, kind: ReadKind): Promise<void> {
  return new Promise((resolve, reject) => {
    hosted.replica.readIndex((outcome: ReadIndexOutcome) => {
      if (outcome.kind === 'ready') resolve()
      else reject(refusalOf(node, group, outcome))
    }, kind)
  })
}

function logTimeMark(node: KvNode, hosted: HostedGroup, group: string, timeMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    node.timeMarks.mark(hosted.replica, timeMs, (outcome: ProposalOutcome<GroupResult>) => {
      if (outcome.kind === 'applied') resolve()
      else if (outcome.kind === 'refused') reject(refusalOf(node, group, outcome))
      else reject(replicaRefusal('not-leader', ''))
    })
  })
}
