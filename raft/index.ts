/** `ostraka/raft`: the pure consensus core, and what a driver of one's own needs. The duties are in raft/README.md. */
export { Raft } from './core/raft.ts'
export * from './core/types.ts'
