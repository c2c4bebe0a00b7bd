/** The command `follow`: a database file that is kept up to date with a store, for programs in any language to read. */
import { clearLine, cursorTo } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import type { Command } from 'commander'
import { Replica } from '../main/index.js'
import { describeError } from './describe-error.js'
import { untilInterrupted } from './interruption.js'
import { openStore, storeText, storeUrl } from './store-url.js'

const lookMs = 1000

export function addFollowCommand(program: Command): void {
  program
    .command('follow')
    .description('Keep a database file up to date with a store until interrupted; any program may read it')
    .argument('<store>', storeText, storeUrl)
    .argument('<file>', 'where the database is; one that this command has left there is replaced')
    .action((url: string, path: string) => untilInterrupted((signal) => follow(url, path, signal)))
}

/** Throws what ends the following for good. */
async function follow(url: string, path: string, signal: AbortSignal): Promise<void> {
  const store = await openStore(url, { isMade: false })
  try {
    const replica = await Replica.follow(store, { path })
    try {
      signal.throwIfAborted()
      process.stdout.write(`${path} follows ${store.url}, now as of ${asOf(replica)}\n`)
      await watch(replica, signal)
    } finally {
      await replica.close()
    }
    process.stdout.write(`${path} is as of ${asOf(replica)}\n`)
  } finally {
    await store.close()
  }
}

/** Tells when the store cannot be reached, and when it can again; on a terminal also how far the replica is. */
async function watch(replica: Replica, signal: AbortSignal): Promise<void> {
  const { stderr } = process
  let isRetrying = false
  while (!signal.aborted) {
    const { state, lastError, lagFrames } = (await replica.stats()).follow!
    if (stderr.isTTY) {
      cursorTo(stderr, 0)
      clearLine(stderr, 0)
    }
    if (state === 'ended') throw lastError
    if (isRetrying !== (state === 'retrying')) {
      isRetrying = !isRetrying
      stderr.write(isRetrying ? `warning: ${describeError(lastError)}; trying again\n` : 'following again\n')
    }
    if (stderr.isTTY) stderr.write(`${asOf(replica)}, ${lagFrames} frames behind `)
    await pause(lookMs, undefined, { signal }).catch(() => {})
  }
  if (stderr.isTTY) stderr.write('\n')
}

function asOf({ lastFrameNo }: Replica): string {
  return lastFrameNo === undefined ? 'the blank database' : `frame ${lastFrameNo}`
}
