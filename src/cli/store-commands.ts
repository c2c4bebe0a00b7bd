/** The commands on what a store holds: `list`, `verify`, `restore`, `compact`, `prune`. None of them makes a store. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { compact, type FrameNo, type KeptHistory, prune, restore, type Store, verify } from '../main/index.js'
import { byteSize, kilobytes } from './byte-size.js'
import { untilInterrupted } from './interruption.js'
import { startProgress } from './progress.js'
import { openStore, storeText, storeUrl } from './store-url.js'
import { table } from './table.js'
import { UsageError } from './usage-error.js'

const minuteMs = 60_000
const hourMs = 60 * minuteMs

interface KeptOptions {
  readonly keepHours?: number
  readonly keepSnapshots?: number
}

export function addStoreCommands(program: Command): void {
  program
    .command('list')
    .description('What a store holds: snapshots, logs, the newest epoch')
    .argument('<store>', storeText, storeUrl)
    .option('--json', 'every object, as JSON')
    .action((url: string, { json = false }: { json?: boolean }) =>
      withStore(url, (store, signal) => list(store, json, signal)),
    )
  program
    .command('verify')
    .description('Read all that a store holds, and check that it can be restored')
    .argument('<store>', storeText, storeUrl)
    .option('--json', 'the result as JSON')
    .action((url: string, { json = false }: { json?: boolean }) =>
      withStore(url, (store, signal) => verified(store, json, signal)),
    )
  program
    .command('restore')
    .description('Make a database file of what a store holds, every byte checked; a file that is there stays')
    .argument('<store>', storeText, storeUrl)
    .argument('<file>', 'where the database goes')
    .addOption(
      new Option(
        '--at <moment>',
        'a frame number, or a time such as 2026-01-31T18:00:00Z (default: the newest state)',
      ).argParser(moment),
    )
    .action((url: string, path: string, { at }: { at?: FrameNo | Date }) =>
      withStore(url, (store, signal) => restoreTo(store, path, at, signal)),
    )
  program
    .command('compact')
    .description('Merge the logs of each span into one: what can be restored becomes as coarse as the spans')
    .argument('<store>', storeText, storeUrl)
    .addOption(
      new Option('--keep-hours <n>', 'logs of so many hours stay as they are').default(1).argParser(hours),
    )
    .addOption(
      new Option('--span-minutes <n>', 'logs of so many minutes by the clock become one')
        .default(5)
        .argParser(minutes),
    )
    .action((url: string, { keepHours, spanMinutes }: { keepHours: number; spanMinutes: number }) =>
      withStore(url, (store, signal) =>
        compacted(store, Math.round(keepHours * hourMs), Math.round(spanMinutes * minuteMs), signal),
      ),
    )
  program
    .command('prune')
    .description('Remove what no restore needs any more')
    .argument('<store>', storeText, storeUrl)
    .option('--keep-hours <n>', 'a restore to any moment of so many hours stays possible', hours)
    .option('--keep-snapshots <n>', 'so many of the newest snapshots stay (2)', positive)
    .action((url: string, options: KeptOptions) => {
      const kept = keptHistory(options)
      return withStore(url, (store, signal) => pruned(store, kept, signal))
    })
}

/** Prints what `use` answers. */
async function withStore(
  url: string,
  use: (store: Store, signal: AbortSignal) => Promise<string>,
): Promise<void> {
  await untilInterrupted(async (signal) => {
    const store = await openStore(url, { isMade: false })
    try {
      process.stdout.write(`${await use(store, signal)}\n`)
    } finally {
      await store.close()
    }
  })
}

async function list(store: Store, json: boolean, signal: AbortSignal): Promise<string> {
  const snapshots = await store.snapshots({ signal })
  const logs = await store.logs({ signal })
  const epoch = await store.currentEpoch({ signal })
  if (json) return JSON.stringify({ url: store.url, epoch, snapshots, logs })
  const rows: Record<string, string[]> = {}
  for (const { id, lastFrameNo, byteLength, storedAt } of snapshots) {
    const frames = lastFrameNo === undefined ? 'blank' : `up to ${lastFrameNo}`
    rows[id] = [frames, kilobytes(byteLength), storedAt.toISOString()]
  }
  const [first, last] = [logs[0], logs.at(-1)]
  if (first !== undefined && last !== undefined) {
    const byteLength = logs.reduce((sum, log) => sum + log.byteLength, 0)
    const frames = `from ${first.startFrameNo}, the last from ${last.startFrameNo}`
    rows[`${logs.length} logs`] = [frames, kilobytes(byteLength), last.storedAt.toISOString()]
  }
  return `${store.url}, newest epoch ${epoch}\n${table(['', 'frames', 'kB', 'stored'], rows)}`
}

/** With what is wrong the process fails. */
async function verified(store: Store, json: boolean, signal: AbortSignal): Promise<string> {
  const progress = startProgress('verifying', 0)
  const { snapshotCount, logCount, spans, problems } = await verify(store, {
    signal,
    onProgress: ({ bytesDone, bytesTotal }) =>
      progress.update(bytesDone, `${byteSize(bytesDone)} of ${byteSize(bytesTotal)}`, bytesTotal),
  }).finally(() => progress.stop())
  if (problems.length > 0) process.exitCode = 1
  if (json) {
    const described = problems.map(({ code, message, details }) => ({ code, message, details }))
    return JSON.stringify({ url: store.url, snapshotCount, logCount, spans, problems: described })
  }
  const restorable = spans.map(({ from, to }) => `${frameText(from)} to ${frameText(to)}`).join(', and ')
  const counts = `${counted(snapshotCount, 'snapshot')} and ${counted(logCount, 'log')} found whole`
  const lines = problems.map(({ message }) => `problem: ${message}`)
  return [...lines, `${store.url}: ${counts}. Can be restored: ${restorable || 'nothing'}`].join('\n')
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

function frameText(frameNo: FrameNo | undefined): string {
  return frameNo === undefined ? 'the blank database' : `frame ${frameNo}`
}

async function restoreTo(
  store: Store,
  path: string,
  at: FrameNo | Date | undefined,
  signal: AbortSignal,
): Promise<string> {
  const progress = startProgress('restoring', 0)
  try {
    const { frameNo, byteLength, problems } = await restore(store, path, {
      ...(at === undefined ? {} : { at }),
      signal,
      onProgress: ({ phase, bytesDone, bytesTotal }) =>
        progress.update(bytesDone, `${phase}, ${byteSize(bytesDone)} of ${byteSize(bytesTotal)}`, bytesTotal),
    })
    for (const problem of problems) process.stderr.write(`warning: ${problem.message}\n`)
    const asOf = frameNo === undefined ? 'before the first frame' : `as of frame ${frameNo}`
    return `${path}: ${byteSize(byteLength)}, ${asOf}`
  } finally {
    progress.stop()
  }
}

async function compacted(store: Store, keepMs: number, spanMs: number, signal: AbortSignal): Promise<string> {
  const progress = startProgress('merging', 0)
  try {
    const { mergedCount, removedCount, byteCountBefore, byteCountAfter } = await compact(store, {
      keepMs,
      spanMs,
      signal,
      onProgress: ({ bytesDone, bytesTotal }) =>
        progress.update(bytesDone, `${byteSize(bytesDone)} of ${byteSize(bytesTotal)}`, bytesTotal),
    })
    const sizes = `${byteSize(byteCountBefore)} became ${byteSize(byteCountAfter)}`
    return `Made ${mergedCount} merged logs, removed ${removedCount} logs: ${sizes}`
  } finally {
    progress.stop()
  }
}

/** Throws UsageError. */
function keptHistory({ keepHours, keepSnapshots }: KeptOptions): KeptHistory {
  const counted = keepSnapshots === undefined ? undefined : { keepSnapshots }
  if (keepHours !== undefined) return { keepMs: Math.round(keepHours * hourMs), ...counted }
  if (counted !== undefined) return counted
  throw new UsageError('prune needs --keep-hours, --keep-snapshots or both: what is to be kept')
}

async function pruned(store: Store, kept: KeptHistory, signal: AbortSignal): Promise<string> {
  const { snapshotCount, logCount, byteCount } = await prune(store, { ...kept, signal })
  return `Removed ${snapshotCount} snapshots and ${logCount} logs, ${byteSize(byteCount)}`
}

function moment(text: string): FrameNo | Date {
  const frameNo = Number(text)
  if (/^\d+$/.test(text) && Number.isSafeInteger(frameNo)) return frameNo
  const time = new Date(text)
  if (/^\d{4}-\d\d-\d\dT/.test(text) && !Number.isNaN(time.getTime())) return time
  throw new InvalidArgumentError('It must be a frame number or a time such as 2026-01-31T18:00:00Z.')
}

function hours(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && value >= 0 && Number.isSafeInteger(Math.round(value * hourMs))) return value
  throw new InvalidArgumentError('It must be a number of hours from 0 up.')
}

function minutes(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && value * minuteMs >= 1 && Number.isSafeInteger(Math.round(value * minuteMs)))
    return value
  throw new InvalidArgumentError('It must be a number of minutes, more than 0.')
}

function positive(text: string): number {
  const value = Number(text)
  if (Number.isSafeInteger(value) && value > 0) return value
  throw new InvalidArgumentError('It must be an integer from 1 up.')
}
