// The examples that are processes of their own do what their comments say.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import ts from 'typescript'
import { expect, it, onTestFinished } from 'vitest'
import { temporaryFolder } from './support/folder.js'

const root = join(import.meta.dirname, '..')

/** The folder of an example as JavaScript, inside the package, so that it finds 'mylibsql' by its name. The path of its program. */
function transpiled(example: string): string {
  const sources = join(root, 'examples', dirname(example))
  const options = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 }
  const folder = mkdtempSync(join(root, 'dist', 'example-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  for (const name of readdirSync(sources)) {
    const source = readFileSync(join(sources, name), 'utf8')
    const program = name.endsWith('.ts')
      ? ts.transpileModule(source, { compilerOptions: options }).outputText
      : source
    writeFileSync(join(folder, name.replace(/\.ts$/, '.js')), program)
  }
  return join(folder, basename(example, '.ts').concat('.js'))
}

/** A running example, killed when the test has finished. */
class Example {
  readonly #process: ChildProcess
  readonly #lines: AsyncIterator<string>
  readonly #exit: Promise<unknown[]>
  #errors = ''

  constructor(path: string, ...parameters: string[]) {
    this.#process = spawn(process.execPath, [path, ...parameters], { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#lines = createInterface({ input: this.#process.stdout! })[Symbol.asyncIterator]()
    this.#exit = once(this.#process, 'close')
    this.#process.stderr!.on('data', (chunk) => {
      this.#errors += chunk
    })
    onTestFinished(async () => {
      this.#process.kill('SIGKILL')
      await this.#exit
    })
  }

  /** Its next line. */
  async says(): Promise<string> {
    const { done, value } = await this.#lines.next()
    if (done) throw new Error(`The example ended:\n${this.#errors}`)
    return value
  }

  signal(name: 'SIGSTOP' | 'SIGCONT'): void {
    this.#process.kill(name)
  }

  async end(name: 'SIGTERM' | 'SIGKILL'): Promise<unknown> {
    this.#process.kill(name)
    const [code] = await this.#exit
    return code
  }
}

async function ask(url: string, init?: RequestInit): Promise<{ status: number; body: unknown }> {
  const response = await fetch(url, { signal: AbortSignal.timeout(10_000), ...init })
  return { status: response.status, body: await response.json() }
}

it('follow: a replica in another process answers with the write whose token it is given', async () => {
  const folder = join(temporaryFolder(), 'made', 'by', 'the', 'example')
  const primary = new Example(transpiled('follow/primary.ts'), folder)
  const primaryUrl = await primary.says()
  const replica = new Example(transpiled('follow/replica.ts'), folder)
  const replicaUrl = await replica.says()
  let token = 0
  for (const [index, name] of ['Alice', 'Bob', 'Carol'].entries()) {
    const written = await ask(`${primaryUrl}/users`, { method: 'POST', body: name })
    expect(written).toEqual({ status: 201, body: { id: index + 1, token: expect.any(Number) } })
    token = (written.body as { token: number }).token
    const { body } = await ask(`${replicaUrl}/users?token=${token}`)
    expect(body).toHaveLength(index + 1)
    expect(body).toContainEqual({ id: index + 1, name })
  }
  expect((await ask(`${replicaUrl}/users?token=Carol`)).status).toBe(400)
  expect((await ask(`${replicaUrl}/users?token=${token + 1}`)).status).toBe(503)
  expect((await ask(`${replicaUrl}/users`)).status).toBe(200)
  expect((await ask(`${replicaUrl}/nothing`)).status).toBe(404)
  expect(await primary.end('SIGTERM')).toBe(0)
  expect((await ask(`${replicaUrl}/users?token=${token}`)).body).toHaveLength(3)
  expect(await replica.end('SIGTERM')).toBe(0)
})

it('extensions: a primary and its replica know the functions and the extension that their setup loads', async () => {
  const path = transpiled('extensions/search.ts')
  const { stdout } = await promisify(execFile)(process.execPath, [path], { cwd: temporaryFolder() })
  const nearest = ['THE HILLS 0.00', 'THE MOUNTAINS 0.14']
  expect(stdout.trimEnd().split('\n')).toEqual([...nearest, ...nearest])
})

/** One that writes without pause and asks the other process when one does not answer with 200; each event until it is answered. */
class Client {
  /** The ids that were answered with 200. */
  acknowledgedCount = 0
  readonly #urls: readonly string[]
  readonly #done: Promise<void>
  #isEnding = false

  constructor(urls: readonly string[]) {
    this.#urls = urls
    this.#done = this.#run()
  }

  /** Resolves when so many more are acknowledged. */
  async more(count: number): Promise<void> {
    const goal = this.acknowledgedCount + count
    const all = async () => {
      while (this.acknowledgedCount < goal) await delay(5)
    }
    await Promise.race([all(), this.#done])
  }

  end(): Promise<void> {
    this.#isEnding = true
    return this.#done
  }

  async #run(): Promise<void> {
    const endMs = performance.now() + 45_000
    let urlNo = 0
    while (!this.#isEnding) {
      const url = `${this.#urls[urlNo]}/events/${this.acknowledgedCount}`
      const body = `body ${this.acknowledgedCount}`
      const signal = AbortSignal.timeout(1000)
      const status = await ask(url, { method: 'PUT', body, signal }).then(
        (answer) => answer.status,
        () => undefined,
      )
      if (status === 200) this.acknowledgedCount += 1
      else {
        if (performance.now() > endMs) throw new Error(`No answer for long: ${status} of ${url}`)
        urlNo = (urlNo + 1) % this.#urls.length
        await delay(20)
      }
    }
  }
}

/** A primary, another one that stands by, and a client that writes to them. */
async function startFailover() {
  const folder = join(temporaryFolder(), 'made', 'by', 'the', 'example')
  const program = transpiled('failover/server.ts')
  const first = new Example(program, folder)
  const firstUrl = await first.says()
  expect(await first.says()).toBe('primary')
  const second = new Example(program, folder, firstUrl)
  const secondUrl = await second.says()
  expect(await second.says()).toBe('replica')
  return { first, second, firstUrl, secondUrl, client: new Client([firstUrl, secondUrl]) }
}

async function expectAll(url: string, count: number): Promise<void> {
  for (let id = 0; id < count; id += 1) {
    expect(await ask(`${url}/events/${id}`)).toEqual({ status: 200, body: `body ${id}` })
  }
}

it('failover: the second process goes on where the first one was killed, no answered write is lost', async () => {
  const { first, second, secondUrl, client } = await startFailover()
  await client.more(50)
  await first.end('SIGKILL')
  expect(await second.says()).toBe('primary')
  await client.more(50)
  await client.end()
  expect(client.acknowledgedCount).toBeGreaterThanOrEqual(100)
  await expectAll(secondUrl, client.acknowledgedCount)
})

it('failover: a first process that was only paused is fenced, and becomes a replica of the second one', async () => {
  const { first, second, firstUrl, secondUrl, client } = await startFailover()
  await client.more(20)
  first.signal('SIGSTOP')
  expect(await second.says()).toBe('primary')
  await client.more(20)
  first.signal('SIGCONT')
  const late = await ask(`${firstUrl}/events/999999`, { method: 'PUT', body: 'late' })
  expect(late.status).toBe(503)
  expect(await first.says()).toBe('replica')
  await client.more(20)
  await client.end()
  await expectAll(secondUrl, client.acknowledgedCount)
  const lastUrl = `${firstUrl}/events/${client.acknowledgedCount - 1}`
  await expect.poll(() => ask(lastUrl), { timeout: 10_000 }).toMatchObject({ status: 200 })
  await expectAll(firstUrl, client.acknowledgedCount)
  expect((await ask(`${secondUrl}/events/999999`)).status).toBe(404)
})

it('failover: a first process that was paused, and is asked for nothing but reads, learns of the second one by itself', async () => {
  const { first, second, firstUrl, secondUrl, client } = await startFailover()
  await client.more(20)
  first.signal('SIGSTOP')
  expect(await second.says()).toBe('primary')
  await client.more(20)
  await client.end()
  first.signal('SIGCONT')
  // What it had until then, then 503 while it opens its replica, then everything.
  const lastUrl = `${firstUrl}/events/${client.acknowledgedCount - 1}`
  await expect.poll(() => ask(lastUrl), { timeout: 30_000 }).toMatchObject({ status: 200 })
  expect(await first.says()).toBe('replica')
  await expectAll(firstUrl, client.acknowledgedCount)
  await expectAll(secondUrl, client.acknowledgedCount)
})
