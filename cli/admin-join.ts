import type { Command } from 'commander'
import { limits } from '../proto/limits.ts'
import type { pb } from '../proto/messages.ts'
import { parseMembers, parseName } from './address.ts'
import { CommandError, exitCode, usageError } from './exit-code.ts'
import { examples, type Registry } from './invocation.ts'
import { pollUntil } from './poll.ts'
import type { Controllers } from './world.ts'

const WAIT_SECONDS = 600

/** The flags of a join, which `admin join` and `admin plan join` share. */
export function addJoinFlags(command: Command): Command {
  return command
    .argument('<group>', 'name of the group')
    .requiredOption('--nodes <members>', 'ID=HOST:PORT,… of its nodes')
    .option('--weight <number>', 'its share of the shards relative to the others', '1')
}

export function joinRequest(group: string, options: { nodes: string; weight: string }, author: string): pb.v1.JoinRequest.$Properties {
  const weight = Number(options.weight)
  if (!/^\d*\.?\d+$/.test(options.weight) || weight <= 0 || weight > 1_000_000) {
    throw usageError(`--weight ${options.weight}: give a number above 0 and at most 1000000`)
  }
  const name = parseName(group, 'group name')
  if (name.length > limits.groupNameMax) throw usageError(`'${group}' is longer than ${limits.groupNameMax} characters`)
  const members = parseMembers(options.nodes).map(({ id, address }) => ({ node: id, address }))
  return { groups: [{ name, weight, members }], author }
}

export function addAdminJoin(admin: Command, registry: Registry): void {
  const command = addJoinFlags(admin.command('join'))
    .description('add a group; it gets its share of the shards')
    .option('--once', 'no effect if a group of that name ever joined (for start-up scripts)')
    .option('--wait', `return when the group serves (for at most ${WAIT_SECONDS} s, or --timeout)`)
    .addHelpText(
      'after',
      examples(
        'admin join g1 --nodes n1=10.0.0.4:7410,n2=10.0.0.5:7410,n3=10.0.0.6:7410',
        'admin join g2 --nodes n4=10.0.0.7:7410 --weight 0.5 --wait',
      ),
    )
  registry.add(command, async (invocation) => {
    const options = command.opts<{ nodes: string; weight: string; once?: boolean; wait?: boolean }>()
    const group = command.processedArgs[0] as string
    const request = { ...joinRequest(group, options, invocation.world.author), once: options.once === true }
    const timeoutMs = invocation.timeoutMs(options.wait === true ? WAIT_SECONDS : undefined)
    await invocation.withControllers(async (controllers) => {
      const { configNumber, note } = await controllers.join(request, { timeoutMs })
      if (options.wait === true) await waitUntilServed(controllers, group, timeoutMs)
      invocation.print({ configNumber, ...(note ? { note } : {}) }, `config ${configNumber}${note ? `: ${note}` : ''}`)
    })
    return undefined
  })
}

async function waitUntilServed(controllers: Controllers, group: string, timeoutMs: number): Promise<void> {
  const served = await pollUntil(timeoutMs, async (leftMs) => {
    const status = await controllers.status({ timeoutMs: leftMs })
    return status.groups.find(({ name, leader }) => name === group && leader)
  })
  if (served === undefined) {
    throw new CommandError(
      exitCode.unavailable,
      'DEADLINE',
      `${group} has joined, but has no leader after ${timeoutMs} ms: are its nodes up?`,
      false,
    )
  }
}
