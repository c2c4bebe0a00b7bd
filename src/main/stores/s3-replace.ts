/** Puts a log in the place of another one, as a single step: with `If-Match`, so that what was looked at is what is replaced. */
import { MylibsqlError } from '../../protocol/errors.js'
import type { Compression } from '../../protocol/object-format.js'
import type { Log } from '../log.js'
import { checkReplaces } from './log-positions.js'
import { receivedLog } from './received.js'
import type { S3Bucket } from './s3-bucket.js'
import { storeError } from './s3-failure.js'
import { withLogPayload } from './s3-payload.js'
import type { CallLimits } from './store.js'
import { stampedHeader } from './stored-log.js'

/** Others who replace the same log in between. */
const roundsMax = 5

export async function replaceLog(
  bucket: S3Bucket,
  key: string,
  log: Log,
  compression: Compression | 'none',
  limits: CallLimits | undefined,
): Promise<void> {
  const name = bucket.nameOf(key)
  await log.use(async (file) => {
    const header = stampedHeader(file.header, file.header.epoch)
    await withLogPayload(file, header, compression, async (payload) => {
      for (let round = 0; round < roundsMax; round++) {
        const etag = await etagToReplace(bucket, key, log, limits)
        // An answer that was lost is found out by looking again.
        if (etag === undefined || (await bucket.putOver(key, etag, payload, limits))) return
      }
      throw storeError('replace', name, new Error(`others replaced it, ${roundsMax} times`))
    })
  })
}

/** Undefined: the log is there already. */
async function etagToReplace(
  bucket: S3Bucket,
  key: string,
  log: Log,
  limits: CallLimits | undefined,
): Promise<string | undefined> {
  const path = bucket.nameOf(key)
  return bucket.read(key, limits, async (chunks, etag) => {
    const found = await receivedLog(chunks, path, log.startFrameNo)
    try {
      if (!(await checkReplaces(log, found, path))) return undefined
    } finally {
      await found.close()
    }
    if (etag !== undefined) return etag
    throw new MylibsqlError('ERR_STORE', `${path} is told without an ETag, and so cannot be replaced`, {
      path,
    })
  })
}
