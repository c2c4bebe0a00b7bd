/**
 * npm run bench -- --help
 *
 * Prints a table, or JSON lines with --json. --write puts the table into docs/BENCHMARKS.md. Temporary files are made
 * where TMPDIR says, and removed. Exits with 1 when a benchmark failed; a missed goal is a result, not a failure.
 */
import { fork } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command, InvalidArgumentError } from 'commander'
import { groups } from './groups.mjs'
import { jsonLine, markdownTable, writeDocument } from './report.mjs'

const options = new Command('npm run bench --')
  .description(
    'Measures the library against references and other packages, in one run. docs/BENCHMARKS.md says what.',
  )
  .option('--only <names>', 'these benchmarks alone, with commas between them', (text) => text.split(','))
  .option('--rounds <count>', 'of each: the median counts', positive, 5)
  .option('--quick', 'smaller sizes: to see that it runs, not to compare', false)
  .option('--json', 'a JSON line for each benchmark in place of the table', false)
  .option('--write', 'puts the table into docs/BENCHMARKS.md', false)
  .allowExcessArguments(false)
  .parse()
  .opts()
if (options.write && (options.only !== undefined || options.quick))
  fail('--write needs a whole run: without --only and --quick')

const chosen = choose(await readGroups(), options.only)
const results = []
for (const benchmark of chosen) {
  const result = await measure(benchmark)
  if (result === undefined) process.exitCode = 1
  else results.push(result)
  if (options.json && result !== undefined) console.log(jsonLine(result))
}
if (!options.json) console.log(markdownTable(results))
if (options.write && process.exitCode === undefined) await writeDocument(results, options.rounds)

async function readGroups() {
  const modules = await Promise.all(groups.map((load) => load()))
  return modules.flatMap(({ benchmarks }, groupNo) =>
    benchmarks.map((benchmark) => ({ ...benchmark, groupNo })),
  )
}

function positive(text) {
  const count = Number(text)
  if (Number.isSafeInteger(count) && count > 0) return count
  throw new InvalidArgumentError('It has to be a positive integer.')
}

function fail(message) {
  console.error(`error: ${message}`)
  process.exit(1)
}

function choose(all, names) {
  if (names === undefined) return all
  const unknown = names.find((name) => !all.some((benchmark) => benchmark.name === name))
  if (unknown === undefined) return all.filter((benchmark) => names.includes(benchmark.name))
  return fail(`there is no benchmark ${unknown}; known are ${all.map(({ name }) => name).join(', ')}`)
}

/** The result, or undefined when the benchmark's process failed; it has told why on stderr. */
async function measure({ groupNo, name, about }) {
  const folder = await mkdtemp(join(tmpdir(), 'mylibsql-bench-'))
  try {
    const script = fileURLToPath(new URL('./measure.mjs', import.meta.url))
    const size = options.quick ? 'quick' : 'whole'
    const child = fork(script, [String(groupNo), name, folder, String(options.rounds), size], {
      execArgv: ['--expose-gc'],
      // The library's own temporary files go where ours are: one file system, one folder to remove.
      env: { ...process.env, TMPDIR: folder },
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    let result
    child.on('message', (message) => {
      result = { ...message, about }
    })
    await new Promise((resolve, reject) => child.once('exit', resolve).once('error', reject))
    if (process.stderr.isTTY) process.stderr.write(`\r${' '.repeat(60)}\r`)
    if (result === undefined) process.stderr.write(`${name} failed\n`)
    return result
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
