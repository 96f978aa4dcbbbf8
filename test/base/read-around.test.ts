import { expect, test } from 'vitest'
import { type FileAround, ReadAround } from '../../base/read-around.ts'

const piece = 256 * 1024
const memory = 1000 * piece

function fileOf(bytes: number, memoryBytes = () => memory): { around: ReadAround; file: FileAround } {
  const around = new ReadAround(memoryBytes)
  return { around, file: around.open(bytes) }
}

test('where files fit into memory, a read brings the piece it lies in, once', () => {
  const { file } = fileOf(memory / 4)
  expect(file.takePiece(0, 4096, 0)).toBe(0)
  expect(file.takePiece(4096, 4096, 0)).toBe(undefined)
  expect(file.takePiece(3 * piece + 5, 4096, 0)).toBe(3 * piece)
  expect(file.takePiece(4 * piece - 4096, 4096, 0)).toBe(undefined)
  expect(file.takePiece(249 * piece, 4096, 0)).toBe(249 * piece)
  for (let i = 0; i < 250; i++) expect(file.takePiece(i * piece, 1, 0)).toBe([0, 3, 249].includes(i) ? undefined : i * piece)
})

test('what was brought in is held, until two reads in a row are slow: then it is brought in again', () => {
  const { file } = fileOf(10 * piece)
  expect(file.takePiece(5, 4096, 0)).toBe(0)
  expect(file.holds(5, 4096)).toBe(false)
  file.brought(0)
  expect(file.holds(0, piece)).toBe(true)
  expect(file.holds(piece - 1, 2)).toBe(false)
  expect(file.takePiece(piece, 1, 0)).toBe(piece)
  file.brought(piece)
  expect(file.holds(piece - 1, 2)).toBe(true)
  for (const ms of [0.09, 0.1, 0.09, 0.2]) file.took(5, ms)
  file.took(piece, 0.2)
  expect(file.holds(0, 1)).toBe(true)
  file.took(5, 0.1)
  expect(file.holds(0, 1)).toBe(false)
  expect(file.holds(piece, 1)).toBe(true)
  expect(file.takePiece(5, 4096, 0)).toBe(0)
})

test('a piece is brought in again after a minute', () => {
  const { file } = fileOf(10 * piece)
  expect(file.takePiece(0, 4096, 1000)).toBe(0)
  expect(file.takePiece(0, 4096, 60_999)).toBe(undefined)
  expect(file.takePiece(0, 4096, 61_000)).toBe(0)
})

test('a read over the edge of a piece, or of the file, stays what it is', () => {
  const { file } = fileOf(2 * piece - 10)
  expect(file.takePiece(piece - 1, 2, 0)).toBe(undefined)
  expect(file.takePiece(2 * piece - 20, 11, 0)).toBe(undefined)
  expect(file.takePiece(2 * piece - 20, 10, 0)).toBe(piece)
})

test('where files do not fit, only what is asked for is read', () => {
  expect(fileOf(memory / 4 + 1).file.takePiece(0, 4096, 0)).toBe(undefined)
})

test('files that are opened and closed, and memory that others take, count after a second', () => {
  let memoryBytes = memory
  const { around, file } = fileOf(memory / 4, () => memoryBytes)
  expect(file.takePiece(0, 4096, 0)).toBe(0)
  const other = around.open(1)
  expect(file.takePiece(piece, 4096, 999)).toBe(piece)
  expect(file.takePiece(2 * piece, 4096, 1000)).toBe(undefined)
  around.close(other)
  expect(file.takePiece(3 * piece, 4096, 2000)).toBe(3 * piece)
  memoryBytes--
  expect(file.takePiece(4 * piece, 4096, 3000)).toBe(undefined)
})

test('buffers are bounded, wait in turn, and are used again', () => {
  const { around } = fileOf(0)
  const given: [number, Uint8Array][] = []
  for (let i = 0; i < 18; i++) around.takeBuffer((buffer) => given.push([i, buffer]))
  expect(given.map(([i]) => i)).toEqual(Array.from({ length: 16 }, (_, i) => i))
  const buffers = given.map(([, buffer]) => buffer)
  expect(new Set(buffers).size).toBe(16)
  around.giveBack(buffers[7] as Uint8Array)
  around.giveBack(buffers[3] as Uint8Array)
  expect(given.slice(16).map(([i, buffer]) => [i, buffers.indexOf(buffer)])).toEqual([
    [16, 7],
    [17, 3],
  ])
  for (const buffer of buffers) around.giveBack(buffer)
  given.length = 0
  for (let i = 0; i < 2; i++) around.takeBuffer((buffer) => given.push([i, buffer]))
  expect(given.map(([, buffer]) => buffers.indexOf(buffer))).toEqual([15, 14])
})
