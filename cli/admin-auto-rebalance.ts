import { type Command, Option } from 'commander'
import { addChangeFlags, type ChangeFlags } from './change.ts'
import { usageError } from './exit-code.ts'
import { addCommonOptions, examples, type Invocation, type Registry } from './invocation.ts'
import { runChange } from './run-change.ts'

interface RuleFlags {
  readonly by?: string
  readonly above?: string
  readonly until?: string
  readonly for?: string
  readonly rest?: string
}

/** auto-rebalance on, off, status. */
export function addAdminAutoRebalance(admin: Command, registry: Registry): void {
  const auto = addCommonOptions(admin.command('auto-rebalance')).description('have shards moved where groups carry more than their share')
  addOn(auto, registry)
  const off = addChangeFlags(auto.command('off'))
    .description('leave shards where they are; what moves already goes on')
    .addHelpText('after', examples('admin auto-rebalance off'))
  registry.add(off, (invocation) => change(invocation, { on: false }, off.opts<ChangeFlags>()))
  const status = auto
    .command('status')
    .description('how uneven the groups are, and what is done about it')
    .addHelpText('after', examples('admin auto-rebalance status', 'admin auto-rebalance status --json'))
  registry.add(status, async (invocation) => {
    const { autoRebalanceJson, autoRebalanceText } = await import('./auto-rebalance-view.ts')
    await invocation.withControllers(async (controllers) => {
      const { autoRebalance } = await controllers.status({ timeoutMs: invocation.timeoutMs() })
      invocation.print(autoRebalanceJson(autoRebalance ?? {}), autoRebalanceText(autoRebalance ?? {}))
    })
    return undefined
  })
}

function addOn(auto: Command, registry: Registry): void {
  const command = addChangeFlags(auto.command('on'))
    .description(
      'move shards, one step after the other, while a group carries far more than its share; flags that are not given stay as they are',
    )
    .addOption(
      new Option('--by <measures>', 'what is evened out: load, size, or both (at first both)').choices(['load', 'size', 'load,size']),
    )
    .option('--above <ratio>', 'begin where a group has so many times its share (at first 1.3)')
    .option('--until <ratio>', 'end where none has more than so many times its share (at first 1.1)')
    .option('--for <seconds>', 'how long a group must have been above before it begins (at first 120)')
    .option('--rest <seconds>', 'how long a shard that has moved stays where it is (at first 600)')
    .addHelpText('after', examples('admin auto-rebalance on', 'admin auto-rebalance on --by load --above 1.5 --rest 1800'))
  registry.add(command, (invocation) => {
    const flags = command.opts<RuleFlags & ChangeFlags>()
    const rules = {
      on: true,
      byLoad: flags.by?.includes('load') === true,
      bySize: flags.by?.includes('size') === true,
      above: parseRatio(flags.above, '--above'),
      until: parseRatio(flags.until, '--until'),
      sustainMs: parseSeconds(flags.for, '--for'),
      restMs: parseSeconds(flags.rest, '--rest'),
    }
    return change(invocation, rules, flags)
  })
}

function change(invocation: Invocation, rules: { readonly on: boolean }, flags: ChangeFlags) {
  const request = { ...rules, author: invocation.world.author }
  return runChange(invocation, { make: (controllers, _, options) => controllers.autoRebalance(request, options) }, flags)
}

/** 0: not given. */
function parseRatio(text: string | undefined, flag: string): number {
  if (text === undefined) return 0
  const ratio = Number(text)
  if (!/^\d*\.?\d+$/.test(text) || ratio < 1) throw usageError(`${flag} ${text}: give how many times its share, at least 1`)
  return ratio
}

/** Milliseconds; 0: not given. */
function parseSeconds(text: string | undefined, flag: string): number {
  if (text === undefined) return 0
  const ms = Math.round(Number(text) * 1000)
  if (!/^\d*\.?\d+$/.test(text) || ms < 1 || ms > 2 ** 31) throw usageError(`${flag} ${text}: give seconds, above 0`)
  return ms
}
