import type Database from 'better-sqlite3'
import { extensionEntryPoint, extensionPath } from './native.js'

/** Loads the addon into a connection. better-sqlite3 takes an entry point; its types do not know. */
export function loadExtension(connection: Database.Database): void {
  const load: (path: string, entryPoint: string) => unknown = connection.loadExtension
  load.call(connection, extensionPath, extensionEntryPoint)
}
