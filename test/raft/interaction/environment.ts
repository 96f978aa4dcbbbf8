/**
 * Replicas of one group under a script: cores over logs in memory, one pool of messages between them, and for each replica the threads that
 * write and apply. Nothing moves that no command moves.
 *
 * The scripts in `data/raft/interaction` were written for another library. What differs by design, and what stands for it here:
 *
 * | there | here | in the environment |
 * |---|---|---|
 * | a message is made by each proposal | what is proposed between two Readys leaves as one Append | `propose` takes a Ready early (`holdReady`), so that each proposal has its Append |
 * | a window counts messages (`inflight=3`) | a window counts bytes | as many bytes as so many of the script's entries have; `status` compares entries and bytes in flight |
 * | a snapshot message carries the state | it offers (index, term, conf), and the state is pulled | the handling of the Ready that shows the offer installs it, as of the offered index |
 * | election timeouts in [T, 2 T), set in the middle of a wait | in [T, 1.5 T), drawn when the wait begins | the script is read ahead, and what it will set is what is drawn |
 * | a proposal at a follower is forwarded by the core | it is refused, with the leader named | the pool carries it to that leader |
 * | a refused conf change becomes an empty entry | it is refused, and nothing is appended | the refusal is compared, then an empty entry is proposed, so that indexes stay the same |
| a new leader changes the membership at once | not before an entry of its term is applied | the change is tried again after each step until it is taken; `deviations.ts` where that moves what a script sees |
| a request for votes leaves before the candidate's own vote is durable | it waits for the disk | with `async-storage-writes` the driver of the script lets it go at once |
 * | with leases a replica votes at once after its start | not before an election timeout has passed | `add-nodes` lets it pass |
| bytes applied for one Ready are bounded by the core | by the driver | `max-committed-size-per-ready` bounds the driver of the script |
 * | two versions of conf change entries | one | both are read as one kind |
 */
import { must } from '../../../base/assert.ts'
import type { Random } from '../../../base/random.ts'
import { draftMessage, ENTRY_OVERHEAD_BYTES } from '../../../raft/core/message.ts'
import { type ConfChange, type ConfStep, type Entry, type Message, MessageType } from '../../../raft/core/types.ts'
import { messageTypeName, renderConf, renderEffects, renderEntry, renderLocal, renderMessage } from './render.ts'
import type { Command } from './script.ts'
import { Effects, type Local, ScriptReplica } from './script-replica.ts'

const noContext = new Uint8Array(0)
const electionTicks = 3
const heartbeatTicks = 1
/** `prop_1_12`: what scripts with a bounded window propose. */
const scriptEntryBytes = 9 + ENTRY_OVERHEAD_BYTES

/** Something on its way to a replica. */
type Post =
  | { readonly kind: 'message'; readonly to: number; readonly message: Message }
  | { readonly kind: 'local'; readonly to: number; readonly local: Local }
  | { readonly kind: 'proposal'; readonly to: number; readonly command: Command }

export interface EnvironmentOptions {
  /** For scripts that were written for another library: does what the table says. */
  readonly likeOthers: boolean
}

export class Environment {
  readonly #likeOthers: boolean
  readonly replicas = new Map<number, ScriptReplica>()
  /** Why the last command's proposal was refused, if it was. */
  refusal: string | undefined
  /** What the last command made each replica do. */
  effects = new Map<number, Effects>()
  #pool: Post[] = []
  /** Changes that a leader could not take yet. */
  #deferred: { readonly replica: ScriptReplica; readonly command: Command }[] = []
  #lines: string[] = []
  /** What only prepares a scene is not printed. */
  #silent = false
  readonly #timeouts = new Map<number, number>()
  readonly #verbs: Readonly<Record<string, (command: Command) => void>> = {
    'add-nodes': (command) => this.#addNodes(command),
    campaign: (command) => this.#of(command).raft.campaign(),
    compact: (command) => this.#compact(command),
    crash: (command) => this.#crash(this.#of(command)),
    'deliver-msgs': (command) => this.#deliver(command),
    'forget-leader': (command) => this.#of(command).raft.forgetLeader(),
    'log-level': () => {},
    'process-append-thread': (command) => this.#each(command, (replica) => this.#processAppend(replica)),
    'process-apply-thread': (command) => this.#each(command, (replica) => this.#processApply(replica)),
    'process-ready': (command) => this.#each(command, (replica) => this.#processReady(replica)),
    propose: (command) => this.#propose(command),
    'propose-conf-change': (command) => this.#propose(command),
    'raft-log': (command) => this.#printLog(this.#of(command)),
    'raft-state': () => this.#printStates(),
    'read-index': (command) => this.#readIndex(command),
    'report-unreachable': (command) => this.#of(command).raft.reportUnreachable(Number(command.args[1])),
    'send-snapshot': (command) => this.#sendSnapshot(command),
    'set-randomized-election-timeout': () => {},
    stabilize: (command) => this.#stabilize(command),
    status: (command) => this.#printStatus(this.#of(command)),
    'tick-election': (command) => this.#tick(command, electionTicks),
    'tick-heartbeat': (command) => this.#tick(command, heartbeatTicks),
    'transfer-leadership': (command) => this.#transfer(command),
  }

  constructor(script: readonly Command[], { likeOthers }: EnvironmentOptions) {
    this.#likeOthers = likeOthers
    for (const command of script) {
      if (command.name !== 'set-randomized-election-timeout') continue
      const timeout = Number(must(command.options.get('timeout')?.[0], 'a timeout'))
      this.#timeouts.set(Number(command.args[0]), timeout)
    }
  }

  /** Does what the command says; returns what there is to see of it. */
  run(command: Command): string {
    const verb = this.#verbs[command.name]
    if (verb === undefined) throw new Error(`line ${command.line}: no such command: ${command.text}`)
    this.#lines = []
    this.refusal = undefined
    this.effects = new Map()
    if (command.name === 'log-level') this.#silent = command.args[0] === 'none'
    verb(command)
    const silent = this.#silent || command.options.get('log-level')?.[0] === 'none'
    return silent || this.#lines.length === 0 ? 'ok' : this.#lines.join('\n')
  }

  #print(...lines: readonly string[]): void {
    this.#lines.push(...lines)
  }

  #of(command: Command): ScriptReplica {
    return this.#get(Number(command.args[0]))
  }

  #get(id: number): ScriptReplica {
    return must(this.replicas.get(id), `replica ${id}`)
  }

  /** The replicas that the command names, or all. */
  #named(command: Command): ScriptReplica[] {
    return command.args.length === 0 ? [...this.replicas.values()] : command.args.map((arg) => this.#get(Number(arg)))
  }

  #each(command: Command, act: (replica: ScriptReplica) => void): void {
    for (const replica of this.#named(command)) act(replica)
  }

  // ---- making replicas ----

  #addNodes({ args, options }: Command): void {
    const list = (name: string) => (options.get(name) ?? []).map(Number)
    const flag = (name: string, otherwise = false) => (options.get(name)?.[0] ?? `${otherwise}`) === 'true'
    // What is always on here is an option there.
    const usual = !this.#likeOthers
    const number = (name: string, otherwise: number) => Number(options.get(name)?.[0] ?? otherwise)
    const conf = { voters: list('voters'), votersOutgoing: [], learners: list('learners'), learnersNext: [], autoLeave: false }
    const leases = options.get('read-only')?.[0] === 'lease-based'
    const window = options.has('inflight') ? number('inflight', 0) * scriptEntryBytes : number('window', 1 << 20)
    for (let i = 0; i < Number(args[0]); i++) {
      const id = this.replicas.size + 1
      const replica = new ScriptReplica(id, {
        options: {
          random: this.#randomOf(id),
          electionTicks,
          heartbeatTicks,
          preVote: flag('prevote', usual),
          checkQuorum: flag('checkquorum', usual),
          stepDownOnRemoval: flag('step-down-on-removal', usual),
          leases,
          maxInflightBytes: window,
          maxAppendBytes: 1 << 16,
          maxUncommittedBytes: 1 << 20,
          unsafe: { skipConfChangeChecks: flag('disable-conf-change-validation') },
        },
        conf,
        index: number('index', 0),
        asyncStorage: flag('async-storage-writes'),
        hastyVoteRequests: this.#likeOthers,
        maxApplyBytes: number('max-committed-size-per-ready', 1 << 20),
      })
      this.replicas.set(id, replica)
      if (this.#likeOthers && leases) for (let tick = 0; tick < electionTicks; tick++) replica.raft.tick()
      this.#print(`${id}: ${renderConf(replica.conf)} term ${replica.raft.term} commit ${replica.raft.commit}`)
    }
  }

  /** Draws the timeout that the script sets for this replica, the longest where it sets none. */
  #randomOf(id: number): Random {
    const timeout = this.#timeouts.get(id) ?? Number.POSITIVE_INFINITY
    return {
      next: () => 0,
      below: (bound) => Math.min(timeout - electionTicks, bound - 1),
      bytes: (length) => new Uint8Array(length),
    }
  }

  // ---- what a driver does ----

  #processReady(replica: ScriptReplica): void {
    this.#show(replica, 'handles a Ready', replica.handleReady())
  }

  #processAppend(replica: ScriptReplica): void {
    this.#show(replica, 'writes', replica.processAppend())
  }

  #processApply(replica: ScriptReplica): void {
    this.#show(replica, 'applies', replica.processApply())
  }

  #show(replica: ScriptReplica, title: string, effects: Effects): void {
    const sum = this.effects.get(replica.id) ?? new Effects()
    sum.add(effects)
    this.effects.set(replica.id, sum)
    this.#print(`> ${replica.id} ${title}`)
    for (const line of [...renderEffects(effects), ...effects.messages.map(renderMessage)]) this.#print(`  ${line}`)
    for (const message of effects.messages) this.#pool.push({ kind: 'message', to: message.to, message })
    for (const local of effects.locals) this.#pool.push({ kind: 'local', to: replica.id, local })
    const deferred = this.#deferred
    this.#deferred = []
    for (const { replica: leader, command } of deferred) this.#proposeAt(leader, command)
  }

  /** What its threads had to tell it goes with it. */
  #crash(replica: ScriptReplica): void {
    this.#pool = this.#pool.filter((post) => post.kind !== 'local' || post.to !== replica.id)
    replica.crash()
  }

  #deliver({ args, options }: Command): void {
    const type = options.get('type')?.[0]
    const drop = new Set(options.get('drop')?.map(Number))
    for (const id of args.map(Number)) this.#receive(this.#get(id), type)
    const isDropped = (post: Post) => post.kind !== 'local' && drop.has(post.to) && isOfType(post, type)
    for (const post of this.#pool.filter(isDropped)) this.#print(`dropped: ${renderPost(post)}`)
    this.#pool = this.#pool.filter((post) => !isDropped(post))
  }

  #receive(replica: ScriptReplica, type?: string): void {
    const isMine = (post: Post) => post.to === replica.id && isOfType(post, type)
    const mine = this.#pool.filter(isMine)
    this.#pool = this.#pool.filter((post) => !isMine(post))
    if (mine.length > 0) this.#print(`> ${replica.id} receives`)
    for (const post of mine) {
      this.#print(`  ${renderPost(post)}`)
      if (post.kind === 'message') replica.raft.step(post.message)
      else if (post.kind === 'local') replica.take(post.local)
      else this.#proposeAt(replica, post.command)
    }
  }

  /** Runs the named replicas until none of them has anything to do. */
  #stabilize(command: Command): void {
    const replicas = this.#named(command)
    for (let moved = true; moved; ) {
      moved = false
      for (const replica of replicas) {
        if (!replica.hasReady) continue
        this.#processReady(replica)
        moved = true
      }
      for (const replica of replicas) {
        if (!this.#pool.some(({ to }) => to === replica.id)) continue
        this.#receive(replica)
        moved = true
      }
      for (const replica of replicas) {
        for (; replica.hasAppendWork; moved = true) this.#processAppend(replica)
      }
      for (const replica of replicas) {
        for (; replica.hasApplyWork; moved = true) this.#processApply(replica)
      }
    }
  }

  // ---- what a user does ----

  #propose(command: Command): void {
    const replica = this.#of(command)
    const { leader, role } = replica.raft
    if (role !== 'leader' && leader !== 0) this.#pool.push({ kind: 'proposal', to: leader, command })
    else this.#proposeAt(replica, command)
  }

  #proposeAt(replica: ScriptReplica, command: Command): void {
    const { raft } = replica
    const isChange = command.name === 'propose-conf-change'
    const result = isChange ? raft.proposeConfChange(changeOf(command), noContext) : raft.propose([textBytes(command.args[1] ?? '')])
    if (!result.ok && result.reason === 'conf-change-pending' && this.#likeOthers) {
      this.#deferred.push({ replica, command })
    } else if (!result.ok) {
      this.refusal = result.reason
      this.#print(`refused: ${result.reason}`)
      if (this.#likeOthers && isChange && raft.role === 'leader') raft.propose([textBytes('')])
    }
    if (this.#likeOthers) replica.holdReady()
  }

  #readIndex(command: Command): void {
    if (!this.#of(command).raft.readIndex(Number(command.args[1]))) this.#print('refused: not-leader')
  }

  #tick(command: Command, count: number): void {
    const { raft } = this.#of(command)
    for (let i = 0; i < count; i++) raft.tick()
  }

  #transfer({ options }: Command): void {
    const from = this.#get(Number(options.get('from')?.[0]))
    this.#print(from.raft.transferLeadership(Number(options.get('to')?.[0])))
  }

  #sendSnapshot({ args }: Command): void {
    const [from, to] = args.map(Number) as [number, number]
    const { raft, snapshot } = this.#get(from)
    const message = { ...draftMessage(MessageType.Snapshot, from, to, raft.term), snapshot }
    this.#print(renderMessage(message))
    this.#pool.push({ kind: 'message', to, message })
  }

  #compact(command: Command): void {
    const replica = this.#of(command)
    replica.compact(Number(command.args[1]))
    this.#printLog(replica)
  }

  // ---- what there is to see ----

  #printStates(): void {
    for (const { id, raft } of this.replicas.values()) {
      const kind = raft.membership.isVoter(id) ? 'voter' : 'no voter'
      this.#print(`${id}: ${raft.role} (${kind}) term ${raft.term} leader ${raft.leader}`)
    }
  }

  #printLog({ log }: ScriptReplica): void {
    const entries: readonly Entry[] = log.durableEntries
    if (entries.length === 0) this.#print(`empty ${log.durableFirstIndex}..${log.durableIndex}`)
    else this.#print(...entries.map(renderEntry))
  }

  #printStatus({ raft }: ScriptReplica): void {
    for (const { replica, state, match, next, inflightBytes, pendingSnapshot, active, learner } of raft.progress()) {
      const parts = [`${replica}: ${state} match ${match} next ${next}`]
      if (inflightBytes > 0) parts.push(`${inflightBytes} B in flight`)
      if (pendingSnapshot > 0) parts.push(`snapshot ${pendingSnapshot}`)
      if (!active) parts.push('inactive')
      if (learner) parts.push('learner')
      this.#print(parts.join(' '))
    }
  }
}

/** Both the names of the scripts by others and our own are understood. */
const otherNames: Readonly<Record<string, string>> = { MsgApp: 'Append', MsgAppResp: 'AppendResponse', MsgSnap: 'Snapshot' }

function isOfType(post: Post, type: string | undefined): boolean {
  if (type === undefined) return true
  return post.kind === 'message' && messageTypeName(post.message.type) === (otherNames[type] ?? type)
}

function renderPost(post: Post): string {
  if (post.kind === 'message') return renderMessage(post.message)
  return post.kind === 'local' ? renderLocal(post.to, post.local) : `to ${post.to}: ${post.command.text}`
}

const stepTypes: Readonly<Record<string, ConfStep['type']>> = { v: 'add-voter', l: 'add-learner', r: 'remove' }
const transitions: Readonly<Record<string, ConfChange['transition']>> = {
  auto: 'auto',
  implicit: 'joint-implicit',
  explicit: 'joint-explicit',
}

function changeOf({ input, options, line }: Command): ConfChange {
  const steps = input
    .flatMap((text) => text.trim().split(/\s+/))
    .map((word) => ({ type: must(stepTypes[word[0] ?? ''], `line ${line}: a step: ${word}`), replica: Number(word.slice(1)) }))
  return { transition: must(transitions[options.get('transition')?.[0] ?? 'auto'], `line ${line}: a transition`), steps }
}

function textBytes(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}
