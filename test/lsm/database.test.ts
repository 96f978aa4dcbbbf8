import { describeDatabase } from './database-contract.ts'
import { onNode, onSimulator } from './environment.ts'

describeDatabase('the real file system', onNode, { modelSeeds: 2, modelSteps: 400 })
describeDatabase('a simulated disk', onSimulator, { modelSeeds: 8, modelSteps: 400 })
