/** What the application does with each connection before anything else: functions, collations, extensions, pragmas. */
import type Database from 'better-sqlite3'
import { MylibsqlError } from '../protocol/errors.js'
import { Iterations } from './iterations.js'
import { importModule, isPromise, reasonOf } from './user-module.js'

/** Throws ERR_SETUP; the connection is not to be used then. */
export type ConnectionSetup = (connection: Database.Database) => void

/** Imports the module. Throws ERR_SETUP with the cause when that fails, or when it has no such function. */
export async function loadSetup(url: string | undefined): Promise<ConnectionSetup> {
  if (url === undefined) return () => {}
  const { default: setUp } = await importModule(url, 'the setup of connections', 'ERR_SETUP')
  if (typeof setUp !== 'function') {
    throw failed(`${url} has no function as its default export: export default function (connection) { ... }`)
  }
  return (connection) => {
    const iterations = new Iterations(connection)
    let result: unknown
    let leftOpen = false
    try {
      result = setUp(connection)
    } catch (cause) {
      throw failed(`${url} threw: ${reasonOf(cause)}`, cause)
    } finally {
      leftOpen = iterations.end()
      iterations.forget()
    }
    if (isPromise(result)) {
      throw failed(
        `${url} returned a promise. It is synchronous: await what it needs at the top of the module`,
      )
    }
    if (connection.inTransaction) throw failed(`${url} left a transaction open`)
    if (leftOpen) throw failed(`${url} left an iteration open`)
    connection.unsafeMode(false)
  }
}

function failed(message: string, cause?: unknown): MylibsqlError {
  return new MylibsqlError('ERR_SETUP', message, {}, { cause })
}
