import { must } from '../../../base/assert.ts'
import { type Command, parseScript } from './script.ts'

/** What a script by others says of one command, where this library does otherwise by design, and what is compared in its place. */
interface Deviation {
  readonly script: string
  readonly line: number
  readonly command: string
  readonly why: string
  /** In the scripts' own grammar. */
  readonly instead: readonly string[]
  /** Commands behind the script's end that show what holds in place of what it shows. */
  readonly epilogue?: string
}

const removedLeads = 'a leader that was removed and is not told to step down takes proposals, which the voters that remain commit'
const afterOwnEntry = 'a new leader changes the membership only when an entry of its own term is applied'

const promised =
  'where leases are on a follower may forget its leader: what a lease rests on is its promise, which outlasts that and keeps it from helping anybody'

const deviations: readonly Deviation[] = [
  {
    script: 'forget_leader_read_only_lease_based.txt',
    line: 26,
    command: 'raft-state',
    why: promised,
    instead: ['1: StateLeader (Voter) Term:1 Lead:1', '2: StateFollower (Voter) Term:1 Lead:0', '3: StateFollower (Voter) Term:1 Lead:1'],
    epilogue: `campaign 3
----
ok

stabilize
----
> 2 handling Ready
Lead:0 State:StateFollower

raft-state
----
1: StateLeader (Voter) Term:1 Lead:1
2: StateFollower (Voter) Term:1 Lead:0
3: StateFollower (Voter) Term:1 Lead:1
`,
  },
  { script: 'confchange_v1_remove_leader.txt', line: 210, command: 'propose 1 baz', why: removedLeads, instead: ['ok'] },
  {
    script: 'confchange_v1_remove_leader.txt',
    line: 221,
    command: 'stabilize',
    why: removedLeads,
    instead: [1, 2, 3].flatMap((replica) => [
      `> ${replica} handling Ready`,
      'HardState Term:1 Vote:1 Commit:7',
      'Entries:',
      '1/7 EntryNormal "baz"',
      'CommittedEntries:',
      '1/7 EntryNormal "baz"',
    ]),
  },
  {
    script: 'confchange_v2_add_double_auto.txt',
    line: 42,
    command: 'process-ready 1',
    why: afterOwnEntry,
    instead: ['Lead:1 State:StateLeader', 'Entries:', '1/3 EntryNormal ""'],
  },
  {
    script: 'confchange_v2_add_double_auto.txt',
    line: 54,
    command: 'process-ready 1',
    why: afterOwnEntry,
    instead: ['HardState Term:1 Vote:1 Commit:3', 'CommittedEntries:', '1/3 EntryNormal ""'],
  },
  {
    script: 'confchange_v2_add_double_auto.txt',
    line: 65,
    command: 'stabilize 1',
    why: afterOwnEntry,
    instead: [
      '> 1 handling Ready',
      'HardState Term:1 Vote:1 Commit:4',
      'Entries:',
      '1/4 EntryConfChangeV2 v2 v3',
      '1/5 EntryConfChangeV2',
      'CommittedEntries:',
      '1/4 EntryConfChangeV2 v2 v3',
      'INFO 1 switched to configuration voters=(1 2 3)&&(1) autoleave',
    ],
  },
]

/** The commands of a script, with our expectation where we deviate. */
export function withDeviations(script: string, commands: readonly Command[]): readonly Command[] {
  const mine = deviations.filter((deviation) => deviation.script === script)
  for (const { line, command } of mine) {
    must(
      commands.find((one) => one.line === line && one.text === command),
      `${script}: the command '${command}' in line ${line}`,
    )
  }
  const told = commands.map((command) => {
    const deviation = mine.find(({ line }) => line === command.line)
    return deviation === undefined ? command : { ...command, expected: deviation.instead }
  })
  return told.concat(mine.flatMap(({ epilogue = '' }) => parseScript(epilogue)))
}
