import type Database from 'better-sqlite3'

export function loop(): never
export function insertForEver(connection: Database.Database): never
