import { toHex } from '../base/bytes.ts'
import { pb } from '../proto/messages.ts'
import { plain, type RecordReader, type RecordWriter, recordsOf, requestKey } from './config-records.ts'

/** What a change was answered with. */
export interface AnsweredChange {
  readonly configNumber: number
  /** Ids of the migrations that it planned or concerned. */
  readonly migrations: readonly number[]
  /** What was asked for (`requestedBy`); 0: not known. */
  readonly requested: number
}

/** Answered requests that are remembered. */
export const requestsMax = 4096

/** The newest answered requests, so that one asked again gets the same answer and changes nothing. Part of the replicated state. */
export class AnsweredRequests {
  /** Request id (hex) → answer, oldest first. */
  readonly #answers = new Map<string, AnsweredChange>()
  /** How many were ever kept. */
  #count = 0

  get count(): number {
    return this.#count
  }

  get(requestId: Uint8Array): AnsweredChange | undefined {
    return this.#answers.get(toHex(requestId))
  }

  remember(requestId: Uint8Array, answer: AnsweredChange, records: RecordWriter): void {
    this.#answers.set(toHex(requestId), answer)
    const record = pb.v1.AnsweredRequest.encode({ requestId, ...answer, migrations: [...answer.migrations] }).finish()
    records.put(requestKey(this.#count), record)
    if (this.#count >= requestsMax) {
      for (const oldest of this.#answers.keys()) {
        this.#answers.delete(oldest)
        break
      }
      records.delete(requestKey(this.#count - requestsMax))
    }
    this.#count++
  }

  async load(database: RecordReader, count: number): Promise<void> {
    this.#count = count
    for await (const { value } of recordsOf(database, 'q')) {
      const { requestId, configNumber, migrations, requested } = pb.v1.AnsweredRequest.decode(plain(value))
      this.#answers.set(toHex(requestId), { configNumber, migrations, requested })
    }
  }
}
