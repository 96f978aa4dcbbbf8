/** One process of `bench/lsm.ts`: does what its argument, a `Spec` as JSON, says, and prints the results as JSON. */
import { run, type Spec } from './workloads.ts'

console.log(JSON.stringify(await run(JSON.parse(process.argv[2] ?? '') as Spec)))
