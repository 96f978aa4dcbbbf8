/** The package's main export: the SDK. */
export type { Logger } from '../base/logger.ts'
export { type ErrorCode, OstrakaError } from '../proto/errors.ts'
export type { Client } from './client.ts'
export { type ConnectOptions, connect } from './connect.ts'
export type {
  BatchMember,
  Bytes,
  CallOptions,
  CompareAndSetResult,
  Condition,
  Explanation,
  FailedMember,
  Found,
  ReadMode,
  ReadOptions,
  Replacement,
  ScannedRecord,
  ScanOptions,
  WriteOptions,
  Written,
} from './types.ts'
