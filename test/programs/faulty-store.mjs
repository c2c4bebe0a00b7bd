// Appends to a FileStore, of which one system call after the other fails (see faults.c), and tells what came of each. Of
// several logs it is the last one whose append fails; they are in memory then, and come one after the other.
import { existsSync, mkdirSync, openSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { FileStore, Log } from '../../dist/main/index.js'

const { folder, logPaths, errno, options } = JSON.parse(process.argv[2])
const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`)

function order(path) {
  try {
    openSync(`/faults/${path}`)
  } catch {}
}

/** One file is there, an empty one. */
function isTidy(path) {
  const names = readdirSync(path)
  return names.length === 1 && statSync(join(path, names[0]), { throwIfNoEntry: false })?.size === 0
}

async function failing(n) {
  const dir = join(folder, String(n))
  mkdirSync(dir)
  const store = new FileStore(dir, options)
  await store.claimEpoch('me')
  const logs = []
  for (const path of logPaths) {
    logs.push(logPaths.length === 1 ? await Log.open(path) : await Log.from(readFileSync(path)))
  }
  const log = logs.pop()
  for (const before of logs) await store.append(before, 1)
  // What is done behind an append is done: the file for the next log is there, and no other one.
  while (logs.length > 1 && !isTidy(join(dir, 'tmp'))) await setTimeout(1)
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
  const seen = (await other.logs()).slice(logs.length)
  const epochsRead = []
  for (const stored of seen) {
    const read = await other.readLog(stored)
    epochsRead.push(read.epoch)
    await read.close()
  }
  const isRejected = error instanceof Error
  const { startFrameNo } = await store.append(log, 1)
  const after = (await store.logs()).length - logs.length
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
  // Behind an append, a file is made for the next one: that has failed for nobody.
  const isBehind = !result.isRejected && /^failed w open\S* \S*\/tmp\//.test(result.failed)
  if (result.failed === undefined || isBehind) break
}
