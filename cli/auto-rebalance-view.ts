import type { pb } from '../proto/messages.ts'

/** How rebalancing by itself stands, as JSON and for people. */

export function autoRebalanceJson({ rules, load, size, waitsFor }: pb.v1.AutoRebalanceStatus.$Properties): object {
  return {
    on: rules?.on ?? false,
    by: measuresOf(rules),
    above: rules?.above ?? 0,
    until: rules?.until ?? 0,
    forSeconds: (rules?.sustainMs ?? 0) / 1000,
    restSeconds: (rules?.restMs ?? 0) / 1000,
    load: imbalanceJson(load),
    size: imbalanceJson(size),
    waitsFor: waitsFor || null,
  }
}

export function autoRebalanceText({ rules, load, size, waitsFor }: pb.v1.AutoRebalanceStatus.$Properties): string {
  const seconds = (ms: number | null | undefined) => `${(ms ?? 0) / 1000} s`
  const when = `by ${measuresOf(rules).join(' and ')}: above ${rules?.above} for ${seconds(rules?.sustainMs)}, until ${rules?.until}; a shard rests ${seconds(rules?.restMs)}`
  return [
    `auto-rebalance is ${rules?.on ? 'on' : 'off'} (${when})`,
    `load: ${imbalanceText(load)}`,
    `size: ${imbalanceText(size)}`,
    ...(waitsFor ? [`nothing would be moved now: ${waitsFor}`] : []),
  ].join('\n')
}

function measuresOf(rules: pb.v1.AutoRebalanceRules.$Properties | null | undefined): string[] {
  return [...(rules?.byLoad ? ['load'] : []), ...(rules?.bySize ? ['size'] : [])]
}

/** Null: not known, or there is none. */
function imbalanceJson(imbalance: pb.v1.Imbalance.$Properties | null | undefined): object | null {
  if (!imbalance?.group) return null
  return { group: imbalance.group, ratio: imbalance.ratio ?? 0, active: imbalance.active ?? false }
}

function imbalanceText(imbalance: pb.v1.Imbalance.$Properties | null | undefined): string {
  if (!imbalance?.group) return 'none, or not known yet'
  const share = `${imbalance.group} has most, ${(imbalance.ratio ?? 0).toFixed(2)} times its share`
  return imbalance.active ? `${share}; being evened out` : share
}
