import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { z } from 'zod'
import { type FolderLock, lockFolder } from '../base/node-folder-lock.ts'
import { CommandError, exitCode } from './exit-code.ts'

/** The folder of a cluster that `ostraka up` made: `up.json` says so, and keeps the flags that the data depends on. */

const MARKER = 'up.json'
/** Made by the lock, in any folder. */
const LOCK = 'lock'

const markerSchema = z.object({ version: z.literal(1), nodes: z.int(), groups: z.int(), replicas: z.int(), shards: z.int() })

export type Shape = Omit<z.output<typeof markerSchema>, 'version'>

/** What was asked for: `explicit` holds the flags that the user gave, `shape` all of them with their defaults. */
export interface Asked {
  readonly shape: Shape
  readonly explicit: ReadonlySet<string>
}

export interface UpFolder {
  readonly shape: Shape
  readonly lock: FolderLock
  /** A cluster was made in it before. */
  readonly used: boolean
  /** Writes the marker, if it is not there: from now on the data is bound to the shape. */
  mark(): void
}

/**
 * Takes `folder` for this process; with `fresh` empties it first. Flags that were not given are those of the data. Rejects with 78 where the
 * folder is none of ours or the flags contradict it, with 1 where another process has it.
 */
export async function openUpFolder(folder: string, asked: Asked, fresh: boolean): Promise<UpFolder> {
  refuseForeign(folder)
  mkdirSync(folder, { recursive: true })
  const lock = await lockFolder(folder)
  try {
    if (fresh) empty(folder)
    const marker = readMarker(folder)
    if (marker === undefined) return { shape: asked.shape, lock, used: false, mark: () => writeMarker(folder, asked.shape) }
    refuseContradiction(folder, asked, marker)
    return { shape: marker, lock, used: true, mark() {} }
  } catch (error) {
    await lock.release()
    throw error
  }
}

/** Neither started on nor deleted: what `up` did not make. */
function refuseForeign(folder: string): void {
  if (!existsSync(folder) || existsSync(path.join(folder, MARKER))) return
  const foreign = readdirSync(folder).find((name) => name !== LOCK)
  if (foreign === undefined) return
  throw wrongDirectory(`${folder} was not made by 'ostraka up' (it holds '${foreign}' and no ${MARKER}): choose another --data`)
}

function empty(folder: string): void {
  for (const name of readdirSync(folder)) {
    // The marker goes last: a folder half deleted is still known as ours.
    if (name !== MARKER && name !== LOCK) rmSync(path.join(folder, name), { recursive: true, force: true })
  }
  rmSync(path.join(folder, MARKER), { force: true })
}

function readMarker(folder: string): Shape | undefined {
  const file = path.join(folder, MARKER)
  if (!existsSync(file)) return undefined
  try {
    const { nodes, groups, replicas, shards } = markerSchema.parse(JSON.parse(readFileSync(file, 'utf8')))
    return { nodes, groups, replicas, shards }
  } catch {
    throw new CommandError(
      exitCode.damaged,
      'CORRUPTION',
      `${file} is damaged: restore it, or start anew with --fresh (which deletes the data)`,
    )
  }
}

function writeMarker(folder: string, shape: Shape): void {
  const file = path.join(folder, MARKER)
  writeFileSync(`${file}.tmp`, `${JSON.stringify({ version: 1, ...shape })}\n`, { flush: true })
  renameSync(`${file}.tmp`, file)
}

function refuseContradiction(folder: string, asked: Asked, made: Shape): void {
  const names = (Object.keys(made) as (keyof Shape)[]).filter((name) => asked.explicit.has(name) && asked.shape[name] !== made[name])
  if (names.length === 0) return
  const told = names.map((name) => `--${name} ${asked.shape[name]} (the data has ${made[name]})`).join(', ')
  throw wrongDirectory(`${folder} was made with other flags: ${told}; leave them out, choose another --data, or delete it with --fresh`)
}

function wrongDirectory(message: string): CommandError {
  return new CommandError(exitCode.wrongDirectory, 'WRONG_DIRECTORY', message)
}
