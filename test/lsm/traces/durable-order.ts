import { parentFolder } from '../../../base/file-system.ts'
import { logName, manifestName, type TableMetadata, tableName } from '../../../lsm/table-metadata.ts'
import type { VersionEdit } from '../../../lsm/version-edit.ts'
import type { TracedOperation } from './tracing-file-system.ts'

/** What the manifests of one folder say, up to their last sync or beyond it. */
interface FolderState {
  readonly tables: Map<number, TableMetadata>
  logNumber: number
}

interface Folder {
  durable: FolderState
  written: FolderState
  /** The manifest that CURRENT names, durably. */
  current: string | undefined
}

/**
 * Watches all operations on files from the first on, and notes each that comes before what it rests on is durable:
 * a table (or the manifest that CURRENT names) is synced, and its folder, before anything names it; nothing is unlinked that durable state names.
 */
export class DurableOrder {
  readonly violations: string[] = []
  /** Edits, renames and unlinks that were looked at. */
  checks = 0
  /** Written to since their last sync. */
  readonly #dirty = new Set<string>()
  /** Named since the last sync of their folder. */
  readonly #unnamed = new Set<string>()
  readonly #folders = new Map<string, Folder>()
  /** What CURRENT.tmp holds. */
  #nextCurrent = ''
  #renamed: string | undefined

  see(operation: TracedOperation): void {
    const { kind, path, to } = operation
    if (kind === 'create') this.#unnamed.add(path)
    else if (kind === 'link' && to !== undefined) this.#link(path, to)
    else if (kind === 'write') this.#write(operation)
    else if (kind === 'sync') this.#sync(path)
    else if (kind === 'syncFolder') this.#syncFolder(path)
    else if (kind === 'rename' && to !== undefined) this.#rename(path, to)
    else if (kind === 'unlink') this.#unlink(path)
  }

  #link(path: string, to: string): void {
    if (this.#dirty.has(path)) this.#dirty.add(to)
    this.#unnamed.add(to)
  }

  #write({ path, edit, what }: TracedOperation): void {
    this.#dirty.add(path)
    if (path.endsWith('CURRENT.tmp')) this.#nextCurrent = `${parentFolder(path)}/${manifestName(Number(what?.replace('number ', '')))}`
    if (edit === undefined) return
    this.#checkEdit(path, edit)
    const folder = this.#folder(path)
    const isWhole = what?.startsWith('whole') === true
    folder.written = apply(isWhole ? emptyFolderState() : folder.written, edit)
  }

  #checkEdit(path: string, edit: VersionEdit): void {
    const folder = parentFolder(path)
    for (const { file } of edit.added) this.#mustBeDurable(`${folder}/${tableName(file)}`, `the edit in ${path}`)
  }

  #sync(path: string): void {
    this.#dirty.delete(path)
    if (/MANIFEST-\d+$/.test(path)) {
      const folder = this.#folder(path)
      folder.durable = { tables: new Map(folder.written.tables), logNumber: folder.written.logNumber }
    }
  }

  #syncFolder(path: string): void {
    for (const name of [...this.#unnamed]) if (parentFolder(name) === path) this.#unnamed.delete(name)
    if (this.#renamed !== undefined && parentFolder(this.#renamed) === path) {
      this.#folder(this.#renamed).current = this.#renamed
      this.#renamed = undefined
    }
  }

  #rename(path: string, to: string): void {
    this.checks++
    this.#mustBeUseless(path, 'becomes another log')
    if (!to.endsWith('CURRENT')) return
    if (this.#dirty.has(path)) this.violations.push(`${path} becomes CURRENT before it is synced`)
    this.#mustBeDurable(this.#nextCurrent, 'CURRENT')
    this.#renamed = this.#nextCurrent
  }

  #unlink(path: string): void {
    this.checks++
    const folder = this.#folder(path)
    const name = path.slice(parentFolder(path).length + 1)
    for (const table of folder.durable.tables.values()) {
      if (name === tableName(table.file)) this.violations.push(`${path} is unlinked while the durable state names it`)
    }
    this.#mustBeUseless(path, 'is unlinked')
    if (name.startsWith('MANIFEST') && folder.current === path) this.violations.push(`${path} is unlinked while CURRENT names it`)
    this.#dirty.delete(path)
    this.#unnamed.delete(path)
  }

  /** Where it is a log. */
  #mustBeUseless(path: string, what: string): void {
    const log = /(\d+)\.log$/.exec(path)?.[1]
    if (log === undefined || Number(log) < this.#folder(path).durable.logNumber) return
    this.violations.push(`${logName(Number(log))} ${what} before an edit that makes it useless is durable`)
  }

  #mustBeDurable(path: string, who: string): void {
    this.checks++
    if (this.#dirty.has(path)) this.violations.push(`${who} names ${path} before it is synced`)
    if (this.#unnamed.has(path)) this.violations.push(`${who} names ${path} before its folder is synced`)
  }

  #folder(path: string): Folder {
    const name = parentFolder(path)
    let folder = this.#folders.get(name)
    if (folder === undefined) {
      folder = { durable: emptyFolderState(), written: emptyFolderState(), current: undefined }
      this.#folders.set(name, folder)
    }
    return folder
  }
}

function emptyFolderState(): FolderState {
  return { tables: new Map(), logNumber: 0 }
}

function apply(state: FolderState, edit: VersionEdit): FolderState {
  const tables = new Map(state.tables)
  for (const id of edit.dropped) tables.delete(id)
  for (const table of edit.added) tables.set(table.id, table)
  return { tables, logNumber: Math.max(state.logNumber, edit.logNumber ?? 0) }
}
