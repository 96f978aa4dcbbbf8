import type { Command } from 'commander'
import type { Group } from '../proto/config.ts'
import type { ChangeOutcome } from '../proto/controller-client.ts'
import { type MemberAddress, parseMember } from './address.ts'
import { parseGroupName } from './admin-join.ts'
import { type Aim, addChangeFlags, type Change, type ChangeFlags, waitSeconds } from './change.ts'
import { CommandError, exitCode } from './exit-code.ts'
import { examples, type Registry } from './invocation.ts'
import { nodeAt } from './node-at.ts'
import { runChange } from './run-change.ts'
import type { Controllers } from './world.ts'

const waitHelp = `return when the group's members are so (for at most ${waitSeconds} s, or --timeout)`

/** add-replica, remove-replica, replace-node. */
export function addAdminReplicas(admin: Command, registry: Registry): void {
  const add = addChangeFlags(admin.command('add-replica'), waitHelp)
    .description('have a node hold a replica of a group; it votes once it has caught up')
    .argument('<group>', 'name of the group')
    .argument('<node>', 'ID, or ID=HOST:PORT where it has never been started')
    .addHelpText('after', examples('admin add-replica g1 n4', 'admin add-replica g1 n4=10.0.0.7:7410 --wait --timeout 60'))
  registry.add(add, (invocation) => {
    const [group, node] = add.processedArgs as [string, string]
    const change = addReplicaChange(parseGroupName(group), parseMember(node), invocation.world.author)
    return runChange(invocation, change, add.opts<ChangeFlags>())
  })
  const remove = addChangeFlags(admin.command('remove-replica'), waitHelp)
    .description('take the replica of a node out of a group; also one that is being added and never comes')
    .argument('<group>', 'name of the group')
    .argument('<node>', 'ID or HOST:PORT')
    .addHelpText('after', examples('admin remove-replica g1 n3', 'admin remove-replica g1 n3 --wait --json'))
  registry.add(remove, (invocation) => {
    const [group, node] = remove.processedArgs as [string, string]
    const change = removeReplicaChange(parseGroupName(group), parseMember(node), invocation.world.author)
    return runChange(invocation, change, remove.opts<ChangeFlags>())
  })
  const replace = addChangeFlags(admin.command('replace-node'), waitHelp)
    .description('have another node take the place of one in all its groups, or another controller that of one')
    .argument('<old>', 'ID or HOST:PORT of the node, or ID of the controller; it may be dead')
    .argument('<new>', 'ID=HOST:PORT; of the same ID: it has begun anew with an empty folder')
    .addHelpText(
      'after',
      examples(
        'admin replace-node n2 n4=10.0.0.7:7410',
        'admin replace-node n2 n2=10.0.0.5:7410 --wait',
        'admin replace-node c2 c4=10.0.0.9:7400',
      ),
    )
  registry.add(replace, (invocation) => {
    const [old, node] = replace.processedArgs as [string, string]
    const change = replaceNodeChange(parseMember(old), parseMember(node), invocation.world.author)
    return runChange(invocation, change, replace.opts<ChangeFlags>())
  })
}

function addReplicaChange(group: string, member: MemberAddress, author: string): Change {
  let node = ''
  return {
    make: async (controllers, _, options) => {
      const one = await joinMember(controllers, member, options.timeoutMs)
      node = one.node
      return await controllers.changeMembers({ group, add: [one], remove: [], author }, options)
    },
    aim: (outcome) =>
      untilSettled(
        outcome,
        ({ name }) => name === group,
        () => node,
      ),
  }
}

function removeReplicaChange(group: string, member: MemberAddress, author: string): Change {
  return {
    make: async (controllers, _, options) => {
      const { node } = await joinMember(controllers, member, options.timeoutMs)
      return await controllers.changeMembers({ group, add: [], remove: [node], author }, options)
    },
    aim: (outcome) =>
      untilSettled(
        outcome,
        ({ name }) => name === group,
        () => undefined,
      ),
  }
}

function replaceNodeChange(old: MemberAddress, member: MemberAddress, author: string): Change {
  let replaced = ''
  let node = ''
  return {
    make: async (controllers, _, options) => {
      replaced = (await joinMember(controllers, old, options.timeoutMs)).node
      const one = await joinMember(controllers, member, options.timeoutMs)
      node = one.node
      return await controllers.replaceNode({ old: replaced, new: one, author }, options)
    },
    aim: (outcome) =>
      untilSettled(
        outcome,
        ({ members }) => members.some((one) => one.node === replaced && one.state === 'leaving'),
        () => node,
      ),
  }
}

/**
 * Until no change of the groups runs that `concerns` picks from the config of the outcome. `comes`: the node that is to be a member of each
 * then; where it is not, another change took it out again.
 */
function untilSettled({ configNumber }: ChangeOutcome, concerns: (group: Group) => boolean, comes: () => string | undefined): Aim {
  // By uid: a later group of the name is another.
  let uids: ReadonlySet<string> | undefined
  return {
    plannedAnew: false,
    missing: async (controllers, timeoutMs) => {
      uids ??= await uidsAt(controllers, configNumber, concerns, timeoutMs)
      const { config } = await controllers.query(0, { timeoutMs })
      const groups = config.groups.filter(({ uid }) => uids?.has(uid))
      const running = groups.map(underWay).filter((text) => text !== '')
      if (running.length > 0) return running.join('; ')
      // No group of a config: the controllers' own.
      if (uids.size === 0) return (await changingControllers(controllers, timeoutMs)) || undefined
      const without = groups.find(({ members }) => comes() !== undefined && !members.some(({ node }) => node === comes()))
      if (without === undefined) return undefined
      const text = `the change was given up: ${comes()} holds no replica of ${without.name}; see 'ostraka admin query'`
      throw new CommandError(exitCode.failed, 'FAILED', text, false)
    },
  }
}

/** 'c4 is to join the controllers'; empty: nothing. */
async function changingControllers(controllers: Controllers, timeoutMs: number): Promise<string> {
  const { changeOf, isVoter } = await import('./status-json.ts')
  const status = await controllers.status({ timeoutMs })
  const changing = status.controllers.filter(({ state }) => !isVoter(state))
  return changing
    .map(({ id, state }) => `${id} is to ${changeOf(state) === 'joining' ? 'join the controllers: is it started' : 'leave them'}`)
    .join(', ')
}

async function uidsAt(
  controllers: Controllers,
  configNumber: number,
  concerns: (group: Group) => boolean,
  timeoutMs: number,
): Promise<ReadonlySet<string>> {
  const { config } = await controllers.query(configNumber, { timeoutMs })
  return new Set(config.groups.filter(concerns).map(({ uid }) => uid))
}

/** 'in g1 n4 is to join and catch up, n1 is to leave'; empty: nothing. */
function underWay({ name, members }: Group): string {
  const changing = members.flatMap(({ node, state }) =>
    state === 'voter' ? [] : [state === 'joining' ? `${node} is to join and catch up` : `${node} is to leave`],
  )
  return changing.length === 0 ? '' : `in ${name} ${changing.join(', ')}`
}

async function joinMember(
  controllers: Controllers,
  { id, address }: MemberAddress,
  timeoutMs: number,
): Promise<{ node: string; address: string }> {
  if (id !== '') return { node: id, address }
  return { node: nodeAt(await controllers.status({ timeoutMs }), 'nodes', address), address: '' }
}
