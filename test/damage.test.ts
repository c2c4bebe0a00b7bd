/**
 * Logs and snapshots that are damaged after they were opened and checked: a bit that flips, an end that is cut off. Either
 * the damage is noticed and nothing has changed, or the bytes were of no concern and the result is the right one.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Log, Primary, Replica, Snapshot } from 'mylibsql'
import { expect, it } from 'vitest'
import { closedAfterTest, expectSameBytes, openPrimary, pagesOf } from './support/database.js'
import { temporaryFolder } from './support/folder.js'
import { type Random, withSeed } from './support/random.js'

interface Stored {
  readonly folder: string
  readonly snapshot: Snapshot
  /** The first is replicated already. */
  readonly logs: readonly Log[]
  readonly primary: Primary
  readonly pages: Buffer
}

type Kind = 'version 3' | 'version 2' | 'merged'

async function store(kind: Kind): Promise<Stored> {
  const folder = temporaryFolder()
  const {
    primary,
    save,
    logs: sealed,
  } = await openPrimary('CREATE TABLE t (id INTEGER PRIMARY KEY, bytes BLOB)')
  const base = await primary.snapshot(join(folder, 'base.db'))
  sealed.length = 0
  for (let n = 0; n < 3; n += 1) {
    await primary.run('INSERT INTO t (bytes) VALUES (zeroblob(30000))')
    await primary.run('DELETE FROM t WHERE id % 2 = 0')
    await save()
  }
  const logs = await Promise.all(
    sealed.map(async (log, index) => {
      const path = join(folder, `${index}.log`)
      const made = kind === 'merged' ? await Log.merge([log]) : log
      await made.copyTo(path, { version: kind === 'version 2' ? 2 : 3 })
      return Log.open(path)
    }),
  )
  const pages = await pagesOf(await primary.snapshot(join(folder, 'now.db')))
  return { folder, snapshot: closedAfterTest(await Snapshot.open(base.path)), logs, primary, pages }
}

/**
 * Damages the file; returns what mends it, and whether it must be noticed: damage to its beginning, which has been read,
 * need not be. Version 2 knows no way to notice that a page number or the size of the database (bytes 16 to 23 of a
 * record) has changed: those are left alone.
 */
function damage(
  random: Random,
  path: string,
  { headerBytes, unprotected }: { headerBytes: number; unprotected: (offset: number) => boolean },
): [() => void, boolean, string] {
  const whole = readFileSync(path)
  const bytes = Buffer.from(whole)
  const mend = () => writeFileSync(path, whole)
  if (random.chance(0.2)) {
    const byteLength = random.integer(0, whole.length - 1)
    writeFileSync(path, whole.subarray(0, byteLength))
    return [mend, false, `cut to ${byteLength} bytes`]
  }
  let offset = random.integer(0, bytes.length - 1)
  while (unprotected(offset)) offset = random.integer(0, bytes.length - 1)
  bytes[offset]! ^= 1 << random.integer(0, 7)
  writeFileSync(path, bytes)
  return [mend, offset >= headerBytes, `byte ${offset} changed`]
}

it.each([
  ['version 3', 112],
  ['version 2', 48],
  ['merged', 112 + 32],
] as const)('is noticed, or does no harm (logs: %s)', (kind, headerBytes) =>
  withSeed(kind, async (random) => {
    const { folder, snapshot, logs, primary, pages } = await store(kind)
    const inRecord = (offset: number) => (offset - headerBytes) % 4120
    const ofLog = {
      headerBytes,
      unprotected: (offset: number) =>
        kind === 'version 2' && inRecord(offset) >= 16 && inRecord(offset) < 24,
    }
    const trailerOffset = snapshot.pageCount * 4096
    const ofSnapshot = { headerBytes: 0, unprotected: (offset: number) => offset >= trailerOffset }
    for (let round = 0; round < 40; round += 1) {
      const target = random.pick(kind === 'version 3' ? ['log', 'log', 'snapshot'] : ['log'])
      const path = target === 'log' ? join(folder, `${random.integer(0, 2)}.log`) : join(folder, 'base.db')
      const [mend, mustBeNoticed, what] = damage(random, path, target === 'log' ? ofLog : ofSnapshot)
      const way = random.pick(['Primary.open', 'Replica.open', 'append', 'replicate'] as const)
      const context = `${what} of ${path}, then ${way}`
      const isUsed = target === 'log' || way !== 'replicate'
      const result = await attempt(way, snapshot, logs, mend, pages, context)
      expect(['same', 'ERR_CORRUPT', 'ERR_LINEAGE'], context).toContain(result)
      if (mustBeNoticed && isUsed) expect(result, context).not.toBe('same')
      mend()
    }
    await expectSameBytes(primary, closedAfterTest(await Replica.open(snapshot, logs)))
  }),
)

/** 'same' when it went well, or the code of the error; then everything is as it was. */
async function attempt(
  way: 'Primary.open' | 'Replica.open' | 'append' | 'replicate',
  snapshot: Snapshot,
  logs: readonly Log[],
  mend: () => void,
  pages: Buffer,
  context: string,
): Promise<string> {
  if (way === 'replicate') return replicateOneByOne(snapshot, logs, mend, pages, context)
  try {
    if (way === 'append') return sameness(await snapshot.append(logs), pages)
    const database = await (way === 'Primary.open' ? Primary : Replica).open(snapshot, logs)
    const copy = await database.snapshot(join(temporaryFolder(), 'copy.db'))
    await database.close()
    return sameness(copy, pages)
  } catch (error) {
    return String((error as { code?: unknown }).code)
  }
}

async function replicateOneByOne(
  snapshot: Snapshot,
  logs: readonly Log[],
  mend: () => void,
  pages: Buffer,
  context: string,
): Promise<string> {
  let replica: Replica
  try {
    replica = await Replica.open(snapshot)
  } catch (error) {
    return String((error as { code?: unknown }).code)
  }
  let code: string | undefined
  const folder = temporaryFolder()
  for (const log of logs) {
    const before = await pagesOf(await replica.snapshot(join(folder, 'before.db')))
    const position = replica.lastFrameNo
    try {
      await replica.replicate(log)
    } catch (error) {
      code = String((error as { code?: unknown }).code)
      expect(replica.lastFrameNo, context).toBe(position)
      const after = await pagesOf(await replica.snapshot(join(folder, 'after.db')))
      expect(after.equals(before), `nothing was applied: ${context}`).toBe(true)
      // The same log, whole again.
      mend()
      await replica.replicate(log)
    }
  }
  const result = await sameness(await replica.snapshot(join(folder, 'replica.db')), pages)
  await replica.close()
  return code ?? result
}

async function sameness(snapshot: Snapshot, pages: Buffer): Promise<string> {
  const found = await pagesOf(snapshot)
  await snapshot.close()
  return found.equals(pages) ? 'same' : 'other'
}
