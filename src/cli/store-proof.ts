/** The proof of a load with a store: followers and restored databases are compared with the primary. */
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { type Row, restore, type Store } from '../main/index.js'
import {
  type Check,
  check,
  checkDurable,
  checkIntegrity,
  checkRun,
  compareRuns,
  compareWith,
  type Reference,
  type Run,
} from './checks.js'
import type { Follower } from './follower.js'
import { comparePages } from './page-comparison.js'
import type { StoreTrafficResult } from './store-traffic.js'
import { countIds } from './transaction-ledger.js'
import type { Invariants, Readable } from './workload.js'

export interface StoreProofSubject extends Run {
  readonly store: Store
  readonly followers: readonly Pick<Follower, 'name' | 'snapshot'>[]
  readonly invariants: Invariants | undefined
  readonly traffic: Pick<StoreTrafficResult, 'atStop'>
}

/** The checks one by one, as they are made. */
export async function* proveStore(subject: StoreProofSubject): AsyncGenerator<Check> {
  const { primary, followers, invariants, scratchPath } = subject
  const reference: Reference = { path: join(scratchPath, 'primary.db') }
  yield check('nothing failed', async () => checkRun(subject))
  yield check('all is durable', async () => checkDurable(subject))
  try {
    // What holds for the primary then holds for them.
    for (const follower of followers) {
      yield check(`${follower.name} equals the primary`, () => compareWith(subject, reference, follower))
    }
    yield check('integrity of the primary', () => checkIntegrity(primary))
    if (invariants !== undefined) {
      yield check(`${invariants.title} in the primary`, () => invariants.check(primary))
      yield check('restored as of the stop', () => restoreAtStop(subject, invariants))
    }
    yield check('restored from the store', () => restoreAll(subject, reference))
  } finally {
    await rm(reference.path, { force: true })
  }
}

/** What was durable when the load stopped is there, and nothing of what was only executed. */
async function restoreAtStop(
  { store, traffic, scratchPath }: StoreProofSubject,
  { transactionIds }: Invariants,
): Promise<string> {
  const { savedFrameNo, durableRuns, executedCount } = traffic.atStop
  const target = savedFrameNo === undefined ? {} : { at: savedFrameNo }
  return withRestored(store, scratchPath, target, async ({ database }) => {
    compareRuns(durableRuns, await transactionIds(database))
    const count = countIds(durableRuns)
    return `up to frame ${savedFrameNo ?? 'none'} exactly the ${count} transactions that were durable, of ${executedCount} executed`
  })
}

async function restoreAll(subject: StoreProofSubject, reference: Reference): Promise<string> {
  const { store, primary, invariants, ledger, scratchPath } = subject
  return withRestored(store, scratchPath, {}, async (restored) => {
    const { database, pages } = restored
    if (invariants !== undefined) {
      compareRuns(ledger.durableRuns(), await invariants.transactionIds(database))
      await invariants.check(database)
    }
    reference.snapshot ??= primary.snapshot(reference.path)
    const expected = await reference.snapshot
    await comparePages(expected, pages)
    const found =
      invariants === undefined
        ? ''
        : `exactly ${ledger.durableCount} durable transactions, equal to the primary: `
    return `${found}${pages.pageCount} pages, byte for byte`
  })
}

interface Restored {
  readonly database: Readable
  readonly pages: { readonly path: string; readonly pageSize: number; readonly pageCount: number }
}

/** Restores as a user would who has nothing but the store, and opens the file with what opens any SQLite file. */
async function withRestored(
  store: Store,
  scratchPath: string,
  target: { readonly at?: number },
  examine: (restored: Restored) => Promise<string>,
): Promise<string> {
  const folder = await mkdtemp(join(scratchPath, 'restored-'))
  const path = join(folder, 'restored.db')
  try {
    await restore(store, path, target)
    const opened = new Database(path, { readonly: true })
    try {
      const pageSize = Number(opened.pragma('page_size', { simple: true }))
      const pageCount = Number(opened.pragma('page_count', { simple: true }))
      const database: Readable = {
        get: async <R = Row>(sql: string) => opened.prepare<[], R>(sql).get(),
        all: async <R = Row>(sql: string) => opened.prepare<[], R>(sql).all(),
      }
      return await examine({ database, pages: { path, pageSize, pageCount } })
    } finally {
      opened.close()
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
