import { expect, it } from 'vitest'
import { WriteWindow } from '../../base/grpc-write-window.ts'

it('admits one message of any size, says no above the limit, and drains once when half is gone', () => {
  let drains = 0
  const window = new WriteWindow(100, () => drains++)
  expect(window.admit(100)).toBe(true)
  expect(window.admit(1)).toBe(false)
  expect(window.admit(50)).toBe(false)
  window.written()
  expect(drains).toBe(0)
  window.written()
  expect(drains).toBe(1)
  expect(window.admit(500)).toBe(false)
  window.written()
  expect(drains).toBe(1)
  window.written()
  expect(drains).toBe(2)
})

it('counts thousands of messages right', () => {
  let drains = 0
  const window = new WriteWindow(10_000, () => drains++)
  for (let i = 0; i < 10_000; i++) expect(window.admit(1)).toBe(true)
  expect(window.admit(1)).toBe(false)
  for (let i = 0; i < 5_000; i++) window.written()
  expect(drains).toBe(0)
  window.written()
  expect(drains).toBe(1)
})
