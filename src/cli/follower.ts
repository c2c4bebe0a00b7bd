/** A replica that follows the store in a process of its own, as the load test sees it. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { CaughtUp, FollowerNotice, FollowerRequest, FollowerSnapshot } from './follower-messages.js'
import type { LoadOptions } from './options.js'
import type { ReplicationLag } from './replication-lag.js'
import { ownClockMs } from './shared-clock.js'

const program = fileURLToPath(new URL('./follower-process.js', import.meta.url))
const closeMsMax = 10_000

/**
 * What comes over a network is garbage as soon as it is applied. V8 counts such buffers among what a small heap has grown
 * by, and marks all of it every 8 MB: several times a second. This has it wait for 64 MB (docs/REPLICATION.md, "Limits").
 */
const nodeOptions = ['--initial-old-space-size=64']

interface Waiter {
  readonly resolve: (answer: CaughtUp | FollowerSnapshot | undefined) => void
  readonly reject: (error: Error) => void
}

export class Follower {
  readonly name: string
  readonly lag: ReplicationLag
  readonly #child: ChildProcess
  readonly #fail: (error: Error) => void
  #waiter: Waiter | undefined
  #gone: Error | undefined
  #isClosing = false

  private constructor(name: string, lag: ReplicationLag, fail: (error: Error) => void) {
    this.name = name
    this.lag = lag
    this.#fail = fail
    const execArgv = [...process.execArgv, ...nodeOptions]
    this.#child = fork(program, { execArgv, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
    this.#child.on('message', (notice: FollowerNotice) => this.#receive(notice))
    this.#child.on('error', (error) => this.#failed(error))
    this.#child.on('exit', (code, signal) => this.#exited(signal ?? `code ${code}`))
  }

  /** Resolves when it has what the store holds. What fails later is told to `fail`. */
  static async start(
    name: string,
    lag: ReplicationLag,
    store: { readonly options: LoadOptions; readonly url: string },
    fail: (error: Error) => void,
  ): Promise<Follower> {
    const follower = new Follower(name, lag, fail)
    try {
      await follower.#ask({ kind: 'follow', ...store })
      return follower
    } catch (error) {
      await follower.close()
      throw error
    }
  }

  /** Ends its reads, and waits until it has applied the frame. */
  async catchUp(frameNo: number | undefined): Promise<CaughtUp> {
    return (await this.#ask({ kind: 'catchUp', frameNo })) as CaughtUp
  }

  async snapshot(path: string): Promise<FollowerSnapshot> {
    return (await this.#ask({ kind: 'snapshot', path })) as FollowerSnapshot
  }

  /** Ends the process. */
  async close(): Promise<void> {
    if (this.#isClosing) return
    this.#isClosing = true
    if (this.#gone !== undefined) return
    const exited = once(this.#child, 'exit')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), closeMsMax)
    // It closes its replica when nobody is there any more, too.
    this.#child.disconnect()
    await exited
    clearTimeout(timer)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #ask(request: FollowerRequest): Promise<CaughtUp | FollowerSnapshot | undefined> {
    if (this.#gone !== undefined) return Promise.reject(this.#gone)
    return new Promise((resolve, reject) => {
      this.#waiter = { resolve, reject }
      this.#child.send(request, (error) => error && this.#failed(error))
    })
  }

  #receive(notice: FollowerNotice): void {
    switch (notice.kind) {
      case 'applied':
        for (const { frameNo, atMs } of notice.steps) this.lag.applied(frameNo, ownClockMs(atMs))
        break
      case 'answer':
        this.#waiter?.resolve(notice.answer)
        this.#waiter = undefined
        break
      case 'failed':
        this.#failed(new Error(notice.reason))
    }
  }

  #exited(how: string): void {
    this.#gone = new Error(`The process of ${this.name} has ended (${how})`)
    if (!this.#isClosing) this.#failed(this.#gone)
    this.#waiter?.reject(this.#gone)
  }

  #failed(cause: Error): void {
    const error = cause === this.#gone ? cause : new Error(`${this.name} failed`, { cause })
    const waiter = this.#waiter
    this.#waiter = undefined
    if (waiter === undefined) this.#fail(error)
    else waiter.reject(error)
  }
}
