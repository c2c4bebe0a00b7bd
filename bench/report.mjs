/** What the command tells: JSON lines, a table, and the same table in docs/BENCHMARKS.md. */
import { readFile, writeFile } from 'node:fs/promises'
import { availableParallelism, cpus, release, totalmem, type } from 'node:os'
import Database from 'better-sqlite3'

const document = new URL('../docs/BENCHMARKS.md', import.meta.url)
const beginMarker = '<!-- measured: begin -->'
const endMarker = '<!-- measured: end -->'

export function jsonLine({ name, value, unit, reference, referenceValue, ratio, goal, met }) {
  return JSON.stringify({
    name,
    value,
    unit,
    reference,
    referenceValue,
    ratio,
    goal: goalText(goal, unit),
    met,
  })
}

/** In Markdown, with columns aligned, so that it reads the same in a terminal. */
export function markdownTable(results) {
  const head = ['name', 'measured', 'unit', 'result', 'reference', 'its result', 'ratio', 'goal', 'met']
  const rows = results.map(({ name, about, unit, value, reference, referenceValue, ratio, goal, met }) => [
    name,
    about,
    unit,
    figure(value),
    reference,
    figure(referenceValue),
    // A goal that is missed by less than it shows would look as if it were met.
    ratio.toFixed(met === false ? 3 : 2),
    goalText(goal, unit) ?? '',
    met === null ? '' : met ? 'yes' : '**no**',
  ])
  const widths = head.map((title, at) => Math.max(title.length, ...rows.map((row) => row[at].length)))
  const line = (cells) => `| ${cells.map((cell, at) => cell.padEnd(widths[at])).join(' | ')} |`
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n')
}

/** Replaces what stands between the two markers. */
export async function writeDocument(results, roundCount) {
  const text = await readFile(document, 'utf8')
  const begin = text.indexOf(beginMarker)
  const end = text.indexOf(endMarker)
  if (begin === -1 || end < begin) throw new Error(`${document.pathname} has no markers for the table`)
  const measured = [
    beginMarker,
    '',
    await machine(roundCount),
    '',
    markdownTable(results),
    '',
    endMarker,
  ].join('\n')
  await writeFile(document, text.slice(0, begin) + measured + text.slice(end + endMarker.length))
}

async function machine(roundCount) {
  // Not by import: some packages do not export their package.json.
  const version = async (name) => {
    const manifest = new URL(`../node_modules/${name}/package.json`, import.meta.url)
    return `${name} ${JSON.parse(await readFile(manifest, 'utf8')).version}`
  }
  const peers = await Promise.all(['libsql', '@libsql/client', '@tursodatabase/database'].map(version))
  const memoryGiB = Math.round(totalmem() / 2 ** 30)
  const sqlite = new Database(':memory:').prepare('SELECT sqlite_version()').pluck().get()
  const date = new Date().toISOString().slice(0, 10)
  return [
    `${date}, ${roundCount} rounds: ${cpus()[0]?.model.trim() ?? 'unknown processor'}, `,
    `${availableParallelism()} cores, ${memoryGiB} GiB; ${type()} ${release()}, Node.js ${process.versions.node}; `,
    `${await version('better-sqlite3')} (SQLite ${sqlite}), ${peers.join(', ')}.`,
  ].join('')
}

function goalText(goal, unit) {
  if (goal === null) return null
  const [sign, bound] = goal.atLeast === undefined ? ['<=', goal.atMost] : ['>=', goal.atLeast]
  return goal.of === 'ratio' ? `${sign} ${bound}x` : `${sign} ${bound} ${unit}`
}

/** Three digits that count, thousands apart. */
function figure(value) {
  if (value >= 100) return Math.round(value).toLocaleString('en-US')
  return String(Number(value.toPrecision(3)))
}
