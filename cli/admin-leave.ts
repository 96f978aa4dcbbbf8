import { createInterface } from 'node:readline'
import type { Command } from 'commander'
import type { ChangeOutcome } from '../proto/controller-client.ts'
import { parseGroupName } from './admin-join.ts'
import { type Aim, addChangeFlags, type ChangeFlags, type PlannableChange, waitHelp } from './change.ts'
import { CommandError, exitCode, usageError } from './exit-code.ts'
import { examples, type Invocation, type Registry } from './invocation.ts'
import { runChange } from './run-change.ts'

export function addAdminLeave(admin: Command, registry: Registry): void {
  const command = addChangeFlags(admin.command('leave'), waitHelp)
    .description('take a group out: its shards move to the others, then its nodes drop it')
    .argument('<group>', 'name of the group')
    .option('--abandon-data', 'give its shards up, where its majority is lost: they are made empty elsewhere')
    .option('--confirm <count>', 'with --abandon-data: the number of shards that are given up, instead of being asked for it')
    .addHelpText(
      'after',
      examples('admin leave g3 --wait', 'admin leave g3 --abandon-data', 'admin leave g3 --abandon-data --confirm 86 --json'),
    )
  registry.add(command, async (invocation) => {
    const options = command.opts<ChangeFlags & { abandonData?: boolean; confirm?: string }>()
    const group = parseGroupName(command.processedArgs[0] as string)
    if (options.confirm !== undefined && options.abandonData !== true) throw usageError('--confirm goes with --abandon-data')
    const confirmed = options.abandonData === true ? await confirmedShards(invocation, group, options.confirm) : undefined
    return await runChange(invocation, leaveChange(group, invocation.world.author, confirmed), options)
  })
}

/** Drains a group, or gives `abandoned` shards of it up; with --wait until it is gone. */
export function leaveChange(group: string, author: string, abandoned?: number): PlannableChange {
  const leave = { group, author, abandonData: abandoned !== undefined, confirmShards: abandoned ?? 0 }
  return {
    plan: { leave },
    make: (controllers, base, options) => controllers.leave({ ...leave, ...base }, options),
    aim: (outcome) => untilGone(group, outcome),
  }
}

/** What a draining group loses by an aborted migration is planned anew: only the group's end counts. A later group of its name is another. */
function untilGone(name: string, { configNumber }: ChangeOutcome): Aim {
  let uid: string | undefined
  return {
    plannedAnew: true,
    missing: async (controllers, timeoutMs) => {
      uid ??= (await controllers.query(configNumber, { timeoutMs })).config.groupByName(name)?.uid
      if (uid === undefined) return undefined
      const { config } = await controllers.query(0, { timeoutMs })
      if (config.groupByUid(uid) === undefined) return undefined
      const { groups } = await controllers.status({ timeoutMs })
      const waits = groups.find((group) => group.name === name)?.waitsFor
      const why = waits ? ` (${waits})` : ''
      return `${name} is still there, with ${config.shardsOf(uid).length} shards${why}: see 'ostraka admin migrations'`
    },
  }
}

/** The number of shards that are to be given up, as who asks has confirmed it. */
async function confirmedShards(invocation: Invocation, group: string, given: string | undefined): Promise<number> {
  if (given !== undefined) return parseCount(given, '--confirm')
  const { config } = await invocation.withControllers((controllers) => controllers.query(0, { timeoutMs: invocation.timeoutMs() }))
  const uid = config.groupByName(group)?.uid
  if (uid === undefined) throw new CommandError(exitCode.failed, 'NOT_FOUND', `there is no group ${group}`)
  const count = config.shardsOf(uid).length
  if (invocation.world.stdin.isTTY === true) {
    invocation.world.stderr.write(`The data of all ${count} shards of ${group} will be lost. Type the number of shards to go on: `)
  }
  const answer = (await firstLine(invocation))?.trim()
  if (!answer) throw usageError(`nothing confirmed: give --confirm with the number of shards that ${group} loses, ${count} now`)
  const confirmed = parseCount(answer, 'confirmation')
  if (confirmed === count) return confirmed
  throw new CommandError(exitCode.failed, 'FAILED_PRECONDITION', `nothing done: ${group} owns ${count} shards, you confirmed ${confirmed}`)
}

/** Undefined: stdin ended first. Somebody at a terminal may take time; a pipe that stays silent counts as ended. */
async function firstLine(invocation: Invocation): Promise<string | undefined> {
  const { stdin } = invocation.world
  const lines = createInterface({ input: stdin })
  const silent = stdin.isTTY === true ? undefined : setTimeout(() => lines.close(), invocation.timeoutMs())
  try {
    for await (const line of lines) return line
    return undefined
  } finally {
    clearTimeout(silent)
    lines.close()
  }
}

function parseCount(text: string, what: string): number {
  if (!/^\d{1,6}$/.test(text)) throw usageError(`${what} '${text}': give the number of shards that are given up`)
  return Number(text)
}
