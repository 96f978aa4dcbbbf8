/** `ostraka/testing`: a cluster in one process, for tests of programs that use Ostraka. */
export { type ClusterOptions, startCluster, type TestCluster } from './start-cluster.ts'
