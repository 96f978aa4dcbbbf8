export type { WriteOptions } from './level-batch.ts'
export { OstrakaLevel, type OstrakaLevelOptions } from './ostraka-level.ts'
