import type { Command } from 'commander'
import type { Config, Member } from '../proto/config.ts'
import type { Directory } from '../proto/directory.ts'
import { examples, type Registry } from './invocation.ts'
import { drawTable } from './table.ts'
import { parseConfigNumber } from './text.ts'

export function addAdminQuery(admin: Command, registry: Registry): void {
  const command = admin
    .command('query')
    .description('a config: which group owns which shard, and who made it')
    .argument('[number]', 'its number (default: the newest)')
    .addHelpText('after', examples('admin query', 'admin query 7 --json'))
  registry.add(command, async (invocation) => {
    const { configJson } = await import('./status-json.ts')
    const text = command.processedArgs[0] as string | undefined
    const number = text === undefined ? 0 : parseConfigNumber(text)
    await invocation.withControllers(async (controllers) => {
      const { config, directory } = await controllers.query(number, { timeoutMs: invocation.timeoutMs() })
      await invocation.printDrawn(configJson(config, directory), () => configText(config, directory))
    })
    return undefined
  })
}

async function configText(config: Config, directory: Directory): Promise<string> {
  const counts = config.shardCounts()
  const rows = config.groups.map((group, index) => {
    const nodes = group.members.map((member) => memberText(member, directory)).join(' ')
    return [group.name, String(counts[index] ?? 0), String(group.weight), group.state, nodes]
  })
  const groups = await drawTable(['group', 'shards', 'weight', 'state', 'nodes'], rows)
  const head = `config ${config.number}: ${config.cause || 'nothing yet'}${config.author ? `, by ${config.author}` : ''}, ${new Date(config.atMs).toISOString()}`
  const pins = [...config.pins].sort(([a], [b]) => a - b).map(([shard, group]) => `${shard} to ${group}`)
  return [head, groups, ...(pins.length > 0 ? [`pinned: ${pins.join(', ')}`] : [])].join('\n')
}

function memberText({ node, state }: Member, directory: Directory): string {
  return `${node}=${directory.addressOf(node) ?? '?'}${state === 'voter' ? '' : ` (${state})`}`
}
