import type { Command } from 'commander'
import { limits } from '../proto/limits.ts'
import type { pb } from '../proto/messages.ts'
import { parseMembers, parseName } from './address.ts'
import { addChangeFlags, type ChangeFlags, type PlannableChange, waitHelp } from './change.ts'
import { usageError } from './exit-code.ts'
import { examples, type Registry } from './invocation.ts'
import { runChange } from './run-change.ts'
import type { Controllers } from './world.ts'

/** The flags of a join, which `admin join` and `admin plan join` share. */
export function addJoinFlags(command: Command): Command {
  return command
    .argument('<group...>', 'name of the group; several join at once, before any shard is given away')
    .requiredOption('--nodes <members>', 'ID=HOST:PORT,… of its nodes; once for each group, in their order', collect)
    .option('--weight <number>', 'its share of the shards relative to the others (default: 1)')
}

const collect = (value: string, previous: readonly string[] | undefined) => [...(previous ?? []), value]

export interface JoinFlags {
  /** Members, one text for each group. */
  readonly nodes: readonly string[]
  /** Of each of the groups. Not given: 1, and of one that is there whatever it has. */
  readonly weight?: string
  /** No effect if a group of a name ever joined. */
  readonly once?: boolean
}

/** Adds groups; with --wait until each has a leader and its share of the shards. Wrong usage is thrown. */
export function joinChange(names: readonly string[], options: JoinFlags, author: string): PlannableChange {
  const join = joinRequest(names, options, author)
  return {
    plan: { join },
    make: (controllers, base, callOptions) => controllers.join({ ...join, once: options.once === true, ...base }, callOptions),
    aim: () => ({ missing: (controllers, timeoutMs) => withoutLeader(controllers, names, timeoutMs), plannedAnew: false }),
  }
}

function joinRequest(names: readonly string[], options: JoinFlags, author: string): pb.v1.JoinRequest.$Properties {
  const weighted = options.weight === undefined ? {} : { weight: parseWeight(options.weight, '--weight') }
  if (names.length !== options.nodes.length) {
    throw usageError(`${names.length} groups and ${options.nodes.length} times --nodes: give --nodes once for each group`)
  }
  if (new Set(names).size < names.length) throw usageError(`'${names.join(' ')}' names a group twice`)
  const groups = names.map((name, at) => ({
    name: parseGroupName(name),
    ...weighted,
    members: parseMembers(options.nodes[at] ?? '').map(({ id, address }) => ({ node: id, address })),
  }))
  return { groups, author }
}

export function parseWeight(text: string, what: string): number {
  const weight = Number(text)
  if (/^\d*\.?\d+$/.test(text) && weight > 0 && weight <= 1_000_000) return weight
  throw usageError(`${what} ${text}: give a number above 0 and at most 1000000`)
}

export function parseGroupName(text: string): string {
  const name = parseName(text, 'group name')
  if (name.length > limits.groupNameMax) throw usageError(`'${text}' is longer than ${limits.groupNameMax} characters`)
  return name
}

export function addAdminJoin(admin: Command, registry: Registry): void {
  const command = addChangeFlags(addJoinFlags(admin.command('join')), waitHelp)
    .description('add groups; each gets its share of the shards')
    .option('--once', 'no effect if a group of that name ever joined (for start-up scripts)')
    .addHelpText(
      'after',
      examples(
        'admin join g1 --nodes n1=10.0.0.4:7410,n2=10.0.0.5:7410,n3=10.0.0.6:7410',
        'admin join g2 --nodes n4=10.0.0.7:7410 --weight 0.5 --wait',
        'admin join g3 --nodes n7=10.0.0.10:7410 --request-id deploy-7-join-g3',
        'admin join g1 g2 --nodes n1=10.0.0.4:7410 --nodes n2=10.0.0.5:7410 --once',
      ),
    )
  registry.add(command, (invocation) => {
    const options = command.opts<JoinFlags & ChangeFlags>()
    const change = joinChange(command.processedArgs[0] as string[], options, invocation.world.author)
    return runChange(invocation, change, options)
  })
}

/** The groups of `names` that have no leader. With --once one may have left long ago: it counts as there. */
async function withoutLeader(controllers: Controllers, names: readonly string[], timeoutMs: number): Promise<string | undefined> {
  const { groups } = await controllers.status({ timeoutMs })
  const missing = groups.filter(({ name, leader }) => names.includes(name ?? '') && !leader).map(({ name }) => name)
  return missing.length === 0 ? undefined : `${missing.join(', ')} has no leader: are its nodes up?`
}
