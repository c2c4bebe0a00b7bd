/** Requests as they come in a group message, taken apart, and their results put together. */

import { noSlot } from '../protocol/cancellation.js'
import { toWireError } from '../protocol/errors.js'
import type { FrameNo } from '../protocol/frame.js'
import type { RunResult } from '../protocol/values.js'
import { type BatchResults, type GroupMessage, Op, type ResultsMessage } from '../protocol/wire.js'
import { StatementText, valueCount } from './statements.js'

/** A statement with its parameters, or several with theirs, one behind the other among the values of their message. */
export interface GroupStatements {
  readonly text: StatementText
  readonly values: readonly unknown[]
  readonly valueAt: number
  /** Of each statement. */
  readonly paramCount: number
  readonly statementCount: number
}

export type GroupRequest = {
  error: unknown
  isFailed: boolean
  result: unknown
  /** Of the cancel table; `noSlot` for a request that cannot be given up. */
  slot: number
  /** With its group, at the latest: milliseconds since 1970. */
  askedAtMs: number
} & (
  | { readonly op: 'run'; readonly statement: GroupStatements }
  | { readonly op: 'batch'; readonly runs: readonly GroupStatements[] }
  | { readonly op: 'call'; readonly name: string; readonly args: readonly unknown[] }
  | { readonly op: 'lease'; readonly leaseId: number; readonly isTransaction: boolean }
)

/** Knows the texts that were sent, so that they need not be sent again. */
export class GroupDecoder {
  #texts: StatementText[] = []

  decode([ops, values, requestCount, askedAtMs, news]: GroupMessage): GroupRequest[] {
    if (news?.isReset) this.#texts = []
    for (const text of news?.texts ?? []) this.#texts.push(new StatementText(text))
    const requests: GroupRequest[] = []
    let opAt = 0
    let valueAt = 0
    const nextOp = (): number => ops[opAt++]!
    const nextText = (): StatementText => this.#texts[nextOp()]!
    const nextStatements = (text: StatementText, paramCount: number, statementCount: number) => {
      const statements: GroupStatements = { text, values, valueAt, paramCount, statementCount }
      valueAt += statementCount * valueCount(paramCount)
      return statements
    }
    let slot = noSlot
    const nextOutcome = () => {
      const outcome = { error: undefined, isFailed: false, result: undefined, slot, askedAtMs }
      slot = noSlot
      return outcome
    }
    while (requests.length < requestCount) {
      switch (nextOp()) {
        case Op.guarded:
          slot = nextOp()
          break
        case Op.run: {
          const text = nextText()
          const paramCount = nextOp()
          for (let left = nextOp(); left > 0; left -= 1) {
            const statement = nextStatements(text, paramCount, 1)
            requests.push({ op: 'run', statement, ...nextOutcome() })
          }
          break
        }
        case Op.batch: {
          const runs = Array.from({ length: nextOp() }, () => nextStatements(nextText(), nextOp(), nextOp()))
          requests.push({ op: 'batch', runs, ...nextOutcome() })
          break
        }
        case Op.call: {
          const name = nextText().sql
          const count = nextOp()
          requests.push({ op: 'call', name, args: values.slice(valueAt, valueAt + count), ...nextOutcome() })
          valueAt += count
          break
        }
        default:
          requests.push({ op: 'lease', leaseId: nextOp(), isTransaction: nextOp() === 1, ...nextOutcome() })
      }
    }
    return requests
  }
}

export function fail(request: GroupRequest, error: unknown): void {
  request.isFailed = true
  request.error = error
}

/** The results of requests that were run, in columns. */
export function encodeResults(
  requests: readonly GroupRequest[],
  frameNo: FrameNo | undefined,
): ResultsMessage {
  const changes: number[] = []
  const rowids: (number | bigint)[] = []
  const batches: [number, BatchResults][] = []
  const values: [number, unknown][] = []
  const failures: [number, ReturnType<typeof toWireError>][] = []
  for (const [index, request] of requests.entries()) {
    const run = request.op === 'run' && !request.isFailed ? (request.result as RunResult) : undefined
    changes.push(run?.changes ?? 0)
    rowids.push(run?.lastInsertRowid ?? 0)
    if (request.isFailed) failures.push([index, toWireError(request.error)])
    else if (request.op === 'batch') batches.push([index, request.result as BatchResults])
    else if (run === undefined || run.rows !== undefined) values.push([index, request.result])
  }
  const hasOthers = batches.length + values.length + failures.length > 0
  return hasOthers ? [frameNo, changes, rowids, { batches, values, failures }] : [frameNo, changes, rowids]
}
