import { serveJobs } from '../base/node-executor.ts'
import { lsmJobs } from '../lsm/jobs.ts'

/** What runs in the worker threads of a server process. */
serveJobs(lsmJobs)
