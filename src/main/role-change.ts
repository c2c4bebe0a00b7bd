/**
 * How one role makes the other: Primary and Replica register themselves here, because each can become the other and
 * modules must not import each other in a circle.
 */
import { MylibsqlError } from '../protocol/errors.js'
import type { Position, Role } from '../protocol/wire.js'
import type { OpenDatabase } from './open-database.js'
import type { Primary } from './primary.js'
import type { Replica } from './replica.js'
import type { Archive } from './stores/archiver.js'
import type { NewestLog } from './stores/restored-history.js'
import type { Store } from './stores/store.js'

type MakePrimary = (database: OpenDatabase, position: Position, archive?: Archive) => Primary
type MakeReplica = (database: OpenDatabase, position: Position, store?: Store, newest?: NewestLog) => Replica

let primary: MakePrimary | undefined
let replica: MakeReplica | undefined

export function registerPrimary(make: MakePrimary): void {
  primary = make
}

export function registerReplica(make: MakeReplica): void {
  replica = make
}

/** With an archive: one that keeps its history in a store. */
export function makePrimary(database: OpenDatabase, position: Position, archive?: Archive): Primary {
  if (primary === undefined) throw new Error('primary.js is not loaded')
  return primary(database, position, archive)
}

/** With a store: one that follows it; `newest`: what it has of it. */
export function makeReplica(
  database: OpenDatabase,
  position: Position,
  store?: Store,
  newest?: NewestLog,
): Replica {
  if (replica === undefined) throw new Error('replica.js is not loaded')
  return replica(database, position, store, newest)
}

const roleChanges = new WeakSet<MylibsqlError>()

/** What the object of the former role answers. */
export function roleChanged(from: Role, to: Role): MylibsqlError {
  const method = to === 'replica' ? 'intoReplica()' : 'intoPrimary() or promote()'
  const message = `This ${from} has become a ${to}: use the object that ${method} gave`
  const error = new MylibsqlError('ERR_CLOSED', message)
  roleChanges.add(error)
  return error
}

/** Whether an object has ended because its database is another object's now. */
export function isRoleChange(error: MylibsqlError | undefined): boolean {
  return error !== undefined && roleChanges.has(error)
}
