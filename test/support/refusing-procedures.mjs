// A module of procedures that uses the library itself.
import { MylibsqlError } from '../../dist/main/index.js'

export function refuse(_db, message) {
  throw new MylibsqlError('ERR_REFUSED', message, { path: 'a.db' })
}
