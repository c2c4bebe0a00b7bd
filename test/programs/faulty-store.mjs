// Appends to a FileStore, of which one system call after the other fails (see faults.c), and tells what came of each.
import { existsSync, mkdirSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { FileStore, Log } from '../../dist/main/index.js'

const { folder, logPath, errno, options } = JSON.parse(process.argv[2])
const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`)

function order(path) {
  try {
    openSync(`/faults/${path}`)
  } catch {}
}

async function failing(n) {
  const dir = join(folder, String(n))
  mkdirSync(dir)
  const store = new FileStore(dir, options)
  await store.claimEpoch('me')
  const log = await Log.open(logPath)
  const trace = process.env.FAULTS_TRACE
  writeFileSync(trace, '')
  order(`arm/w/${n}/${errno}/1`)
  const error = await store.append(log, 1).catch((reason) => reason)
  order('off')
  const calls = readFileSync(trace, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
  const failed = calls.find((line) => line.startsWith('failed '))
  // Without a close(): as somebody else sees it, and what is there must be whole.
  const other = new FileStore(dir)
  const seen = await other.logs()
  const epochsRead = []
  for (const stored of seen) {
    const read = await other.readLog(stored)
    epochsRead.push(read.epoch)
    await read.close()
  }
  const isRejected = error instanceof Error
  const { startFrameNo } = await store.append(log, 1)
  const after = (await store.logs()).length
  await store.close()
  await log.close()
  const leftovers = readdirSync(join(dir, 'tmp')).length
  const names = existsSync(join(dir, 'logs')) ? readdirSync(join(dir, 'logs')) : []
  return {
    n,
    calls: calls.map((line) => line.replaceAll(dir, '').replace(/\d+-[0-9a-f]{16}/, 'x')),
    failed,
    isRejected,
    code: isRejected ? error.code : undefined,
    message: isRejected ? error.message : undefined,
    seen: seen.length,
    epochsRead,
    startFrameNo,
    after,
    leftovers,
    names,
  }
}

for (let n = 1; ; n += 1) {
  const result = await failing(n)
  say(result)
  if (result.failed === undefined) break
}
