import type { Clock } from '../base/clock.ts'
import { type FileSystem, joinPath } from '../base/file-system.ts'
import type { Transport } from '../base/transport.ts'
import { OstrakaError } from '../proto/errors.ts'
import type { DataDirectory } from './data-directory.ts'
import { FetchSlots } from './fetch-slots.ts'
import { fetchFiles } from './file-fetch.ts'
import { Pace } from './pace.ts'
import type { SnapshotPeers } from './snapshot-install.ts'

/** Snapshots fetched at one time: more than one, so that a peer that is slow does not hold up all groups. */
const fetchesMax = 2

export interface SnapshotFetchesOptions {
  readonly transport: Transport
  readonly fileSystem: FileSystem
  readonly clock: Clock
  readonly directory: DataDirectory
  /** Where a node can be reached by its peers. */
  resolve(node: string): string | undefined
  /** Of all fetches together; undefined: as fast as it goes. */
  readonly bytesPerSecond: number | undefined
}

/** The snapshots that the replicas of one process fetch: few at a time, at one rate together. */
export class SnapshotFetches {
  readonly #options: SnapshotFetchesOptions
  readonly #slots = new FetchSlots(fetchesMax)
  readonly #pace: Pace | undefined

  constructor(options: SnapshotFetchesOptions) {
    this.#options = options
    const { bytesPerSecond, clock } = options
    this.#pace = bytesPerSecond === undefined ? undefined : new Pace(clock, { bytesPerSecond })
  }

  /** For one replica. `nodeOf`: the node that holds a replica of its group; undefined: not known. */
  peersOf(group: string, replica: number, nodeOf: (replica: number) => string | undefined): SnapshotPeers {
    const { transport, fileSystem, clock, directory, resolve } = this.#options
    const folder = joinPath(directory.replicaFolder(group, replica), 'fetch')
    const fetch: SnapshotPeers['fetch'] = (peer, minIndex, signal) =>
      this.#slots.run(signal, async () => {
        const address = resolve(nodeOf(peer) ?? '')
        if (address === undefined) throw new OstrakaError('UNAVAILABLE', `the node of replica ${peer} is not known`, true)
        const pace = this.#pace === undefined ? {} : { pace: this.#pace }
        const request = { group, snapshot: { minIndex } }
        const clusterId = () => directory.clusterId
        return await fetchFiles({ transport, address, fileSystem, clock, clusterId, request, folder, signal, ...pace })
      })
    return { fetch, discard: () => fileSystem.removeFolder(folder) }
  }
}
