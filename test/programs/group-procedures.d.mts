import type Database from 'better-sqlite3'

export function put(connection: Database.Database, id: number, value: number, fails: boolean): void
