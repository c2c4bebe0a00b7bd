/** The command `show`: what is in a log, a segment or a snapshot, every checksum verified. */
import type { Command } from 'commander'
import { Log, MylibsqlError, Snapshot } from '../main/index.js'
import { isOutputUnread } from './standard-output.js'
import { table } from './table.js'

/** Positions at which a merged log is taken that are listed, besides the last one. */
const placesMax = 5

export function addShowCommand(program: Command): void {
  program
    .command('show')
    .description(
      'What a log, a segment or a snapshot is; with --frames, each frame of a log. Damage is an error that says where',
    )
    .argument('<file>')
    .option('--frames', 'a line for each frame of a log', false)
    .action(async (path: string, { frames }: { frames: boolean }) => {
      const logs = await openIf(() => Log.openAll(path), 'ERR_NOT_A_LOG')
      if (logs === undefined) await showSnapshot(await Snapshot.open(path))
      else for (const log of logs) await showLog(log, frames)
    })
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

async function openIf<T>(open: () => Promise<T>, otherwise: string): Promise<T | undefined> {
  try {
    return await open()
  } catch (error) {
    if (error instanceof MylibsqlError && error.code === otherwise) return undefined
    throw error
  }
}

function hex(checksum: bigint): string {
  return checksum.toString(16).padStart(16, '0')
}
