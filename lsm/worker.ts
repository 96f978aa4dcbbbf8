/** Entry module of a worker thread for a database's jobs: `new NodeExecutor({ entry: new URL('./worker.js', …) })`. */
import { serveJobs } from '../base/node-executor.ts'
import { lsmJobs } from './jobs.ts'

serveJobs(lsmJobs)
