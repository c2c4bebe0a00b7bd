/** In JavaScript, where no interrupt reaches it. */
export function loop() {
  for (;;);
}

/** @param {import('better-sqlite3').Database} connection */
export function insertForEver(connection) {
  const insert = connection.prepare("INSERT INTO t (a) VALUES ('never')")
  for (;;) insert.run()
}
