import { readU32 } from '../base/bytes.ts'
import { type FileSystem, readFile } from '../base/file-system.ts'
import { decodeRecordFile } from '../base/framed-record.ts'
import { type Damage, databaseFileKind } from '../lsm/index.ts'
import { isFolder } from '../lsm/inspect-folder.ts'
import { decodeCurrent } from '../lsm/manifest.ts'
import { manifestName } from '../lsm/table-metadata.ts'
import { decodeIdentity, identityName } from '../raft/data-directory.ts'
import { segmentNumber } from '../raft/log/format.ts'
import { readOr, tellDamage, withDiskErrors, withoutSlash } from './damage-report.ts'
import { type ExitCode, usageError } from './exit-code.ts'
import { inspectFolder } from './inspect-folder.ts'
import { inspectLogFile } from './inspect-log.ts'
import { inspectManifestFile } from './inspect-manifest.ts'
import type { InspectOptions } from './inspect-options.ts'
import { inspectSegment } from './inspect-segment.ts'
import { inspectTable } from './inspect-table.ts'
import type { Invocation } from './invocation.ts'
import { Printer } from './printer.ts'

export async function inspectPath(invocation: Invocation, path: string, options: InspectOptions): Promise<ExitCode> {
  const printer = new Printer(invocation.world.stdout, invocation.json)
  const damages: Damage[] = []
  const json = await withDiskErrors(path, async () => {
    const fileSystem = await invocation.world.fileSystem()
    if (await isFolder(fileSystem, path)) return await inspectFolder(fileSystem, withoutSlash(path), printer, damages)
    if (!(await fileSystem.exists(path))) throw usageError(`${path} is not there`)
    return await inspectFile(fileSystem, path, options, printer, damages)
  })
  return tellDamage(invocation, { ...json, damages }, damages)
}

async function inspectFile(
  fileSystem: FileSystem,
  path: string,
  options: InspectOptions,
  printer: Printer,
  damages: Damage[],
): Promise<object> {
  const name = path.slice(path.lastIndexOf('/') + 1)
  const segment = segmentNumber(name)
  if (segment !== undefined) return inspectSegment(fileSystem, path, segment, printer, damages)
  const { kind, number = 0 } = databaseFileKind(name)
  const isTable = kind === 'table' || (kind === 'foreign' && (await endsLikeTable(fileSystem, path)))
  if (options.block !== undefined && !isTable) throw usageError(`--block is for tables: ${path} is none`)
  if (isTable) return inspectTable(fileSystem, path, options, printer, damages)
  if (kind === 'log') return inspectLogFile(fileSystem, path, number, options, printer, damages)
  if (kind === 'manifest') return inspectManifestFile(fileSystem, path, number, printer, damages)
  if (kind === 'current' || kind === 'temporary') return inspectCurrent(fileSystem, path, printer, damages)
  if (name === identityName) return inspectIdentity(fileSystem, path, printer, damages)
  throw usageError(`${path} is no file of Ostraka's that can be told by its name (CURRENT, MANIFEST-n, n.sst, n.log, identity) or its end`)
}

async function inspectCurrent(fileSystem: FileSystem, path: string, printer: Printer, damages: Damage[]): Promise<object> {
  const bytes = await readFile(fileSystem, path)
  const manifest = readOr(damages, () => manifestName(decodeCurrent(decodeRecordFile(bytes, path), path)))
  await printer.line(
    () => `${path}, ${bytes.length} bytes: ${manifest === undefined ? 'unreadable' : `the manifest that counts is ${manifest}`}`,
  )
  return { kind: 'current', path, bytes: bytes.length, manifest: manifest ?? null }
}

async function inspectIdentity(fileSystem: FileSystem, path: string, printer: Printer, damages: Damage[]): Promise<object> {
  const bytes = await readFile(fileSystem, path)
  const identity = readOr(damages, () => decodeIdentity(path, bytes))
  await printer.line(
    () => `${path}, ${bytes.length} bytes: ${identity === undefined ? 'unreadable' : JSON.stringify(identity, undefined, 2)}`,
  )
  return { kind: 'identity', path, bytes: bytes.length, identity: identity ?? null }
}

const magicLow = 0x5254534f // 'OSTR'
const magicHigh = 0x4c425441 // 'ATBL'

async function endsLikeTable(fileSystem: FileSystem, path: string): Promise<boolean> {
  const file = await fileSystem.open(path, 'read')
  try {
    const end = new Uint8Array(8)
    const size = await file.size()
    return size >= 8 && (await file.read(end, size - 8)) === 8 && readU32(end, 0) === magicLow && readU32(end, 4) === magicHigh
  } finally {
    await file.close()
  }
}
