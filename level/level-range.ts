import { keyAfter } from '../base/bytes.ts'
import type { KeyRange } from '../lsm/index.ts'

/** Range options of abstract-level with their keys encoded. Those that are not there are no bounds; of a pair the inclusive one counts. */
export interface LevelRange {
  readonly gt?: Uint8Array
  readonly gte?: Uint8Array
  readonly lt?: Uint8Array
  readonly lte?: Uint8Array
}

export function keyRange({ gt, gte, lt, lte }: LevelRange): KeyRange {
  return { lower: gte ?? (gt && keyAfter(gt)), upper: lte === undefined ? lt : keyAfter(lte) }
}
