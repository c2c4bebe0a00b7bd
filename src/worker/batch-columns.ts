/** The results of a batch, filled in statement by statement, in the columns in which they travel. */
import type { Row, RunResult } from '../protocol/values.js'
import type { BatchResults } from '../protocol/wire.js'

export class BatchColumns implements BatchResults {
  readonly changes: Float64Array
  rowids: Float64Array | (number | bigint)[]
  readonly rows: [number, Row[]][] = []

  constructor(statementCount: number) {
    this.changes = new Float64Array(statementCount)
    this.rowids = new Float64Array(statementCount)
  }

  set(index: number, { changes, lastInsertRowid, rows }: RunResult): void {
    this.changes[index] = changes
    // With `safeIntegers` they are bigints, all of them.
    if (typeof lastInsertRowid === 'bigint' && this.rowids instanceof Float64Array)
      this.rowids = Array.from<number | bigint>(this.rowids)
    this.rowids[index] = lastInsertRowid
    if (rows !== undefined) this.rows.push([index, rows])
  }
}
