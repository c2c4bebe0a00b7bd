import type Database from 'better-sqlite3'

type Connection = Database.Database

export declare const notAFunction: number
export declare function thread(): number
export declare function add(db: Connection, n: number): number
export declare function transfer(db: Connection, from: number, to: number, amount: number): { left: number }
export declare function echo(db: Connection, ...values: unknown[]): unknown[]
export declare function iterates(db: Connection, then: 'leave' | 'throw' | 'end'): number | number[]
export declare function closes(db: Connection): void
export declare function nested(db: Connection): string | undefined
export declare function fails(db: Connection, kind: string): never
export declare function run(db: Connection, ...statements: string[]): void
export declare function tryAll(db: Connection, ...statements: string[]): string[]
export declare function addAll(db: Connection, list: number[]): number
export declare function asynchronous(db: Connection): Promise<void>
export declare function returnsFunction(db: Connection): object
