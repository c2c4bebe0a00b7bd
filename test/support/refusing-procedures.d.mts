import type Database from 'better-sqlite3'

export declare function refuse(db: Database.Database, message: string): never
