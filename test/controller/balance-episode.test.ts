import { describe, expect, it } from 'vitest'
import { type Episode, nextEpisode, noEpisode } from '../../controller/balance-episode.ts'
import { firstRules } from '../../controller/balance-rules.ts'

/** What is seen each 10 s: a ratio, or the same with '-': so little that it is worth nothing. Gives where the episode was active. */
function story(text: string): string {
  let episode: Episode = noEpisode
  const shown = text.split(' ').map((word, at) => {
    const seen = { group: 'g1', ratio: Number.parseFloat(word), isMuch: !word.endsWith('-') }
    episode = nextEpisode(episode, seen, { ...firstRules, on: true, sustainMs: 30_000 }, at * 10_000)
    return episode.active ? 'A' : episode.sinceMs === undefined ? '.' : 'w'
  })
  return shown.join('')
}

describe('an episode of rebalancing', () => {
  it('begins after it has been uneven for a while, and ends when it is even', () => {
    expect(story('1.0 1.3 1.4 1.3 1.5 1.3 1.2 1.15 1.11 1.1 1.2 1.2')).toBe('.wwwAAAAA...')
  })

  it('begins to count anew after each break', () => {
    expect(story('1.4 1.4 1.4 1.29 1.4 1.4 1.4 1.4')).toBe('www.wwwA')
  })

  it('does not begin for a little of nothing, and ends with it', () => {
    expect(story('9- 9- 9- 9- 9- 9 9 9 9 9-')).toBe('.....wwwA.')
  })
})
