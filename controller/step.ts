import type { Config } from '../proto/config.ts'
import type { ConfigDifference } from '../proto/config-difference.ts'
import { ConfigDraft } from '../proto/config-draft.ts'

/** What is to be known of each config number. */
export interface Made {
  readonly cause: string
  readonly author: string
  readonly atMs: number
}

type Contents = Partial<Pick<ConfigDifference, 'groups' | 'removedGroups' | 'shards' | 'pins' | 'unpinned'>>

/** Config `number` as a difference from the one before. */
function stepTo(number: number, shardCount: number, made: Made, contents: Contents): ConfigDifference {
  return {
    from: number - 1,
    to: { number, ...made, shardCount },
    groups: [],
    removedGroups: [],
    shards: [],
    pins: [],
    unpinned: [],
    ...contents,
  }
}

/** Configs one after the other, as a leader computes them. */
export class Steps {
  readonly all: ConfigDifference[] = []
  readonly #draft: ConfigDraft
  readonly #shardCount: number

  constructor(base: Config) {
    this.#draft = new ConfigDraft(base)
    this.#shardCount = base.shardCount
  }

  /** Of the newest. */
  get number(): number {
    return this.#draft.number
  }

  /** The newest. */
  get config(): Config {
    return this.#draft.config
  }

  add(made: Made, contents: Contents): void {
    const step = stepTo(this.number + 1, this.#shardCount, made, contents)
    this.all.push(step)
    this.#draft.add(step)
  }
}
