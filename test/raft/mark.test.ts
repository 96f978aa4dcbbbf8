import { describe, expect, it } from 'vitest'
import { CorruptionError } from '../../base/errors.ts'
import { decodeMark, encodeMark } from '../../raft/mark.ts'
import { standingAt } from './standings.ts'

const conf = { voters: [1, 2, 3], votersOutgoing: [1, 2], learners: [9], learnersNext: [], autoLeave: false }
const nodes = new Map([1, 2, 3, 9].map((replica) => [replica, `n${replica}`]))
const meta = { index: 2 ** 40 + 7, term: 12, conf, nodes, changedAt: 2 ** 39, configNumber: 77 }
const joint = { ...meta, conf: { ...conf, voters: [2, 3], learnersNext: [1], autoLeave: true } }

describe('mark', () => {
  it('comes back as it was', () => {
    expect(decodeMark(encodeMark(meta), 'm')).toEqual(meta)
    expect(decodeMark(encodeMark(joint), 'm')).toEqual(joint)
    expect(decodeMark(encodeMark(standingAt(0, 0, 0)), 'm')).toEqual(standingAt(0, 0, 0))
  })

  it('keeps its bytes from version to version', () => {
    const old = { ...meta, index: 5, nodes: new Map(), changedAt: 0, configNumber: 0 }
    expect(Buffer.from(encodeMark(old)).toString('hex')).toMatchSnapshot()
    expect(Buffer.from(encodeMark({ ...meta, index: 5 })).toString('hex')).toMatchSnapshot()
  })

  it('is refused with any bit changed, cut short, or of another version', () => {
    const bytes = encodeMark(meta)
    for (let bit = 0; bit < 8 * bytes.length; bit++) {
      const bad = Uint8Array.from(bytes)
      bad[bit >> 3] = (bad[bit >> 3] as number) ^ (1 << (bit & 7))
      expect(() => decodeMark(bad, 'm'), `bit ${bit}`).toThrow(CorruptionError)
    }
    for (let length = 0; length < bytes.length; length++) expect(() => decodeMark(bytes.subarray(0, length), 'm')).toThrow(CorruptionError)
  })
})
