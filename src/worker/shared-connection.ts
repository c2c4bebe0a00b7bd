/** Connections that code of the application is given, which must not close them. */
import Database from 'better-sqlite3'
import { MylibsqlError } from '../protocol/errors.js'

/** From now on only `closeShared` closes it. */
export function keepOpen(connection: Database.Database): void {
  Object.defineProperty(connection, 'close', { value: refuseClosing })
}

export function closeShared(connection: Database.Database): void {
  Database.prototype.close.call(connection)
}

function refuseClosing(): never {
  throw new MylibsqlError('ERR_REFUSED', 'This connection must not be closed: others use it, too')
}
