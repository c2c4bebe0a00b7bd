/**
 * Measures one benchmark, in a process of its own: none inherits heap, compiled code or threads of another. Started
 * by run.mjs with the group's number and the benchmark's name; answers with one message.
 */
import { groups } from './groups.mjs'
import { runBenchmark } from './harness.mjs'

const [groupNo, name, folder, roundCount, size] = process.argv.slice(2)
const { benchmarks } = await groups[Number(groupNo)]()
const benchmark = benchmarks.find((candidate) => candidate.name === name)
const onRound = (what) => {
  if (process.stderr.isTTY) process.stderr.write(`\r${name.padEnd(28)} ${what}   `)
  else if (what === 'warm-up') process.stderr.write(`${name}\n`)
}
const isQuick = size === 'quick'
const result = await runBenchmark(benchmark, { folder, roundCount: Number(roundCount), isQuick, onRound })
process.send(result, () => process.disconnect())
