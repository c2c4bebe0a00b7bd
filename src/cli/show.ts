/** The command `show`: what is in a log, a segment or a snapshot, every checksum verified. */
import { basename, dirname, resolve } from 'node:path'
import type { Command } from 'commander'
import { FileStore, Log, MylibsqlError, Snapshot } from '../main/index.js'
import { isOutputUnread } from './standard-output.js'
import { table } from './table.js'

/** Positions at which a merged log is taken that are listed, besides the last one. */
const placesMax = 5

export function addShowCommand(program: Command): void {
  program
    .command('show')
    .description(
      'What a log, a segment or a snapshot is, also a compressed one in the folder of its store; with --frames, each frame of ' +
        'a log. Damage is an error that says where',
    )
    .argument('<file>')
    .option('--frames', 'a line for each frame of a log')
    .action(async (path: string, { frames = false }: { frames?: boolean }) => {
      const logs = await openIf(() => Log.openAll(path), 'ERR_NOT_A_LOG')
      if (logs !== undefined) {
        for (const log of logs) await showLog(log, frames)
        return
      }
      const snapshot = await openIf(() => Snapshot.open(path), 'ERR_NOT_A_SNAPSHOT')
      if (snapshot !== undefined) await showSnapshot(snapshot)
      else if (!(await showInStore(resolve(path), frames))) {
        throw new MylibsqlError('ERR_NOT_A_LOG', `${path} is no log, segment or snapshot of mylibsql`, {
          path,
        })
      }
    })
}

/** What is compressed can be read by its store. False: it is in none. */
async function showInStore(path: string, withFrames: boolean): Promise<boolean> {
  const store = new FileStore(dirname(dirname(path)), { create: false })
  /** That one of a list; none where there is no store. */
  const objectIn = async <T extends { readonly id: string }>(list: () => Promise<T[]>) =>
    (await openIf(list, 'ERR_NOT_FOUND', 'ERR_STORE'))?.find(({ id }) => id === path)
  try {
    if (basename(dirname(path)) === 'logs') {
      const stored = await objectIn(() => store.logs())
      if (stored === undefined) return false
      await showLog(await store.readLog(stored), withFrames)
    } else {
      const stored = await objectIn(() => store.snapshots())
      if (stored === undefined) return false
      await showSnapshot(await store.readSnapshot(stored))
    }
    return true
  } finally {
    await store.close()
  }
}

async function showLog(log: Log, withFrames: boolean): Promise<void> {
  const { version, startFrameNo, lastFrameNo, frameCount, pageSize, byteLength, epoch, createdAt } = log
  print('log', {
    version,
    frames: lastFrameNo === undefined ? `none, from ${startFrameNo} on` : `${startFrameNo} to ${lastFrameNo}`,
    'frame count': frameCount,
    ...(log.isMerged ? mergedFacts(log) : {}),
    'page size': pageSize,
    bytes: byteLength,
    epoch: epoch === 0 ? 'none' : epoch,
    'sealed at': createdAt?.toISOString() ?? 'not known',
    'start checksum': hex(log.startChecksum),
    'end checksum': hex(log.endChecksum),
  })
  if (withFrames) {
    for await (const { frameNo, pageNo, sizeAfter, checksum } of log.frames()) {
      if (isOutputUnread()) break
      const commit = sizeAfter === 0 ? '' : `  commit, ${sizeAfter} pages`
      process.stdout.write(`frame ${frameNo}  page ${pageNo}  ${hex(checksum)}${commit}\n`)
    }
  }
  await log.close()
}

function mergedFacts(log: Log): Record<string, string | number> {
  const places = [log.startFrameNo, ...log.boundaries.map(({ frameNo }) => frameNo)]
  const [first, last] = [places.slice(0, placesMax), places.slice(placesMax).at(-1)]
  return {
    'of which it holds': `${log.recordCount}, the last version of each page`,
    'taken at frame': first.join(', ') + (last === undefined ? '' : `, ..., ${last}`),
  }
}

async function showSnapshot(snapshot: Snapshot): Promise<void> {
  const { lastFrameNo, pageSize, pageCount, createdAt, checksum } = snapshot
  print('snapshot', {
    frames: lastFrameNo === undefined ? 'none: blank' : `up to ${lastFrameNo}`,
    'page size': pageSize,
    pages: pageCount,
    'made at': createdAt?.toISOString() ?? 'not known',
    checksum: hex(checksum),
  })
  await snapshot.close()
}

function print(what: string, facts: Record<string, string | number>): void {
  const rows = Object.fromEntries(Object.entries(facts).map(([name, value]) => [name, [String(value)]]))
  process.stdout.write(`${table([what, ''], rows)}\n`)
}

async function openIf<T>(open: () => Promise<T>, ...otherwise: readonly string[]): Promise<T | undefined> {
  try {
    return await open()
  } catch (error) {
    if (error instanceof MylibsqlError && otherwise.includes(error.code)) return undefined
    throw error
  }
}

function hex(checksum: bigint): string {
  return checksum.toString(16).padStart(16, '0')
}
