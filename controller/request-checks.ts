import { utf8 } from '../base/bytes.ts'
import type { NamedAddress, NodeEntry } from '../proto/directory.ts'
import { OstrakaError } from '../proto/errors.ts'
import { limits, protocolVersion } from '../proto/limits.ts'
import type { pb } from '../proto/messages.ts'
import { controllerGroup } from './controller-members.ts'
import type { Asked } from './leader-view.ts'

/** Requests to the controller, checked: each function gives what the request says or throws INVALID_ARGUMENT with one line that says what is wrong. */

export interface CheckedGroup {
  readonly name: string
  readonly weight: number
  /** False: 1, for want of another. */
  readonly isWeightGiven: boolean
  readonly members: readonly CheckedMember[]
}

export interface CheckedMember {
  readonly node: string
  /** Empty: none given. */
  readonly address: string
}

export interface CheckedJoin extends Asked {
  readonly groups: readonly CheckedGroup[]
  readonly once: boolean
}

/** A group as one of its replicas sees it. */
export interface CheckedHosted {
  readonly group: string
  readonly term: number
  readonly leader: string
  /** undefined: not told this time. */
  readonly sizes: ReadonlyMap<number, number> | undefined
  readonly progress: readonly pb.v1.MigrationProgress.$Properties[]
  /** Number of the replica; 0: not told. */
  readonly replica: number
}

/** A replica that its node cannot hold. */
export interface CheckedLost {
  /** Uid. */
  readonly group: string
  readonly replica: number
  /** One line. */
  readonly reason: string
}

/** What a node serves: of each of `shards`, operations per second. */
export interface CheckedLoads {
  readonly shards: readonly number[]
  readonly reads: readonly number[]
  readonly writes: readonly number[]
}

const joinGroupsMax = 256
export const membersMax = 15
const weightMin = 1e-3
const weightMax = 1e6
const authorCharactersMax = 256
const requestIdBytesMax = 64
const listenersMax = 16
const hostedGroupsMax = 16_384
/** Operations per second: beyond it is nonsense. */
const rateMax = 1e12
export const nonceBytes = 16

const namePattern = /^[a-zA-Z0-9._-]+$/
const addressPattern = /^(\[[0-9a-fA-F:.%]+\]|[a-zA-Z0-9._-]{1,253}):([0-9]{1,5})$/

export function checkJoin(request: pb.v1.JoinRequest.$Properties): CheckedJoin {
  const groups = request.groups ?? []
  check(groups.length > 0, 'no group given to join')
  check(groups.length <= joinGroupsMax, `${groups.length} groups in one join: at most ${joinGroupsMax}`)
  const checked = groups.map(checkGroup)
  mustDiffer(
    checked.map((group) => group.name),
    'group',
  )
  return { groups: checked, once: request.once ?? false, ...checkAsked(request) }
}

/** Who asks, under which id, on which config. */
export function checkAsked(request: {
  author?: string | null
  requestId?: string | null
  base?: number | null
  baseMigrations?: number | null
}): Asked {
  const author = request.author ?? ''
  check(author.length <= authorCharactersMax, `author is longer than ${authorCharactersMax} characters`)
  const requestId = utf8(request.requestId ?? '')
  check(requestId.length <= requestIdBytesMax, `request id is longer than ${requestIdBytesMax} bytes`)
  const baseMigrations = request.baseMigrations ?? 0
  check(Number.isSafeInteger(baseMigrations), `mark of migrations ${baseMigrations} is out of range`)
  return { author, requestId, base: checkNumber(request.base), baseMigrations }
}

function checkGroup(group: pb.v1.JoinGroup.$Properties): CheckedGroup {
  const name = checkName(group.name, 'group name')
  const weight = checkWeight(group.weight || 1, name)
  const members = (group.members ?? []).map(checkMember)
  check(members.length > 0, `group ${name} has no nodes`)
  check(members.length <= membersMax, `group ${name} has ${members.length} nodes: at most ${membersMax}`)
  mustDiffer(
    members.map((member) => member.node),
    `group ${name}: node`,
  )
  return { name, weight, isWeightGiven: Boolean(group.weight), members }
}

export function checkWeight(weight: number, group: string): number {
  check(weight >= weightMin && weight <= weightMax, `weight ${weight} of group ${group}: from ${weightMin} to ${weightMax}`)
  return weight
}

/** What is checked of a node that is to hold a replica. */
export function checkMember(member: pb.v1.JoinMember.$Properties): CheckedMember {
  const node = checkName(member.node, 'node id')
  return { node, address: member.address ? checkAddress(member.address, `address of node ${node}`) : '' }
}

/** The entry's version is 0: the state machine gives it. */
export function checkRegister(request: pb.v1.RegisterRequest.$Properties): { entry: NodeEntry; controller: boolean; nonce: Uint8Array } {
  const id = checkName(request.id, 'id')
  const version = request.protocolVersion ?? 0
  if (version !== protocolVersion) {
    const text = `${id} speaks protocol version ${version}, this controller ${protocolVersion}: install the same version of ostraka on both`
    throw new OstrakaError('FAILED_PRECONDITION', text, true)
  }
  const addresses: NamedAddress[] = (request.addresses ?? []).map((named) => {
    const name = checkName(named.name, `listener name of ${id}`)
    return { name, address: checkAddress(named.address, `address of ${id}`) }
  })
  check(addresses.length > 0 && addresses.length <= listenersMax, `${id} has ${addresses.length} addresses: 1 to ${listenersMax}`)
  mustDiffer(
    addresses.map((named) => named.name),
    `${id}: listener`,
  )
  const http = request.http ? checkAddress(request.http, `HTTP address of ${id}`) : ''
  const pid = request.pid ?? 0
  check(Number.isSafeInteger(pid), `process id ${pid} of ${id}`)
  check((request.clusterId?.length ?? 0) === 0 || request.clusterId?.length === 16, `cluster id of ${request.clusterId?.length} bytes: 16`)
  const controller = request.controller ?? false
  return { entry: { id, addresses, pid, http, version: 0 }, controller, nonce: checkNonce(request.nonce, id) }
}

export interface CheckedClaim {
  readonly node: string
  /** Uid. */
  readonly group: string
  readonly replica: number
  readonly nonce: Uint8Array
}

export function checkClaim(request: pb.v1.ClaimReplicaRequest.$Properties): CheckedClaim {
  const node = checkName(request.node, 'node id')
  const group = request.group === controllerGroup ? controllerGroup : checkUid(request.group)
  const replica = request.replica ?? 0
  check(replica > 0, 'replica number 0: they begin at 1')
  return { node, group, replica, nonce: checkNonce(request.nonce, node) }
}

export function checkHeartbeat(request: pb.v1.HeartbeatRequest.$Properties): {
  id: string
  nonce: Uint8Array
  controller: boolean
  groups: CheckedHosted[]
  lost: CheckedLost[]
  /** undefined: not told this time. */
  loads: CheckedLoads | undefined
} {
  const id = checkName(request.id, 'id')
  const groups = request.groups ?? []
  const lost = request.lost ?? []
  check(groups.length <= hostedGroupsMax && lost.length <= hostedGroupsMax, `${groups.length} groups hosted by ${id}, ${lost.length} lost`)
  return {
    id,
    nonce: checkNonce(request.nonce, id),
    controller: request.controller ?? false,
    groups: groups.map(checkHosted),
    lost: lost.map(checkLost),
    loads: request.loads ? checkLoads(request.loads) : undefined,
  }
}

function checkLoads(loads: pb.v1.ShardLoads.$Properties): CheckedLoads {
  const [shards, reads, writes] = [loads.shards ?? [], loads.reads ?? [], loads.writes ?? []]
  const areWhole = shards.length <= limits.shardCountMax && reads.length === shards.length && writes.length === shards.length
  check(areWhole && [...reads, ...writes].every((rate) => rate >= 0 && rate < rateMax), `loads of ${shards.length} shards`)
  return { shards, reads, writes }
}

function checkLost({ group, replica, reason }: pb.v1.LostReplica.$Properties): CheckedLost {
  check((replica ?? 0) > 0, 'a lost replica of number 0: they begin at 1')
  return { group: checkUid(group), replica: replica ?? 0, reason: shown(reason ?? '') }
}

function checkHosted(hosted: pb.v1.HostedGroup.$Properties): CheckedHosted {
  const { group, term, leader, tellsSizes, progress } = hosted
  check(Number.isSafeInteger(term ?? 0), `term ${term} of group ${shown(group ?? '')}`)
  const sizes = tellsSizes ? new Map((hosted.sizes ?? []).map(({ shard, bytes }) => [shard ?? 0, bytes ?? 0])) : undefined
  const told = (progress ?? []).map((one) => (one.waitsFor ? { ...one, waitsFor: shown(one.waitsFor) } : one))
  return { group: group ?? '', term: term ?? 0, leader: leader ?? '', sizes, progress: told, replica: hosted.replica ?? 0 }
}

export function checkUid(given: string | null | undefined): string {
  const uid = given ?? ''
  check(/^[a-zA-Z0-9._-]{1,64}@[0-9]{1,16}$/.test(uid), `group uid '${shown(uid)}': NAME@NUMBER`)
  return uid
}

/** A config number, 0 meaning the newest. */
export function checkNumber(number: number | null | undefined): number {
  check(Number.isSafeInteger(number ?? 0), `config number ${number} is out of range`)
  return number ?? 0
}

export function checkName(name: string | null | undefined, what: string): string {
  const given = name ?? ''
  const fits = given.length <= limits.groupNameMax && namePattern.test(given)
  check(fits, `${what} '${shown(given)}': 1 to ${limits.groupNameMax} characters of a-z, A-Z, 0-9, '-', '_', '.'`)
  return given
}

function checkAddress(address: string | null | undefined, what: string): string {
  const match = addressPattern.exec(address ?? '')
  const port = Number(match?.[2] ?? 0)
  check(match !== null && port > 0 && port < 65_536, `${what} '${shown(address ?? '')}': HOST:PORT`)
  return address ?? ''
}

function checkNonce(nonce: Uint8Array | null | undefined, of: string): Uint8Array {
  check(nonce?.length === nonceBytes, `nonce of ${of} has ${nonce?.length ?? 0} bytes: ${nonceBytes}`)
  return Uint8Array.from(nonce ?? [])
}

export function mustDiffer(names: readonly string[], what: string): void {
  const twice = names.find((name, at) => names.indexOf(name) !== at)
  check(twice === undefined, `${what} ${twice} is given twice`)
}

/** What a stranger sent, fit for one line. */
export function shown(text: string): string {
  const printable = text.replace(/[^\x20-\x7e]/g, '?')
  return printable.length > 80 ? `${printable.slice(0, 80)}…` : printable
}

export function check(condition: boolean, what: string): asserts condition {
  if (!condition) throw new OstrakaError('INVALID_ARGUMENT', what, true)
}
