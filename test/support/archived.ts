/** Primaries that keep their history in a store in memory. */
import { type ArchivedPrimaryOptions, Primary, Snapshot } from 'mylibsql'
import { ControlledStore } from './controlled-store.js'
import { closedAfterTest } from './database.js'

/** Long enough that nothing happens by itself. */
export const never = 3_600_000

/** A store whose history begins with the blank database. */
export async function blankStore(): Promise<ControlledStore> {
  const store = closedAfterTest(new ControlledStore())
  const blank = await Snapshot.blank()
  await store.putSnapshot(blank)
  await blank.close()
  return store
}

/** A primary on the store, closed when the test has finished, whatever it has to say then. */
export async function openOn(
  store: ControlledStore,
  options: Omit<ArchivedPrimaryOptions, 'store'> = {},
): Promise<Primary> {
  return closedAfterTest(await Primary.open({ closeTimeoutMs: 10_000, ...options, store }))
}

/** What a query of one column gives. */
export async function column(database: Pick<Primary, 'all'>, sql: string): Promise<unknown[]> {
  return (await database.all(sql)).map((row) => Object.values(row)[0])
}
