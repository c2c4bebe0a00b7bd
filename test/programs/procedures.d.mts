import type Database from 'better-sqlite3'

export function insertItems(connection: Database.Database, first: number, count: number): number
export function insertAndThrow(connection: Database.Database, id: number): never
export function exit(connection: Database.Database, code: number): void
export function exitLater(connection: Database.Database, ms: number): void
export function throwLater(connection: Database.Database, ms: number): void
export function takeAllMemory(connection: Database.Database): void
