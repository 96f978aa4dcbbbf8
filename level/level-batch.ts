import { AbstractChainedBatch } from 'abstract-level'
import { WriteBatch } from '../lsm/index.ts'

export interface WriteOptions {
  /** Resolve only when it survives a loss of power; default false, as in this family: it survives the end of the process. */
  readonly sync?: boolean
}

/** Operations are encoded as they come: `write` has nothing left to do but to write. */
export class LevelBatch<TDatabase, KDefault, VDefault> extends AbstractChainedBatch<TDatabase, KDefault, VDefault> {
  readonly #batch = new WriteBatch()
  readonly #write: (batch: WriteBatch, options: WriteOptions) => Promise<void>

  constructor(db: TDatabase, write: (batch: WriteBatch, options: WriteOptions) => Promise<void>) {
    super(db)
    this.#write = write
  }

  _put(key: Uint8Array, value: Uint8Array): void {
    this.#batch.put(key, value)
  }

  _del(key: Uint8Array): void {
    this.#batch.delete(key)
  }

  _clear(): void {
    this.#batch.clear()
  }

  _write(options: WriteOptions): Promise<void> {
    return this.#write(this.#batch, options)
  }
}
