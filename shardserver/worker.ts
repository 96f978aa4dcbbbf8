/** Entry module of a worker thread of a shard server: a database's jobs, and those on its records. */
import { serveJobs } from '../base/node-executor.ts'
import { shardJobs } from './jobs.ts'

serveJobs(shardJobs)
