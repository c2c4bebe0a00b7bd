/**
 * A transaction script, as pgbench has them: SQL statements and meta commands, run in order as one transaction.
 *
 *     \set aid random(1, 100000 * :scale)      random integer, both ends included
 *     \set delta 5                             value: integers and :variables, multiplied with *
 *     UPDATE accounts SET balance = balance + :delta WHERE aid = :aid;
 *
 * `:name` in SQL is bound as a parameter. It may stand wherever SQLite takes one; in quotes and comments it is text.
 * A BEGIN in front and an END or COMMIT at the end are passed over: the script is a transaction anyway.
 */
import type { Statement } from '../main/index.js'
import { UsageError } from './usage-error.js'

export type Variables = Map<string, number>
type Expression = (variables: Variables) => number
type Step =
  | { readonly kind: 'set'; readonly name: string; readonly value: Expression }
  | { readonly kind: 'statement'; readonly sql: string; readonly names: readonly string[] }

export class Script {
  readonly #steps: readonly Step[]

  private constructor(steps: readonly Step[]) {
    this.#steps = steps
  }

  /** `predefined`: variables that need no \set. Throws UsageError with the line of `path`. */
  static parse(text: string, path: string, predefined: readonly string[]): Script {
    const steps = withoutTransaction(parseSteps(text, path))
    if (!steps.some((step) => step.kind === 'statement')) throw new UsageError(`${path} has no SQL statement`)
    const known = new Set(predefined)
    for (const step of steps) {
      if (step.kind === 'set') known.add(step.name)
      else for (const name of step.names) if (!known.has(name)) throw unknownVariable(path, name, known)
    }
    return new Script(steps)
  }

  /** The statements of one transaction, with variables drawn anew. */
  draw(predefined: Variables): Statement[] {
    const variables = new Map(predefined)
    const statements: Statement[] = []
    for (const step of this.#steps) {
      if (step.kind === 'set') variables.set(step.name, step.value(variables))
      else statements.push({ sql: step.sql, params: step.names.map((name) => variables.get(name)!) })
    }
    return statements
  }
}

function parseSteps(text: string, path: string): Step[] {
  const steps: Step[] = []
  let sql = ''
  const endSql = () => {
    steps.push(...parseStatements(sql))
    sql = ''
  }
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (!line.trimStart().startsWith('\\')) {
      sql += `${line}\n`
      continue
    }
    endSql()
    steps.push(parseSet(line.trim(), `${path}, line ${index + 1}`))
  }
  endSql()
  return steps
}

/** What a statement's end and variables are not in: quotes, brackets and comments. */
const token =
  /'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|\/\*[\s\S]*?\*\/|;|:[a-z_]\w*/gi

function parseStatements(text: string): Step[] {
  const steps: Step[] = []
  let names: string[] = []
  let sql = ''
  let at = 0
  const endStatement = () => {
    if (sql.trim() !== '') steps.push({ kind: 'statement', sql: sql.trim(), names })
    sql = ''
    names = []
  }
  for (const match of text.matchAll(token)) {
    const [found] = match
    sql += text.slice(at, match.index)
    at = match.index + found.length
    if (found === ';') {
      endStatement()
    } else if (found.startsWith(':')) {
      sql += '?'
      names.push(found.slice(1))
    } else if (!found.startsWith('--') && !found.startsWith('/*')) {
      sql += found
    }
  }
  sql += text.slice(at)
  endStatement()
  return steps
}

function parseSet(line: string, place: string): Step {
  const set = /^\\set\s+([a-z_]\w*)\s+(.+)$/i.exec(line)
  if (set === null)
    throw new UsageError(`${place}: "${line}" is not "\\set name value", the only meta command`)
  const name = set[1]!
  const text = set[2]!.trim()
  const range = /^random\s*\(([^,()]+),([^,()]+)\)$/i.exec(text)
  if (range === null) return { kind: 'set', name, value: parseProduct(text, place) }
  const min = parseProduct(range[1]!, place)
  const max = parseProduct(range[2]!, place)
  return { kind: 'set', name, value: (variables) => random(min(variables), max(variables), place) }
}

/** Integers and variables with `*` between them. */
function parseProduct(text: string, place: string): Expression {
  const factors = text.split('*').map((part): Expression => {
    const factor = part.trim()
    if (/^[+-]?\d+$/.test(factor)) return () => Number(factor)
    if (!/^:[a-z_]\w*$/i.test(factor)) {
      throw new UsageError(
        `${place}: "${factor}" is neither an integer nor a :variable. A value is random(min, max), or integers ` +
          'and variables with * between them',
      )
    }
    return (variables) => {
      const value = variables.get(factor.slice(1))
      if (value === undefined) throw new UsageError(`${place}: ${factor} has no value yet`)
      return value
    }
  })
  return (variables) => factors.reduce((product, factor) => product * factor(variables), 1)
}

function random(min: number, max: number, place: string): number {
  if (min > max) throw new UsageError(`${place}: random(${min}, ${max}) has its ends the wrong way round`)
  return min + Math.floor(Math.random() * (max - min + 1))
}

function withoutTransaction(steps: readonly Step[]): Step[] {
  const statements = steps.filter((step) => step.kind === 'statement')
  const begin = /^begin(\s+(deferred|immediate|exclusive))?(\s+transaction)?$/i
  const end = /^(end|commit)(\s+transaction)?$/i
  const first = statements.at(0)
  const last = statements.at(-1)
  return steps.filter((step) => {
    if (step.kind === 'set') return true
    return !(step === first && begin.test(step.sql)) && !(step === last && end.test(step.sql))
  })
}

function unknownVariable(path: string, name: string, known: ReadonlySet<string>): UsageError {
  return new UsageError(
    `${path} uses :${name}, which no \\set above it gives a value; known are :${[...known].join(', :')}`,
  )
}
