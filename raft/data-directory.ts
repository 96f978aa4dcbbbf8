import { equalBytes, fromHex, toHex, utf8, utf8Text } from '../base/bytes.ts'
import { onceThereIsRoom, type Space } from '../base/disk-space.ts'
import { CorruptionError, DataDirectoryMismatch } from '../base/errors.ts'
import { type FileSystem, joinPath, makeFolderDurably, readFile, replaceFile } from '../base/file-system.ts'
import { decodeRecordFile, encodeRecordFile } from '../base/framed-record.ts'
import type { Random } from '../base/random.ts'

/** A process as its peers knew it when the cluster was formed. */
export interface FormedPeer {
  readonly id: string
  /** Hexadecimal. */
  readonly nonce: string
}

/** A replica by the uid of its group and its number. */
export interface HeldReplica {
  readonly group: string
  readonly replica: number
}

/** A replica that lost what it had promised to keep: its number is never used again. */
export interface RetiredReplica extends HeldReplica {
  /** One line. */
  readonly reason: string
}

/** What the identity file holds: one framed record of JSON. */
export interface Identity {
  /** 2: some replica is retired, which a release that knows format 1 alone would start again. */
  readonly format: 1 | 2
  readonly role: 'controller' | 'server'
  readonly id: string
  /** 16 random bytes, drawn with the directory, hexadecimal: tells a wiped directory from the one that was there. */
  readonly nonce: string
  /** Hexadecimal; empty: no cluster yet. */
  readonly clusterId: string
  /** Controllers: the peers with which the first log was formed; empty: none yet. */
  readonly formed: readonly FormedPeer[]
  /** Replicas whose log was begun here: group uid → number. One that is listed and has no log was lost with it. */
  readonly replicas: Readonly<Record<string, number>>
  /** Left out where there are none. */
  readonly retired?: readonly RetiredReplica[]
}

export const identityName = 'identity'
const nonceBytes = 16

/**
 * A process's data directory and what it must remember of itself: written durably before it is acted upon.
 *
 *     identity        who this directory belongs to (this file)
 *     log/            the shared log (raft/log)
 *     groups/UID.N/   the state of replica N of group UID (lsm)
 */
export class DataDirectory {
  readonly folder: string
  readonly #fileSystem: FileSystem
  #identity: Identity
  /** The identity's, as bytes: asked for with every frame. */
  #clusterId: Uint8Array
  #saving: Promise<void> = Promise.resolve()
  /** Undefined: a full disk fails what is to be remembered, as at the first start of a process. */
  #space: Space | undefined

  private constructor(fileSystem: FileSystem, folder: string, identity: Identity) {
    this.#fileSystem = fileSystem
    this.folder = folder
    this.#identity = identity
    this.#clusterId = fromHex(identity.clusterId)
  }

  /** Opens `folder` for `id`, or makes it. Throws DataDirectoryMismatch for another's, CorruptionError for a damaged identity. */
  static async open(
    fileSystem: FileSystem,
    random: Random,
    folder: string,
    role: 'controller' | 'server',
    id: string,
  ): Promise<DataDirectory> {
    await makeFolderDurably(fileSystem, folder)
    const path = joinPath(folder, identityName)
    if (await fileSystem.exists(path)) {
      const identity = decodeIdentity(path, await readFile(fileSystem, path))
      if (identity.role !== role || identity.id !== id) {
        throw new DataDirectoryMismatch(
          `${folder} belongs to ${identity.role} ${identity.id}, not to ${role} ${id}: give each process its own --data, or start it under its own --id`,
        )
      }
      // What is acted upon is durable: the process before may have ended between the rename of the identity and the sync of its name.
      await fileSystem.syncFolder(folder)
      return new DataDirectory(fileSystem, folder, identity)
    }
    for (const name of ['log', 'groups']) {
      if (await fileSystem.exists(joinPath(folder, name)))
        throw new CorruptionError(path, undefined, `the identity is missing although ${name}/ is there`)
    }
    const identity: Identity = { format: 1, role, id, nonce: toHex(random.bytes(nonceBytes)), clusterId: '', formed: [], replicas: {} }
    const directory = new DataDirectory(fileSystem, folder, identity)
    await directory.#save(identity)
    return directory
  }

  /** From now on a full disk is waited for: what is to be remembered must be, and is a few hundred bytes. */
  waitForRoom(space: Space): void {
    this.#space = space
  }

  get id(): string {
    return this.#identity.id
  }

  get role(): 'controller' | 'server' {
    return this.#identity.role
  }

  get nonce(): Uint8Array {
    return fromHex(this.#identity.nonce)
  }

  /** Empty: no cluster yet. */
  get clusterId(): Uint8Array {
    return this.#clusterId
  }

  get formed(): readonly FormedPeer[] {
    return this.#identity.formed
  }

  get logFolder(): string {
    return joinPath(this.folder, 'log')
  }

  replicaFolder(group: string, replica: number): string {
    return joinPath(this.folder, 'groups', `${group}.${replica}`)
  }

  /** The number under which a log was begun here for `group`; undefined: none. */
  startedReplica(group: string): number | undefined {
    return this.#identity.replicas[group]
  }

  /** Remembers the cluster. Throws DataDirectoryMismatch if this directory belongs to another. */
  async joinCluster(clusterId: Uint8Array): Promise<void> {
    if (equalBytes(clusterId, this.clusterId)) return await this.#saving
    if (this.#identity.clusterId !== '') {
      throw new DataDirectoryMismatch(
        `${this.folder} belongs to cluster ${this.#identity.clusterId}, but its controllers are cluster ${toHex(clusterId)}: point it to its own controllers, or give it an empty --data`,
      )
    }
    await this.#save({ ...this.#identity, clusterId: toHex(clusterId) })
  }

  async markFormed(peers: readonly FormedPeer[]): Promise<void> {
    await this.#save({ ...this.#identity, formed: peers })
  }

  async markStarted(group: string, replica: number): Promise<void> {
    await this.#save({ ...this.#identity, replicas: { ...this.#identity.replicas, [group]: replica } })
  }

  get retired(): readonly RetiredReplica[] {
    return this.#identity.retired ?? []
  }

  /** Every replica whose log was begun here and that is not retired. */
  get started(): readonly HeldReplica[] {
    return Object.entries(this.#identity.replicas).map(([group, replica]) => ({ group, replica }))
  }

  isRetired(group: string, replica: number): boolean {
    return this.retired.some((retired) => retired.group === group && retired.replica === replica)
  }

  /** These numbers are never used here again; what is left of them may go. In one step. */
  async retire(lost: readonly RetiredReplica[]): Promise<void> {
    const added = new Map<string, RetiredReplica>()
    for (const one of lost) if (!this.isRetired(one.group, one.replica)) added.set(`${one.group}.${one.replica}`, one)
    const replicas = Object.fromEntries(
      Object.entries(this.#identity.replicas).filter(
        ([group, number]) => !lost.some((one) => one.group === group && one.replica === number),
      ),
    )
    if (added.size > 0) await this.#save({ ...this.#identity, replicas, retired: [...this.retired, ...added.values()] })
    else await this.#saving
  }

  /** Every replica of which this directory holds anything, or knows that it is retired: also what a start that was killed has left. */
  async heldReplicas(): Promise<readonly HeldReplica[]> {
    const held = new Map<string, HeldReplica>()
    const add = ({ group, replica }: HeldReplica) => held.set(`${group}.${replica}`, { group, replica })
    for (const each of [...this.started, ...this.retired]) add(each)
    for (const name of await this.#replicaFolders()) {
      const replica = replicaOfFolder(name)
      if (replica !== undefined) add(replica)
    }
    return [...held.values()]
  }

  /** Uids of the groups of which this directory holds anything: also what a start that was killed has left. */
  async heldGroups(): Promise<readonly string[]> {
    return [...new Set((await this.heldReplicas()).map(({ group }) => group))].sort()
  }

  /** Deletes all of a group but its log, which must be gone durably before: the group is known here until the last step, so that a crash in between is made good. */
  async removeGroup(group: string): Promise<void> {
    await this.#remove((one) => one.group === group)
  }

  /** The same for one replica. */
  async removeReplica(group: string, replica: number): Promise<void> {
    await this.#remove((one) => one.group === group && one.replica === replica)
  }

  /** Deletes the files of a retired replica: its number stays known. */
  async clearReplica(group: string, replica: number): Promise<void> {
    await this.#removeFolders((one) => one.group === group && one.replica === replica)
  }

  async #remove(isGone: (replica: HeldReplica) => boolean): Promise<void> {
    await this.#removeFolders(isGone)
    const started = this.started.filter((replica) => !isGone(replica))
    const retired = this.retired.filter((replica) => !isGone(replica))
    if (started.length === this.started.length && retired.length === this.retired.length) return
    await this.#save({ ...this.#identity, replicas: Object.fromEntries(started.map(({ group, replica }) => [group, replica])), retired })
  }

  async #removeFolders(isGone: (replica: HeldReplica) => boolean): Promise<void> {
    const parent = joinPath(this.folder, 'groups')
    const folders = (await this.#replicaFolders()).filter((name) => {
      const replica = replicaOfFolder(name)
      return replica !== undefined && isGone(replica)
    })
    for (const name of folders) await this.#fileSystem.removeFolder(joinPath(parent, name))
    if (folders.length > 0) await this.#fileSystem.syncFolder(parent)
  }

  async #replicaFolders(): Promise<string[]> {
    const parent = joinPath(this.folder, 'groups')
    return (await this.#fileSystem.exists(parent)) ? this.#fileSystem.list(parent) : []
  }

  /** Saves run one after the other; the new identity counts at once for the next save, and is durable when this resolves. */
  #save({ retired = [], ...rest }: Identity): Promise<void> {
    const identity: Identity = retired.length > 0 ? { ...rest, format: 2, retired } : { ...rest, format: 1 }
    this.#identity = identity
    this.#clusterId = fromHex(identity.clusterId)
    const path = joinPath(this.folder, identityName)
    const bytes = encodeRecordFile(utf8(JSON.stringify(identity)))
    this.#saving = this.#saving.then(() => onceThereIsRoom(this.#space, () => replaceFile(this.#fileSystem, path, bytes)))
    return this.#saving
  }
}

/** Replica 3 of 'g1@12' for 'g1@12.3', and for what lies beside it under a longer name; undefined: none of ours. */
function replicaOfFolder(name: string): HeldReplica | undefined {
  const found = /^(.+@\d+)\.(\d+)/.exec(name)
  return found === null ? undefined : { group: found[1] ?? '', replica: Number(found[2]) }
}

/** What the identity file at `path` holds, whose content is `bytes`. CorruptionError where that is none. */
export function decodeIdentity(path: string, bytes: Uint8Array): Identity {
  const payload = decodeRecordFile(bytes, path)
  const identity = JSON.parse(utf8Text(payload)) as Identity
  if (identity.format !== 1 && identity.format !== 2)
    throw new CorruptionError(path, undefined, `format ${String(identity.format)} is not known to this version`)
  return identity
}
