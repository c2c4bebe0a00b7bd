/** Tables of the command line: a row for each name. */
import Table from 'cli-table3'

export function table(head: readonly string[], rows: Record<string, readonly string[]>): string {
  const colAligns = head.map((_, index) => (index === 0 ? 'left' : 'right') as 'left' | 'right')
  const result = new Table({ head: [...head], colAligns, style: { head: [], border: [], compact: true } })
  for (const [name, values] of Object.entries(rows)) result.push([name, ...values])
  return result.toString()
}
