import Table from 'cli-table3'
import type { Command } from 'commander'
import type { pb } from '../proto/messages.ts'
import { parseAddress } from './address.ts'
import { CommandError, exitCode, usageError } from './exit-code.ts'
import { examples, type Invocation, type Registry } from './invocation.ts'
import { changeOf, changesText, clusterStatusJson, isVoter, nodeStatusJson, stateOf } from './status-json.ts'

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
  await invocation.withControllers(async (controllers) => {
    const status = await controllers.status({ timeoutMs: invocation.timeoutMs() })
    invocation.print(clusterStatusJson(status), clusterText(status))
  })
}

async function nodeStatus(invocation: Invocation, node: string, request: pb.v1.NodeStatusRequest.$Properties): Promise<undefined> {
  const startMs = performance.now()
  const timeoutMs = invocation.timeoutMs()
  const address = node.includes(':') ? parseAddress(node) : await addressOf(invocation, node, timeoutMs)
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
  invocation.print(nodeStatusJson(status), nodeText(status))
}

/** Through the directory of the controllers. */
async function addressOf(invocation: Invocation, id: string, timeoutMs: number): Promise<string> {
  const status = await invocation.withControllers((controllers) => controllers.status({ timeoutMs }))
  const entries = [...status.nodes, ...status.controllers]
  const address = entries.find((entry) => entry.id === id)?.address
  if (address) return address
  const known = entries.map((entry) => entry.id).join(', ')
  throw new CommandError(exitCode.failed, 'NOT_FOUND', `no node or controller is called '${id}'; known are ${known || 'none'}`)
}

const plain = { style: { head: [], border: [] } }

function clusterText(status: pb.v1.ClusterStatusReply): string {
  const processes = new Table({ ...plain, head: ['id', 'address', 'pid', 'role', 'live'] })
  const row = (id = '', address = '', pid = 0, role = '', live = false) => [
    id,
    address,
    pid === 0 ? '' : String(pid),
    role,
    live ? 'yes' : 'NO',
  ]
  for (const { id, address, pid, role, live, state } of status.controllers) {
    const what = `controller, ${role}${isVoter(state) ? '' : `, ${changeOf(state)}`}`
    processes.push(row(id ?? '', address ?? '', pid ?? 0, what, live ?? false))
  }
  for (const { id, address, pid, live } of status.nodes) processes.push(row(id ?? '', address ?? '', pid ?? 0, 'node', live ?? false))
  const groups = new Table({ ...plain, head: ['group', 'leader', 'shards', 'state'] })
  for (const group of status.groups) {
    const state = [stateOf(group), changesText(group)].filter((text) => text !== '').join('; ')
    groups.push([group.name ?? '', group.leader || '?', String(group.shards ?? 0), state])
  }
  return `config ${status.configNumber}\n${processes.toString()}\n${groups.toString()}`
}

function nodeText(status: pb.v1.NodeStatusReply): string {
  const head = ['group', 'role', 'term', 'leader', 'commit', 'applied', 'log', 'log bytes', 'config', 'shards', 'hash']
  const table = new Table({ ...plain, head })
  for (const replica of status.replicas) {
    const serving = (replica.shards ?? []).filter((shard) => shard.state === 'serving').length
    const others = (replica.shards ?? []).length - serving
    table.push([
      replica.group ?? '',
      replica.failure ? `stopped: ${replica.failure}` : (replica.role ?? ''),
      String(replica.term ?? 0),
      replica.leader || '?',
      String(replica.commit ?? 0),
      String(replica.applied ?? 0),
      `${replica.firstIndex ?? 0}–${replica.lastIndex ?? 0}`,
      String(replica.logBytes ?? 0),
      String(replica.configNumber ?? 0),
      others === 0 ? String(serving) : `${serving} + ${others}`,
      replica.stateHash ?? '',
    ])
  }
  return `${status.id}\n${table.toString()}`
}
