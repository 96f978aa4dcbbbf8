/** What happens to links: cut in all shapes, both ways or one, with the clients on one side or on both; slow ones, and such that lose packets. */
import type { LinkRule } from '../links/link-rule.ts'
import { between, type DirectedRule, oneWay } from '../links/links.ts'
import { clients } from '../links/socket-owner.ts'
import {
  controllersLeader,
  type Fault,
  type FaultMaker,
  type FaultWorld,
  ledBy,
  pick,
  someLeader,
  someNode,
  someTimeouts,
} from './fault.ts'

/** Packets vanish without a word; refused: the far end's machine is up and says no. */
const held: LinkRule = { isHeld: true }
const refused: LinkRule = { isRefused: true }

export const linkFaults = {
  'isolated-leader': (world) => isolated(world, someLeader(world), held),
  'isolated-node': (world) => isolated(world, someNode(world), held),
  'refused-leader': (world) => isolated(world, someLeader(world), refused),
  'isolated-controller': (world) => isolated(world, controllersLeader(world), held),
  halves: (world) => halves(world),
  bridge: (world) => bridge(world),
  apart: (world) => apart(world),
  'one-way-out': (world) => deaf(world, someLeader(world), 'out'),
  'one-way-in': (world) => deaf(world, someLeader(world), 'in'),
  'clients-cut': (world) => clientsCut(world),
  slow: (world) => everyLink(world, 'slow links', { delayMs: 20 + 60 * world.random.next(), bytesPerSecond: 2_000_000 }),
  lossy: (world) => everyLink(world, 'lossy links', { delayMs: 1, spike: { probability: 0.02, ms: 200 } }),
} satisfies Record<string, FaultMaker>

function fault(world: FaultWorld, what: string, rules: readonly DirectedRule[], rest: Pick<Fault, 'hits' | 'resumesFrom'>): Fault {
  const { links } = world.cluster
  const lastsMs = someTimeouts(world)
  return {
    what: `${what} for ${Math.round(lastsMs)} ms`,
    ...rest,
    lastsMs,
    begin: () => links.set(rules),
    end: () => links.heal(),
  }
}

function names({ cluster }: FaultWorld): string[] {
  return cluster.processes.map(({ id }) => id)
}

/** One process hears no other and is heard by none; clients reach it or not. */
function isolated(world: FaultWorld, id: string | undefined, rule: LinkRule): Fault | undefined {
  if (id === undefined) return undefined
  const others = [...names(world), ...(world.random.next() < 0.5 ? [clients] : [])]
  const how = `${id} is cut off${rule.isRefused ? ' by refusal' : ''}, ${others.includes(clients) ? 'also' : 'not'} from clients`
  return fault(world, how, between([id], others, rule), { hits: ledBy(world, id), resumesFrom: 'begin' })
}

/** One node and perhaps a controller here, everybody else there; the clients there or on both sides. */
function halves(world: FaultWorld): Fault | undefined {
  const { cluster, random } = world
  const few = someNode(world)
  if (few === undefined) return undefined
  const here = [few, ...(random.next() < 0.5 ? [pick(random, cluster.controllers)?.id ?? ''] : [])]
  const there = [...names(world).filter((id) => !here.includes(id)), ...(random.next() < 0.5 ? [clients] : [])]
  return fault(world, `${here} | ${there}`, between(here, there, held), { hits: ledBy(world, few), resumesFrom: 'begin' })
}

/** Two nodes that cannot see each other; a third sees both. */
function bridge(world: FaultWorld): Fault | undefined {
  const { cluster, random } = world
  const first = random.below(cluster.nodes.length)
  const left = cluster.nodes[first]?.id ?? ''
  const right = cluster.nodes[(first + 1) % cluster.nodes.length]?.id ?? ''
  return fault(world, `no link between ${left} and ${right}`, between([left], [right], held), { hits: [], resumesFrom: 'begin' })
}

/** Nobody hears anybody; clients reach all. */
function apart(world: FaultWorld): Fault {
  const everybody = names(world)
  return fault(world, 'all are cut off from all', oneWay(everybody, everybody, held), { hits: world.cluster.groups, resumesFrom: 'end' })
}

/** A leader that is heard by no process, or hears none. */
function deaf(world: FaultWorld, id: string | undefined, direction: 'in' | 'out'): Fault | undefined {
  if (id === undefined) return undefined
  const others = names(world)
  const rules = direction === 'out' ? oneWay([id], others, held) : oneWay(others, [id], held)
  const what = direction === 'out' ? `${id} is heard by nobody` : `${id} hears nobody`
  return fault(world, what, rules, { hits: ledBy(world, id), resumesFrom: 'begin' })
}

/** The cluster is whole, but clients do not reach one node: what it leads waits. */
function clientsCut(world: FaultWorld): Fault | undefined {
  const id = someNode(world)
  if (id === undefined) return undefined
  return fault(world, `clients do not reach ${id}`, between([clients], [id], held), { hits: ledBy(world, id), resumesFrom: 'end' })
}

function everyLink(world: FaultWorld, what: string, rule: LinkRule): Fault {
  const everybody = [...names(world), clients]
  return fault(world, what, oneWay(everybody, everybody, rule), { hits: [], resumesFrom: 'begin' })
}
