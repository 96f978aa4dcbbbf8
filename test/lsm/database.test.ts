import { describeDatabase } from './database-contract.ts'
import { onNode, onSimulator } from './environment.ts'

describeDatabase('the real file system', onNode)
describeDatabase('a simulated disk', onSimulator)
