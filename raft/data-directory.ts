import { equalBytes, fromHex, toHex, utf8, utf8Text } from '../base/bytes.ts'
import { CorruptionError } from '../base/errors.ts'
import { type FileSystem, joinPath, makeFolderDurably, readFile, replaceFile } from '../base/file-system.ts'
import { decodeRecordFile, encodeRecordFile } from '../base/framed-record.ts'
import type { Random } from '../base/random.ts'

/** This data directory belongs to another node or cluster, or is none of ours: exit code 78. */
export class DataDirectoryMismatch extends Error {
  override readonly name = 'DataDirectoryMismatch'
}

/** A process as its peers knew it when the cluster was formed. */
export interface FormedPeer {
  readonly id: string
  /** Hexadecimal. */
  readonly nonce: string
}

/** What the identity file holds: one framed record of JSON. */
interface Identity {
  readonly format: 1
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
}

const fileName = 'identity'
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
    const path = joinPath(folder, fileName)
    if (await fileSystem.exists(path)) {
      const identity = decodeIdentity(path, await readFile(fileSystem, path))
      if (identity.role !== role || identity.id !== id) {
        throw new DataDirectoryMismatch(
          `${folder} belongs to ${identity.role} ${identity.id}, not to ${role} ${id}: give each process its own --data, or start it under its own --id`,
        )
      }
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

  get id(): string {
    return this.#identity.id
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

  /** Uids of the groups of which this directory holds anything: also what a start that was killed has left. */
  async heldGroups(): Promise<readonly string[]> {
    const held = new Set(Object.keys(this.#identity.replicas))
    for (const name of await this.#replicaFolders()) held.add(groupOfFolder(name))
    return [...held].filter((group) => group !== '').sort()
  }

  /** Deletes all of a group but its log, which must be gone durably before: the group is known here until the last step, so that a crash in between is made good. */
  async removeGroup(group: string): Promise<void> {
    const parent = joinPath(this.folder, 'groups')
    const folders = (await this.#replicaFolders()).filter((name) => groupOfFolder(name) === group)
    for (const name of folders) await this.#fileSystem.removeFolder(joinPath(parent, name))
    if (folders.length > 0) await this.#fileSystem.syncFolder(parent)
    const { [group]: started, ...replicas } = this.#identity.replicas
    if (started !== undefined) await this.#save({ ...this.#identity, replicas })
  }

  async #replicaFolders(): Promise<string[]> {
    const parent = joinPath(this.folder, 'groups')
    return (await this.#fileSystem.exists(parent)) ? this.#fileSystem.list(parent) : []
  }

  /** Saves run one after the other; the new identity counts at once for the next save, and is durable when this resolves. */
  #save(identity: Identity): Promise<void> {
    this.#identity = identity
    this.#clusterId = fromHex(identity.clusterId)
    const path = joinPath(this.folder, fileName)
    this.#saving = this.#saving.then(() => replaceFile(this.#fileSystem, path, encodeRecordFile(utf8(JSON.stringify(identity)))))
    return this.#saving
  }
}

/** 'g1@12' of 'g1@12.3', and of what lies beside it under a longer name; '': none of ours. */
function groupOfFolder(name: string): string {
  return /^(.+@\d+)\.\d+/.exec(name)?.[1] ?? ''
}

function decodeIdentity(path: string, bytes: Uint8Array): Identity {
  const payload = decodeRecordFile(bytes, path)
  const identity = JSON.parse(utf8Text(payload)) as Identity
  if (identity.format !== 1) throw new CorruptionError(path, undefined, `format ${String(identity.format)} is not known to this version`)
  return identity
}
