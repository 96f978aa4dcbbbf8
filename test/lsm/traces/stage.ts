import { assert } from '../../../base/assert.ts'
import type { FileSystem } from '../../../base/file-system.ts'
import { InlineExecutor } from '../../../base/inline-executor.ts'
import { MemoryFileSystem } from '../../../base/memory-file-system.ts'
import { NodeClock } from '../../../base/node-clock.ts'
import { type Database, type DatabaseOptions, lsmJobs } from '../../../lsm/index.ts'
import { type Environment, openDatabase } from '../environment.ts'
import { DurableOrder } from './durable-order.ts'
import { renderOperation, TracingFileSystem } from './tracing-file-system.ts'

const folder = 'data'

/** Where a story is told: files in memory, one database after the other over them, and the lines of the trace. */
export class Stage {
  readonly lines: string[] = []
  readonly order = new DurableOrder()
  readonly environment: Environment
  readonly #executor: InlineExecutor
  #telling = false

  /** `wrap`: what lies between the database and the trace. */
  constructor(wrap: (fileSystem: FileSystem) => FileSystem = (fileSystem) => fileSystem) {
    const clock = new NodeClock()
    const files = new MemoryFileSystem()
    void files.makeFolder(folder)
    const fileSystem = wrap(
      new TracingFileSystem(files, (operation) => {
        this.order.see(operation)
        if (this.#telling) this.lines.push(renderOperation(operation).replaceAll(`${folder}/`, ''))
      }),
    )
    this.#executor = new InlineExecutor(lsmJobs, { fileSystem, clock })
    this.environment = { fileSystem, executor: this.#executor, clock, folder }
  }

  /** Nothing is flushed or compacted but what the story asks for. */
  open(options: Partial<DatabaseOptions> = {}): Promise<Database> {
    return openDatabase(this.environment, {
      memtableBytes: 1024 * 1024,
      level0CompactionTrigger: 100,
      level1Bytes: 1024 * 1024,
      ...options,
    })
  }

  /** From here on what happens is told, under this heading; what is still under way from before is over. */
  tell(heading: string): void {
    assert(heading !== '', 'a heading says what is done')
    this.#telling = true
    this.lines.push('', `-- ${heading}`)
  }

  /** Until the next `tell` nothing is told. */
  silence(): void {
    this.#telling = false
  }

  close(): Promise<void> {
    return this.#executor.close()
  }
}
