/**
 * @param {import('better-sqlite3').Database} connection
 * @param {number} id
 * @param {number} value
 * @param {boolean} fails
 */
export function put(connection, id, value, fails) {
  const sql = 'INSERT INTO t VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET value = excluded.value'
  connection.prepare(sql).run(id, value)
  if (fails) throw new Error('on purpose')
}
