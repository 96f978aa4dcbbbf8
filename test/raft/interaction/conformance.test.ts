import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Conformance } from './conformance.ts'
import { withDeviations } from './deviations.ts'
import { parseScript } from './script.ts'

const dataFolder = process.env.OSTRAKA_TEST_DATA
const folder = dataFolder === undefined ? undefined : join(dataFolder, 'raft', 'interaction')
const hasData = folder !== undefined && existsSync(folder)

/** Each script and the number of facts in it that are compared, so that none is lost without notice. */
const scripts = {
  async_storage_writes: 85,
  async_storage_writes_append_aba_race: 56,
  campaign: 25,
  campaign_learner_must_vote: 16,
  checkquorum: 24,
  confchange_disable_validation: 14,
  confchange_v1_add_single: 20,
  confchange_v1_remove_leader: 35,
  confchange_v1_remove_leader_stepdown: 23,
  confchange_v2_add_double_auto: 62,
  confchange_v2_add_double_implicit: 22,
  confchange_v2_add_single_auto: 20,
  confchange_v2_add_single_explicit: 37,
  confchange_v2_replace_leader: 61,
  confchange_v2_replace_leader_stepdown: 28,
  forget_leader: 13,
  forget_leader_prevote_checkquorum: 21,
  forget_leader_read_only_lease_based: 3,
  heartbeat_resp_recovers_from_probing: 9,
  lagging_commit: 11,
  prevote: 31,
  prevote_checkquorum: 37,
  probe_and_replicate: 52,
  replicate_pause: 18,
  single_node: 9,
  slow_follower_after_compaction: 10,
  snapshot_succeed_via_app_resp: 17,
  snapshot_succeed_via_app_resp_behind: 14,
}

describe.skipIf(!hasData)(
  `interaction of replicas, scripts written by others${hasData ? '' : ' (skipped: OSTRAKA_TEST_DATA names no folder with raft/interaction)'}`,
  () => {
    it.each(Object.entries(scripts))('%s', (name, facts) => {
      const file = `${name}.txt`
      const commands = withDeviations(file, parseScript(readFileSync(join(folder as string, file), 'utf8')))
      expect(new Conformance(commands).run()).toBe(facts)
    })
  },
)

describe('the comparison', () => {
  const script = `add-nodes 2 voters=(1) learners=(2) index=3 inflight=2
----
INFO newRaft 1 [peers: [1], term: 0, commit: 3, applied: 3, lastindex: 3, lastterm: 1]
INFO newRaft 2 [peers: [1], term: 0, commit: 3, applied: 3, lastindex: 3, lastterm: 1]

campaign 1
----
INFO 1 became candidate at term 1

stabilize
----
> 1 handling Ready
  Lead:1 State:StateLeader
  HardState Term:1 Vote:1 Commit:4
  Entries:
  1/4 EntryNormal ""
  CommittedEntries:
  1/4 EntryNormal ""
> 2 handling Ready
  Lead:1 State:StateFollower
  HardState Term:1 Commit:4
  Entries:
  1/4 EntryNormal ""
  CommittedEntries:
  1/4 EntryNormal ""

propose 1 nine_byte
----
ok

process-ready 1
----
Entries:
1/5 EntryNormal "nine_byte"

status 1
----
1: StateReplicate match=5 next=6
2: StateReplicate match=4 next=6 inflight=1 learner

raft-log 1
----
1/4 EntryNormal ""
1/5 EntryNormal "nine_byte"

propose-conf-change 1
r2
----
ok

stabilize 1
----
> 1 handling Ready
  HardState Term:1 Vote:1 Commit:6
  Entries:
  1/6 EntryConfChangeV2 r2
  CommittedEntries:
  1/5 EntryNormal "nine_byte"
  1/6 EntryConfChangeV2 r2
INFO 1 switched to configuration voters=(1)

raft-state
----
1: StateLeader (Voter) Term:1 Lead:1
2: StateFollower (Non-Voter) Term:1 Lead:1

forget-leader 2
----
ok

propose 2 foreign
----
raft proposal dropped

compact 1 4
----
1/5 EntryNormal "nine_byte"
1/6 EntryConfChangeV2 r2
`

  it('agrees with what is true', () => {
    expect(new Conformance(parseScript(script)).run()).toBeGreaterThan(20)
  })

  const lies: readonly [string, string][] = [
    ['lastindex: 3', 'lastindex: 4'],
    ['became candidate at term 1', 'became candidate at term 2'],
    ['  Lead:1 State:StateLeader\n', ''],
    ['  Lead:1 State:StateFollower', '  Lead:2 State:StateFollower'],
    ['HardState Term:1 Vote:1 Commit:4', 'HardState Term:1 Vote:1 Commit:3'],
    ['HardState Term:1 Commit:4', 'HardState Term:1 Vote:1 Commit:4'],
    ['  CommittedEntries:\n  1/4 EntryNormal ""\n> 2', '> 2'],
    ['Entries:\n1/5 EntryNormal "nine_byte"', 'Entries:\n1/5 EntryNormal "nine-byte"'],
    ['match=4 next=6', 'match=5 next=6'],
    ['match=4 next=6', 'match=4 next=5'],
    ['inflight=1', 'inflight=2'],
    ['inflight=1', 'inflight=1[full]'],
    [' learner\n', '\n'],
    ['raft-log 1\n----\n1/4 EntryNormal ""\n', 'raft-log 1\n----\n'],
    ['1/6 EntryConfChangeV2 r2\n  Committed', '1/6 EntryConfChangeV2 v2\n  Committed'],
    ['configuration voters=(1)', 'configuration voters=(1) learners=(2)'],
    ['2: StateFollower (Non-Voter)', '2: StateFollower (Voter)'],
    ['(Non-Voter) Term:1 Lead:1', '(Non-Voter) Term:1 Lead:0'],
    ['raft proposal dropped', 'ok'],
    ['compact 1 4\n----\n', 'compact 1 4\n----\n1/4 EntryNormal ""\n'],
  ]
  it.each(lies)('finds a lie: %j told as %j', (truth, lie) => {
    expect(script).toContain(truth)
    expect(() => new Conformance(parseScript(script.replace(truth, lie))).run()).toThrow(/^line \d+, /)
  })
})
