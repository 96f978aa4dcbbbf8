import type { Command } from 'commander'
import { usageError } from './exit-code.ts'
import { examples, type Registry } from './invocation.ts'

const shownAtFirst = 20

export function addAdminShards(admin: Command, registry: Registry): void {
  const command = admin
    .command('shards')
    .description('what each shard holds and serves, the busiest first')
    .option('--top <count>', `only so many (on a terminal ${shownAtFirst} unless given; with --json all)`)
    .option('--group <name>', 'only those of this group')
    .addHelpText('after', examples('admin shards', 'admin shards --group g1 --top 5', 'admin shards --json'))
  registry.add(command, async (invocation) => {
    const options = command.opts<{ top?: string; group?: string }>()
    const top = parseTop(options.top) ?? (invocation.json ? undefined : shownAtFirst)
    const { busiest, shardJson, shardsText } = await import('./shards-view.ts')
    await invocation.withControllers(async (controllers) => {
      const status = await controllers.status({ timeoutMs: invocation.timeoutMs(), shards: true })
      const shards = busiest(status.shards, options.group)
      const shown = shards.slice(0, top)
      await invocation.printDrawn(shown.map(shardJson), () => shardsText(shown, shards.length))
    })
    return undefined
  })
}

function parseTop(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (!/^[1-9]\d{0,5}$/.test(text)) throw usageError(`--top ${text}: give a whole number from 1`)
  return Number(text)
}
