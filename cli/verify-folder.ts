import { systemErrorCode } from '../base/errors.ts'
import { type FileSystem, fileSize, joinPath, readFile } from '../base/file-system.ts'
import { NodeClock } from '../base/node-clock.ts'
import { type Damage, damageText, verifyDatabase, verifyTable } from '../lsm/index.ts'
import { isFolder } from '../lsm/inspect-folder.ts'
import { decodeIdentity, identityName } from '../raft/data-directory.ts'
import { verifyLog } from '../raft/log/verify-log.ts'
import { decodeExportList } from '../shardserver/export-list.ts'
import { readOr, tellDamage, withDiskErrors, withoutSlash } from './damage-report.ts'
import { findStores, type Store } from './data-tree.ts'
import { type ExitCode, usageError } from './exit-code.ts'
import type { Invocation } from './invocation.ts'
import { drawTable } from './table.ts'
import { byteText } from './units.ts'
import { VerifyProgress } from './verify-progress.ts'

/** What was checked of one store. */
interface Checked {
  readonly kind: Store['kind']
  readonly folder: string
  readonly files: number
  readonly bytes: number
  /** Of a database's tables; of moving shards the records. */
  readonly entries?: number
  readonly damages: number
}

/** What a run has found so far. */
class Findings {
  readonly damages: Damage[] = []
  readonly notes: Damage[] = []
  readonly #progress: VerifyProgress

  constructor(progress: VerifyProgress) {
    this.#progress = progress
  }

  readonly onDamage = (damage: Damage): void => {
    this.damages.push(damage)
  }

  readonly onNote = (note: Damage): void => {
    this.notes.push(note)
  }

  readonly onBytes = (bytes: number): undefined => {
    this.#progress.add(bytes)
  }
}

export async function verifyFolder(invocation: Invocation, path: string): Promise<ExitCode> {
  const folder = withoutSlash(path)
  return await withDiskErrors(folder, async () => {
    const fileSystem = await invocation.world.fileSystem()
    if (!(await isFolder(fileSystem, folder))) throw usageError(`${path} is no folder`)
    const stores = (await findStores(fileSystem, folder)).filter(({ kind }) => kind !== 'other')
    if (stores.length === 0) throw usageError(`${path} holds neither a database nor a data directory`)
    const progress = await VerifyProgress.start(invocation, await bytesOf(fileSystem, stores))
    const findings = new Findings(progress)
    const checked: Checked[] = []
    try {
      for (const store of stores) {
        const before = findings.damages.length
        const done = await verifyStore(fileSystem, store, findings)
        checked.push({ kind: store.kind, folder: store.folder, ...done, damages: findings.damages.length - before })
      }
    } finally {
      progress.stop()
    }
    return await tell(invocation, folder, checked, findings)
  })
}

async function tell(invocation: Invocation, folder: string, checked: readonly Checked[], { damages, notes }: Findings): Promise<ExitCode> {
  const sum = (of: (store: Checked) => number) => checked.reduce((total, store) => total + of(store), 0)
  const [files, bytes, entries] = [sum((store) => store.files), sum((store) => store.bytes), sum((store) => store.entries ?? 0)]
  if (!invocation.json) {
    const rows = checked.map((store) => [
      store.folder,
      storeName(store.kind),
      String(store.files),
      byteText(store.bytes),
      store.entries === undefined ? '' : String(store.entries),
      store.damages === 0 ? 'whole' : store.damages === 1 ? '1 damage' : `${store.damages} damages`,
    ])
    invocation.print(undefined, await drawTable(['folder', 'what', 'files', 'bytes', 'entries', 'state'], rows))
    if (damages.length > 0) {
      const damageRows = damages.map(({ file, offset, block, what }) => [file, String(offset ?? ''), String(block ?? ''), what])
      invocation.print(undefined, await drawTable(['damaged file', 'offset', 'block', 'what'], damageRows))
    }
    for (const note of notes) invocation.print(undefined, `note: ${damageText(note)}`)
    if (damages.length === 0) invocation.print(undefined, `whole: ${files} files, ${byteText(bytes)}, ${entries} entries`)
  }
  const json = { folder, whole: damages.length === 0, files, bytes, entries, stores: checked, damages, notes }
  return tellDamage(invocation, json, damages, 'told')
}

function storeName(kind: Store['kind']): string {
  return { data: 'identity', database: 'database', log: 'shared log', moving: 'moving shards', part: 'not whole yet', other: 'other' }[kind]
}

async function verifyStore(
  fileSystem: FileSystem,
  store: Store,
  findings: Findings,
): Promise<Omit<Checked, 'kind' | 'folder' | 'damages'>> {
  const { kind, folder } = store
  try {
    if (kind === 'database') {
      const { files, bytes, entries } = await verifyDatabase(fileSystem, folder, findings)
      return { files, bytes, entries }
    }
    if (kind === 'log') return await verifySharedLog(fileSystem, folder, findings)
    if (kind === 'data') return await verifyIdentity(fileSystem, folder, findings)
    if (kind === 'moving') return await verifyMoving(fileSystem, store, findings)
    findings.onNote({ file: folder, what: 'not whole: the next start removes it or goes on with it; not checked' })
  } catch (error) {
    // A running node removes snapshots and moved shards when nobody needs them any more.
    if (systemErrorCode(error) !== 'ENOENT') throw error
    if (await isFolder(fileSystem, folder))
      findings.onDamage({ file: folder, what: error instanceof Error ? error.message : String(error) })
    else findings.onNote({ file: folder, what: 'was removed meanwhile' })
  }
  return { files: 0, bytes: 0 }
}

async function verifySharedLog(fileSystem: FileSystem, folder: string, findings: Findings) {
  const { segments, bytes, damage, torn } = await verifyLog(fileSystem, new NodeClock(), folder)
  findings.onBytes(bytes)
  for (const { file, offset, what, group, isNewer } of damage) {
    const whose = group === undefined ? '' : ` (replica ${group.replica} of ${group.uid})`
    findings.onDamage({ file, offset, what: `${what}${whose}`, ...(isNewer ? { isNewer } : {}) })
  }
  if (torn !== undefined) findings.onNote({ ...torn, what: 'torn tail: never acknowledged, the next start cuts it' })
  return { files: segments, bytes }
}

async function verifyIdentity(fileSystem: FileSystem, folder: string, findings: Findings) {
  const path = joinPath(folder, identityName)
  const bytes = await readFile(fileSystem, path)
  readOr(findings.damages, () => decodeIdentity(path, bytes))
  findings.onBytes(bytes.length)
  return { files: 1, bytes: bytes.length }
}

/** The list, and each table that it names. */
async function verifyMoving(fileSystem: FileSystem, { folder, names }: Store, findings: Findings) {
  const path = joinPath(folder, names[0] ?? '')
  const bytes = await readFile(fileSystem, path)
  const list = readOr(findings.damages, () => decodeExportList(bytes, path))
  findings.onBytes(bytes.length)
  const done = { files: 1, bytes: bytes.length, entries: 0 }
  for (const { name, size, checksum } of list?.files ?? []) {
    const file = joinPath(folder, name)
    if (!(await fileSystem.exists(file))) {
      findings.onDamage({ file, what: `missing, though ${names[0]} names it` })
      continue
    }
    done.entries += (await verifyTable(fileSystem, file, { ...findings, expected: [{ size, checksum }] })).entries
    done.files++
    done.bytes += size
  }
  return done
}

async function bytesOf(fileSystem: FileSystem, stores: readonly Store[]): Promise<number> {
  let bytes = 0
  for (const { folder, kind, names } of stores) {
    if (kind === 'part') continue
    for (const name of kind === 'data' ? [identityName] : kind === 'moving' ? await fileSystem.list(folder) : names) {
      bytes += (await fileSize(fileSystem, joinPath(folder, name))) ?? 0
    }
  }
  return bytes
}
