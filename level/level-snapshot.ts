import { AbstractSnapshot } from 'abstract-level'
import type { Snapshot } from '../lsm/index.ts'

/** Its types leave the argument out. */
const Base = AbstractSnapshot as new (options: object) => AbstractSnapshot

export class LevelSnapshot extends Base {
  readonly snapshot: Snapshot

  /** `options`: as abstract-level gave them. Takes `snapshot` over. */
  constructor(snapshot: Snapshot, options: object) {
    super(options)
    this.snapshot = snapshot
  }

  async _close(): Promise<void> {
    this.snapshot.release()
  }
}
