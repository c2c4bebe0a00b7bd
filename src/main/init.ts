import { pageSizeDefaultBytes } from '../protocol/limits.js'
import { checkOptions, checkPageSize, withDefault, wrong } from './arguments.js'
import type { Connection } from './connection.js'
import { Log } from './log.js'
import { Primary } from './primary.js'
import { Snapshot } from './snapshot.js'
import { removeTemporaryFile, temporaryPath } from './temporary-files.js'

export interface InitOptions {
  /** Bytes, a power of two from 512 to 65536. Default 4096. */
  pageSize?: number | undefined
}

export interface InitResult {
  /** The database as the script left it, in a temporary file: `moveTo` where it is to stay. */
  readonly snapshot: Snapshot
  /** All frames from 0 on. Applied to `Snapshot.blank()` it gives the same bytes as the snapshot has. */
  readonly log: Log
}

/**
 * Makes a database: runs a script of SQL, or an async function on a connection, and returns its first snapshot and its
 * first log. Store both; the snapshot already includes the log.
 *
 * @example
 * const { snapshot, log } = await init('CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)')
 * await snapshot.moveTo('0.db')
 * await log.copyTo('0.log')
 * @throws what the script throws; then nothing is left behind
 */
export async function init(
  script: string | ((connection: Connection) => Promise<void>),
  options?: InitOptions,
): Promise<InitResult> {
  if (typeof script !== 'string' && typeof script !== 'function') {
    throw wrong('script', 'a string of SQL or an async function', script)
  }
  const known = { pageSize: withDefault(checkPageSize, pageSizeDefaultBytes) }
  const { pageSize } = checkOptions(options, known, 'init')
  const blank = await Snapshot.blank({ pageSize })
  let primary: Primary | undefined
  const path = await temporaryPath('.db')
  try {
    primary = await Primary.open(blank)
    await primary.withConnection(
      typeof script === 'string' ? (connection) => connection.exec(script) : script,
    )
    let log: Log | undefined
    await primary.checkpoint((sealed) => {
      log = sealed
    })
    const written = await primary.snapshot(path)
    return {
      snapshot: Snapshot.fromFile(written.file, { temporary: true }),
      log: log ?? (await Log.create(0, { pageSize })),
    }
  } catch (error) {
    await removeTemporaryFile(path)
    throw error
  } finally {
    await primary?.close()
    await blank.close()
  }
}
