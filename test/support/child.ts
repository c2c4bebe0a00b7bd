/** Programs of test/programs/, run as processes of their own: they are killed, starved of disk, or fail on purpose. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'

const programs = new URL('../programs/', import.meta.url)
const projectRoot = fileURLToPath(new URL('../..', import.meta.url))

export interface ChildOptions {
  /** Given as the first argument, as JSON. */
  readonly argument?: unknown
  readonly env?: NodeJS.ProcessEnv
  readonly nodeOptions?: readonly string[]
  /** What is run instead of node, such as `['unshare', '--mount']`, with node and its arguments behind. */
  readonly launcher?: readonly string[]
}

/** One that talks in lines of JSON, both ways. Killed when the test has finished. */
export class Child<Message = unknown> {
  readonly process: ChildProcess
  readonly #exit: Promise<unknown[]>
  readonly #lines: AsyncIterator<string>
  #errors = ''

  constructor(program: string, options: ChildOptions = {}) {
    const { argument = null, env, nodeOptions = [], launcher = [] } = options
    const path = fileURLToPath(new URL(program, programs))
    const command = [...launcher, process.execPath, ...nodeOptions, path, JSON.stringify(argument)]
    const spawnOptions: SpawnOptions = { cwd: projectRoot, env: { ...process.env, ...env }, stdio: 'pipe' }
    this.process = spawn(command[0]!, command.slice(1), spawnOptions)
    this.#exit = once(this.process, 'close')
    this.#lines = createInterface({ input: this.process.stdout! })[Symbol.asyncIterator]()
    this.process.stderr!.on('data', (chunk) => {
      this.#errors += chunk
    })
    this.process.stdin!.on('error', () => {})
    onTestFinished(() => void this.process.kill('SIGKILL'))
  }

  get pid(): number {
    return this.process.pid!
  }

  send(message: unknown): void {
    this.process.stdin!.write(`${JSON.stringify(message)}\n`)
  }

  /** The next message; undefined when there are no more. One that the child did not live to finish is none. */
  async next(): Promise<Message | undefined> {
    const { done, value } = await this.#lines.next()
    if (done) return undefined
    try {
      return JSON.parse(value) as Message
    } catch (error) {
      if ((await this.#lines.next()).done) return undefined
      throw error
    }
  }

  /** The next message, which must come. */
  async expect(): Promise<Message> {
    const message = await this.next()
    if (message !== undefined) return message
    const [code, signal] = await this.#exit
    throw new Error(`The child ended (${String(code ?? signal)}) without an answer:\n${this.#errors}`)
  }

  /** Waits for its end, which has to be a good one. */
  async end(): Promise<void> {
    this.process.stdin!.end()
    const [code, signal] = await this.#exit
    if (code !== 0) throw new Error(`The child ended with ${String(code ?? signal)}:\n${this.#errors}`)
  }

  /** No time to tidy anything up. */
  async kill(): Promise<void> {
    this.process.kill('SIGKILL')
    await this.#exit
  }
}

/** Runs a program to its end and returns all it said. */
export async function runProgram<Message>(program: string, options?: ChildOptions): Promise<Message[]> {
  const child = new Child<Message>(program, options)
  const messages: Message[] = []
  for (let message = await child.next(); message !== undefined; message = await child.next()) {
    messages.push(message)
  }
  await child.end()
  return messages
}
