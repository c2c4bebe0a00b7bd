/** @param {import('better-sqlite3').Database} connection */
export function insertForEver(connection) {
  const insert = connection.prepare("INSERT INTO t (a) VALUES ('never')")
  for (;;) insert.run()
}
