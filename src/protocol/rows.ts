/**
 * Rows as they travel between threads: by columns, because a structured clone costs by the object. A column
 * of nothing but numbers is one Float64Array, which is transferred.
 */
import type { Row, SqlValue } from './values.js'

export interface ColumnarRows {
  readonly names: readonly string[]
  readonly columns: readonly (readonly SqlValue[] | Float64Array)[]
  readonly rowCount: number
}

/** `rows` are arrays of values, in the order of `names`. */
export function encodeRows(names: readonly string[], rows: readonly (readonly SqlValue[])[]): ColumnarRows {
  const rowCount = rows.length
  const columns = names.map((_, index) => encodeColumn(rows, index))
  return { names, columns, rowCount }
}

export function decodeRows({ names, columns, rowCount }: ColumnarRows): Row[] {
  const rows: Row[] = new Array(rowCount)
  for (let at = 0; at < rowCount; at += 1) {
    const row: Row = {}
    for (let index = 0; index < names.length; index += 1) row[names[index]!] = columns[index]![at]!
    rows[at] = row
  }
  return rows
}

/** What can be transferred instead of copied. */
export function columnBuffers(rows: ColumnarRows): ArrayBuffer[] {
  return rows.columns.flatMap((column) =>
    column instanceof Float64Array ? [column.buffer as ArrayBuffer] : [],
  )
}

/** A typed array costs more than it saves for a handful of rows. */
const typedRowsMin = 16

function encodeColumn(rows: readonly (readonly SqlValue[])[], index: number): SqlValue[] | Float64Array {
  const rowCount = rows.length
  if (rowCount >= typedRowsMin && typeof rows[0]![index] === 'number') {
    const numbers = new Float64Array(rowCount)
    let at = 0
    for (; at < rowCount; at += 1) {
      const value = rows[at]![index]
      if (typeof value !== 'number') break
      numbers[at] = value
    }
    if (at === rowCount) return numbers
  }
  // Pushed: an array that was made with a length is cloned at half the speed, as if it had holes.
  const values: SqlValue[] = []
  for (let at = 0; at < rowCount; at += 1) values.push(rows[at]![index]!)
  return values
}
