import type { Command } from 'commander'
import type { pb } from '../proto/messages.ts'
import { CommandError, exitCode, usageError } from './exit-code.ts'
import { examples, type Invocation, type Registry } from './invocation.ts'
import { processAddress } from './process-address.ts'

export function addAdminStatus(admin: Command, registry: Registry): void {
  const command = admin
    .command('status')
    .description('the cluster, or one node or controller')
    .argument('[node]', 'an id or HOST:PORT')
    .option('--hash', 'also a digest of the state of each replica (reads all records)')
    .option('--at <index>', 'with --hash: wait until this index is applied')
    .option('--group <name>', 'only this group of the node: each counts its own indexes')
    .addHelpText('after', examples('admin status', 'admin status n1 --json', 'admin status 127.0.0.1:7410 --hash --group g1 --at 1200'))
  registry.add(command, async (invocation) => {
    const options = command.opts<NodeOptions>()
    const node = command.processedArgs[0] as string | undefined
    if (node === undefined) {
      if (Object.keys(options).some((name) => name === 'hash' || name === 'at' || name === 'group'))
        throw usageError('--hash, --at and --group ask one node: name it')
      return await clusterStatus(invocation)
    }
    return await nodeStatus(invocation, node, nodeRequest(options))
  })
}

interface NodeOptions {
  readonly hash?: boolean
  readonly at?: string
  readonly group?: string
}

function nodeRequest(options: NodeOptions): pb.v1.NodeStatusRequest.$Properties {
  if (options.at !== undefined && options.hash !== true) throw usageError('--at goes with --hash')
  if (options.at !== undefined && !/^\d{1,15}$/.test(options.at)) throw usageError(`--at ${options.at}: give an index, a whole number`)
  return { hash: options.hash === true, at: Number(options.at ?? 0), group: options.group ?? '' }
}

async function clusterStatus(invocation: Invocation): Promise<undefined> {
  const { clusterStatusJson } = await import('./status-json.ts')
  const { clusterText } = await import('./status-text.ts')
  await invocation.withControllers(async (controllers) => {
    const status = await controllers.status({ timeoutMs: invocation.timeoutMs() })
    await invocation.printDrawn(clusterStatusJson(status), () => clusterText(status))
  })
}

async function nodeStatus(invocation: Invocation, node: string, request: pb.v1.NodeStatusRequest.$Properties): Promise<undefined> {
  const startMs = performance.now()
  const timeoutMs = invocation.timeoutMs()
  const address = await processAddress(invocation, node, 'node or controller', timeoutMs)
  const leftMs = Math.max(1, timeoutMs - (performance.now() - startMs))
  const status = await invocation.world.nodeStatus(address, request, leftMs)
  if (request.group && !status.replicas.some(({ group }) => group === request.group)) {
    const known = status.replicas.map(({ group }) => group).join(', ')
    throw new CommandError(
      exitCode.failed,
      'NOT_FOUND',
      `${node} holds no replica of '${request.group}'${known ? `, only of ${known}` : ''}`,
    )
  }
  const { nodeStatusJson } = await import('./status-json.ts')
  const { nodeText } = await import('./status-text.ts')
  await invocation.printDrawn(nodeStatusJson(status), () => nodeText(status))
}
