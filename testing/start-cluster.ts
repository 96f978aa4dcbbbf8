import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sleep } from '../base/clock.ts'
import { GrpcTransport } from '../base/grpc-transport.ts'
import { InlineExecutor } from '../base/inline-executor.ts'
import { type Logger, silentLogger } from '../base/logger.ts'
import { NodeClock } from '../base/node-clock.ts'
import { NodeFileSystem } from '../base/node-file-system.ts'
import { NodeRandom } from '../base/node-random.ts'
import type { Seams } from '../base/seams.ts'
import { startController } from '../controller/controller-process.ts'
import { ControllerClient } from '../proto/controller-client.ts'
import { limits } from '../proto/limits.ts'
import type { ProcessSettings, RunningProcess } from '../raft/process.ts'
import { shardJobs } from '../shardserver/jobs.ts'
import { startShardServer } from '../shardserver/shard-server.ts'

export interface ClusterOptions {
  /** 1 to 10; default 3. */
  readonly nodes?: number
  /** Default 3. */
  readonly groups?: number
  /** A power of two from 16; default 16: small, for a quick start. */
  readonly shards?: number
  /** Default 300: quick elections. */
  readonly electionTimeoutMs?: number
  readonly logger?: Logger
}

export interface TestCluster {
  /** HOST:PORT of the controllers: what `connect` wants. */
  readonly controllers: string[]
  /** Ends all servers and removes their data. */
  stop(): Promise<void>
}

const replicasMax = 3
const formTimeoutMs = 30_000

/** Starts a whole cluster in this process, on free ports of the loopback interface and a temporary folder; resolves when every shard is served. */
export async function startCluster(options: ClusterOptions = {}): Promise<TestCluster> {
  const { nodes = 3, groups = 3, shards = limits.shardCountMin, logger = silentLogger } = options
  const folder = await mkdtemp(join(tmpdir(), 'ostraka-testing-'))
  const running: RunningProcess[] = []
  const stop = async () => {
    await Promise.all(running.map((server) => server.close()))
    await rm(folder, { recursive: true, force: true })
  }
  const fatal = (error: Error) => logger.error({ error: error.message }, 'a server of the test cluster failed')
  try {
    const controller = await startController(
      { ...settings('c1', folder, options), peers: [{ id: 'c1', address: 'c1' }], shards, balanceLeaders: true },
      seams(logger),
      fatal,
    )
    running.push(controller)
    const controllers = controller.addresses.map(({ address }) => address)
    const servers: RunningProcess[] = []
    for (let i = 1; i <= nodes; i++) {
      const server = await startShardServer({ ...settings(`n${i}`, folder, options), controllers, maxMigrations: 2 }, seams(logger), fatal)
      running.push(server)
      servers.push(server)
    }
    await form(controllers, servers, groups, shards, logger)
    return { controllers, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

function settings(id: string, folder: string, options: ClusterOptions): ProcessSettings {
  const { electionTimeoutMs = 300 } = options
  return {
    id,
    listen: [{ name: 'default', address: '127.0.0.1:0' }],
    advertise: [],
    data: join(folder, id),
    pid: process.pid,
    http: '',
    electionTimeoutMs,
    heartbeatMs: electionTimeoutMs / 6,
    snapshotLogBytes: 16 * 1024 * 1024,
    memtableBytes: 8 * 1024 * 1024,
    blockCacheBytes: 16 * 1024 * 1024,
    diskReserveBytes: 1024 * 1024,
    readMode: 'linearizable',
  }
}

function seams(logger: Logger): Seams {
  const clock = new NodeClock()
  const fileSystem = new NodeFileSystem()
  return {
    clock,
    fileSystem,
    logger,
    random: new NodeRandom(),
    executor: new InlineExecutor(shardJobs, { fileSystem, clock }),
    transport: new GrpcTransport({ logger }),
  }
}

/** Makes the groups, replicas spread over the nodes, and waits until their leaders serve every shard. */
async function form(
  controllers: string[],
  servers: readonly RunningProcess[],
  groups: number,
  shards: number,
  logger: Logger,
): Promise<void> {
  const clock = new NodeClock()
  const client = new ControllerClient({
    transport: new GrpcTransport({ logger }),
    clock,
    random: new NodeRandom(),
    logger,
    addresses: controllers,
  })
  try {
    const replicas = Math.min(replicasMax, servers.length)
    const list = Array.from({ length: groups }, (_, g) => ({
      name: `g${g + 1}`,
      weight: 1,
      members: Array.from({ length: replicas }, (_, r) => {
        const node = (g + r) % servers.length
        return { node: `n${node + 1}`, address: servers[node]?.addresses[0]?.address ?? '' }
      }),
    }))
    await client.join({ groups: list, author: 'startCluster' }, { timeoutMs: formTimeoutMs })
    const deadline = clock.monotonicMs() + formTimeoutMs
    while ((await servedShards(servers)) < shards) {
      if (clock.monotonicMs() > deadline) throw new Error(`the test cluster does not serve its ${shards} shards after ${formTimeoutMs} ms`)
      await sleep(clock, 20)
    }
  } finally {
    client.close()
  }
}

async function servedShards(servers: readonly RunningProcess[]): Promise<number> {
  let served = 0
  for (const server of servers) {
    for (const replica of (await server.status({})).replicas) {
      if (replica.role === 'leader') served += (replica.shards ?? []).filter(({ state }) => state === 'serving').length
    }
  }
  return served
}
