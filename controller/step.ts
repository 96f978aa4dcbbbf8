import type { Config } from '../proto/config.ts'
import { applyDifference, type ConfigDifference } from '../proto/config-difference.ts'

/** What is to be known of each config number. */
export interface Made {
  readonly cause: string
  readonly author: string
  readonly atMs: number
}

type Contents = Partial<Pick<ConfigDifference, 'groups' | 'removedGroups' | 'shards' | 'pins' | 'unpinned'>>

/** The next config as a difference. */
export function stepFrom(config: Config, made: Made, contents: Contents): ConfigDifference {
  return {
    from: config.number,
    to: { number: config.number + 1, ...made, shardCount: config.shardCount },
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
  config: Config

  constructor(base: Config) {
    this.config = base
  }

  add(made: Made, contents: Contents): void {
    const step = stepFrom(this.config, made, contents)
    this.all.push(step)
    this.config = applyDifference(this.config, step)
  }
}
