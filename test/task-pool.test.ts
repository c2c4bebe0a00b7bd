import { execFile } from 'node:child_process'
import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))

/**
 * Runs a script in a process of its own, with `threads` the worker threads that it has started: the pool's, which
 * nothing else gives away.
 */
async function run(script: string): Promise<string> {
  const source = `
    import { createRequire } from 'node:module'
    const workerThreads = createRequire(import.meta.url)('node:worker_threads')
    const threads = []
    let isSabotaged = false
    let sabotage = 'throw new Error("sabotage")'
    workerThreads.Worker = class extends workerThreads.Worker {
      constructor(file, options) {
        if (isSabotaged) super(sabotage, { ...options, eval: true })
        else super(file, options)
        threads.push(this)
      }
    }
    const { Log, Snapshot } = await import('./dist/main/index.js')
    const pass = (error) => error
    ${script}`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', source], {
    cwd: root,
    timeout: 200_000,
  })
  return stdout
}

it('rejects what a dead thread was doing, and starts another', async () => {
  const text = await run(`
    const snapshot = await Snapshot.blank()
    const copies = Array.from({ length: 20 }, () => snapshot.append([]).catch(pass))
    setTimeout(() => threads.forEach((thread) => thread.terminate()), 1)
    const results = await Promise.all(copies)
    const failed = results.filter((result) => result instanceof Error)
    console.log(failed.length > 0, failed.every((error) => error.code === 'ERR_WORKER_EXITED' && error.cause instanceof Error))
    console.log((await snapshot.append([])).pageCount)`)
  expect(text).toBe('true true\n1\n')
})

it('rejects what was queued when no thread can start, and tries again later', async () => {
  const text = await run(`
    isSabotaged = true
    const opened = Array.from({ length: 5 }, () => Log.open('x').catch(pass))
    for (const error of await Promise.all(opened)) console.log(error.code, error.cause.message)
    isSabotaged = false
    console.log((await Snapshot.blank()).pageCount)`)
  expect(text).toBe(`${'ERR_WORKER_EXITED sabotage\n'.repeat(5)}1\n`)
})

it('rejects what was queued when threads exit while they start, and tries again later', async () => {
  const text = await run(`
    isSabotaged = true
    sabotage = 'process.exit(0)'
    const opened = Array.from({ length: 5 }, () => Log.open('x').catch(pass))
    for (const error of await Promise.all(opened)) console.log(error.code, error.cause.message)
    console.log(threads.length < 20)
    isSabotaged = false
    console.log((await Snapshot.blank()).pageCount)`)
  expect(text).toBe(`${'ERR_WORKER_EXITED threads exit while they start\n'.repeat(5)}true\n1\n`)
})

it('does not blame what came later for a thread that died before', async () => {
  const text = await run(`
    isSabotaged = true
    const opened = Array.from({ length: 5 }, () => Log.open('x').catch(pass))
    // When this one hears of the first that has died, both have.
    let waitMs = 2000
    for (const thread of threads) thread.prependListener('error', () => {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, waitMs)
      waitMs = 0
    })
    const first = await opened[0]
    isSabotaged = false
    console.log(first.code, threads.length, (await Log.open('y').catch(pass)).code)`)
  expect(text).toBe('ERR_WORKER_EXITED 2 ERR_IO\n')
})

it('runs nothing later of what failed because the system gave no thread', async () => {
  const text = await run(`
    const { existsSync, mkdtempSync, rmSync } = await import('node:fs')
    const { Primary } = await import('./dist/main/index.js')
    const folder = mkdtempSync('${tmpdir()}/mylibsql-test-')
    const blank = await Snapshot.blank()
    const primary = await Primary.open(blank)
    const other = await Primary.open(blank)
    // No task thread is left then, and none that is kept of another database.
    while (threads.filter(({ threadId }) => threadId > 0).length > 2) await new Promise((resolve) => setTimeout(resolve, 200))
    const { Worker } = workerThreads
    workerThreads.Worker = class { constructor() { throw new Error('none left') } }
    const asked = [blank.copyTo(folder + '/a'), Primary.open(blank), primary.get('SELECT 1'), primary.iterate('SELECT 1').next()]
    for (const { code } of await Promise.all(asked.map((failing) => failing.catch(pass)))) console.log(code)
    workerThreads.Worker = Worker
    console.log((await Log.open('y').catch(pass)).code, (await other.get('SELECT 1 AS one')).one, (await primary.get('SELECT 2 AS two')).two)
    console.log(existsSync(folder + '/a'))
    rmSync(folder, { recursive: true })
    await primary.close()
    await other.close()`)
  expect(text).toBe(`${'ERR_WORKER_EXITED\n'.repeat(4)}ERR_IO 1 2\nfalse\n`)
})

it('interrupts what runs, however short the time for closing, also when the thread for that has to start', async () => {
  const text = await run(`
    const { Primary } = await import('./dist/main/index.js')
    const primary = await Primary.open(await Snapshot.blank(), [], { closeTimeoutMs: 5 })
    const thread = threads.at(-1)
    await primary.run('CREATE TABLE t (a)')
    const endless = 'WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) INSERT INTO t (a) SELECT i FROM n WHERE i < 0'
    const writing = primary.run(endless).catch(pass)
    await new Promise((resolve) => setTimeout(resolve, 100))
    await primary.close().catch(pass)
    // It has come out of SQLite, and is there for the next database.
    console.log((await writing).code, thread.threadId > 0)`)
  expect(text).toBe('ERR_CLOSED true\n')
})

it('compresses while all threads of stores stand still', async () => {
  const text = await run(`
    const { execFileSync } = await import('node:child_process')
    const { closeSync, mkdtempSync, openSync, rmSync } = await import('node:fs')
    const { runStoreTask } = await import('./dist/main/task-pool.js')
    const { compressed, decompressed, gathered } = await import('./dist/main/stores/compression.js')
    const { packedLog } = await import('./dist/main/stores/lz4-stream.js')
    const folder = mkdtempSync('${tmpdir()}/mylibsql-test-')
    const pipes = [1, 2, 3, 4].map((n) => folder + '/' + n)
    execFileSync('mkfifo', pipes)
    let endedCount = 0
    // To open a pipe takes until somebody writes to it.
    for (const path of pipes) void runStoreTask({ kind: 'openLog', path, verify: false }).catch(pass).then(() => endedCount++)
    const bytes = Buffer.alloc(5000)
    const packed = await packedLog([bytes])
    const streamed = await gathered(compressed([bytes], 5000, 'lz4'))
    console.log(Buffer.compare(packed, streamed), (await gathered(decompressed([streamed], {}))).length, endedCount)
    // One that is not opened yet waits for the next time.
    while (endedCount < pipes.length) {
      for (const path of pipes) closeSync(openSync(path, 'r+'))
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    rmSync(folder, { recursive: true })`)
  expect(text).toBe('0 5000 0\n')
})

it('runs on two threads at most', async () => {
  const text = await run(`
    await Promise.all(Array.from({ length: 30 }, () => Snapshot.blank()))
    console.log(threads.length <= 2)`)
  expect(text).toBe('true\n')
})

it('keeps class, code, details and cause of an error', async () => {
  const text = await run(`
    const error = await Log.open('/no/such/file.log').catch(pass)
    console.log(error.constructor.name, error.code, error.details.path, error.cause.code, error.cause.syscall)`)
  expect(text).toBe('MylibsqlError ERR_IO /no/such/file.log ENOENT open\n')
})

it('keeps a thread for a primary whose logs are packed, until the store is closed', async () => {
  const text = await run(`
    const { once } = await import('node:events')
    const { mkdtempSync, rmSync } = await import('node:fs')
    const { FileStore } = await import('./dist/main/index.js')
    const folder = mkdtempSync('${tmpdir()}/mylibsql-test-')
    const store = new FileStore(folder, { compression: 'lz4' })
    await store.claimEpoch('test')
    const startedCount = threads.length
    // Idle ones are gone after five seconds.
    await new Promise((resolve) => setTimeout(resolve, 8000))
    const left = threads.filter(({ threadId }) => threadId > 0)
    console.log(left.length)
    await store.close()
    // Nothing else keeps the process.
    const timer = setTimeout(() => {}, 60_000)
    await once(left[0], 'exit')
    clearTimeout(timer)
    rmSync(folder, { recursive: true })
    console.log(threads.length - startedCount)`)
  expect(text).toBe('1\n0\n')
})
