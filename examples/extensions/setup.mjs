import { load } from 'sqlite-vec'

/**
 * Runs with each connection before it is used: the one that writes, and those of the readers.
 *
 * @param {import('better-sqlite3').Database} connection
 */
export default function setUp(connection) {
  load(connection)
  connection.function('shout', { deterministic: true }, (text) => String(text).toUpperCase())
  connection.pragma('cache_size = -32000') // 32 MB for each
}
