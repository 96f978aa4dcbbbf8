/** The operator's view of a simulated cluster: the controllers' client. */
import type { Config } from '../../proto/config.ts'
import type { ControllerClient } from '../../proto/controller-client.ts'
import { OstrakaError } from '../../proto/errors.ts'
import { pb } from '../../proto/messages.ts'
import { type Admin, type ConfigView, type MigrationView, NoAnswer, Refusal } from '../workload/admin.ts'
import type { SimCluster } from './sim-cluster.ts'

const options = { timeoutMs: 5000 }
const author = 'operator'
const steerings = { pause: pb.v1.Steering.PAUSE, resume: pb.v1.Steering.RESUME, cancel: pb.v1.Steering.CANCEL } as const

export function simAdmin(cluster: SimCluster, client: ControllerClient): Admin {
  return {
    join: (name) => answered(client.join({ groups: [{ name, weight: 1, members: cluster.members(name) }], author }, options)),
    leave: (group) => answered(client.leave({ group, author }, options)),
    move: (shard, group) => answered(client.move({ shard, group, author }, options)),
    unpin: (shard) => answered(client.unpin({ shard, author }, options)),
    rebalance: () => answered(client.rebalance({ author }, options)),
    steer: (steering, shard) => answered(client.steer({ shard, steering: steerings[steering], author }, options)),
    changeMembers: (group, nodes, remove) => {
      const add = nodes.map((node) => cluster.member(node))
      return answered(client.changeMembers({ group, add, remove: [...remove], author }, options))
    },
    config: async (number = 0) => configView((await answered(client.query(number, options))).config),
    migrations: async () => (await answered(client.migrations(options))).map(migrationView),
  }
}

async function answered<T>(call: Promise<T>): Promise<T> {
  try {
    return await call
  } catch (error) {
    if (!(error instanceof OstrakaError)) throw error
    switch (error.code) {
      case 'FAILED_PRECONDITION':
      case 'NOT_FOUND':
      case 'INVALID_ARGUMENT':
        throw new Refusal(error.message)
      case 'UNAVAILABLE':
      case 'UNKNOWN':
      case 'DEADLINE':
        throw new NoAnswer(error.message)
      default:
        throw error
    }
  }
}

function configView(config: Config): ConfigView {
  return {
    number: config.number,
    cause: config.cause,
    groups: new Map(config.groups.map(({ name, weight, state, members }) => [name, { weight, state, members }])),
    assignment: Array.from({ length: config.shardCount }, (_, shard) => config.groupOf(shard)?.name),
    pins: config.pins,
  }
}

const { MigrationPhase } = pb.v1

function migrationView(migration: pb.v1.Migration.$Properties): MigrationView {
  const phase = migration.phase ?? MigrationPhase.COPYING
  const givenBack = phase === MigrationPhase.GIVEN_BACK
  return {
    id: migration.id ?? 0,
    shards: migration.shards ?? [],
    from: nameOf(migration.from ?? ''),
    to: nameOf(migration.to ?? ''),
    phase: phase === MigrationPhase.DONE ? 'done' : phase === MigrationPhase.ABORTED || givenBack ? 'aborted' : 'running',
    givenBack,
    reason: migration.reason ?? '',
    pauseMs: (migration.pauseUs ?? 0) / 1000,
  }
}

function nameOf(uid: string): string {
  return uid.slice(0, uid.lastIndexOf('@'))
}
