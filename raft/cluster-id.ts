import { equalBytes } from '../base/bytes.ts'

/** Bytes of a cluster's id. */
export const clusterIdBytes = 16

/** A side that has no cluster yet (an empty id) is no stranger: a fresh controller learns its cluster from its peers. */
export function sameCluster(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === 0 || b.length === 0 || equalBytes(a, b)
}
