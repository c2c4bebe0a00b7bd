/**
 * Measures one benchmark, in a process of its own: none inherits heap, compiled code or threads of another. Started
 * by run.mjs with the group's file and the benchmark's name; answers with one message.
 */
import { runBenchmark } from './harness.mjs'

const [file, name, folder, roundCount, size] = process.argv.slice(2)
const { benchmarks } = await import(new URL(file, import.meta.url))
const benchmark = benchmarks.find((candidate) => candidate.name === name)
const onRound = (round, count) => {
  process.stderr.write(`\r${name.padEnd(24)} ${round === 0 ? 'warm-up' : `round ${round} of ${count}`}   `)
}
const isQuick = size === 'quick'
const result = await runBenchmark(benchmark, { folder, roundCount: Number(roundCount), isQuick, onRound })
process.send(result, () => process.disconnect())
