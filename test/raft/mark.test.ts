import { describe, expect, it } from 'vitest'
import { CorruptionError } from '../../base/errors.ts'
import { decodeMark, encodeMark } from '../../raft/mark.ts'

const conf = { voters: [1, 2, 3], votersOutgoing: [1, 2], learners: [9], learnersNext: [], autoLeave: false }
const meta = { index: 2 ** 40 + 7, term: 12, conf }
const joint = { ...meta, conf: { ...conf, voters: [2, 3], learnersNext: [1], autoLeave: true } }

describe('mark', () => {
  it('comes back as it was', () => {
    expect(decodeMark(encodeMark(meta), 'm')).toEqual(meta)
    expect(decodeMark(encodeMark(joint), 'm')).toEqual(joint)
    const first = { index: 0, term: 0, conf: { voters: [], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false } }
    expect(decodeMark(encodeMark(first), 'm')).toEqual(first)
  })

  it('keeps its bytes from version to version', () => {
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
