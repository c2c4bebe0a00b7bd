/** nats-server, the real one, on a free loopback port with a folder of its own: alone or three in a cluster. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { platform, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { findNatsServer, howToInstall } from './find-nats-server.mjs'

export interface NatsServerOptions {
  /** Bytes of a message at most. */
  readonly maxPayload?: number
  /** More lines for the configuration. */
  readonly config?: string
  /** Who may ask whether it is ready, when that configuration lets nobody else. */
  readonly user?: string
  readonly pass?: string
}

interface Login {
  readonly user?: string
  readonly pass?: string
}

interface ClusterPlace {
  readonly name: string
  readonly routePort: number
  readonly routes: readonly number[]
}

const readyMsMax = 60_000

export class NatsServer {
  readonly port: number
  readonly name: string
  readonly #folder: string
  readonly #configPath: string
  readonly #login: Login
  #process: ChildProcess | undefined
  #output = ''

  private constructor(port: number, options: NatsServerOptions, place: ClusterPlace | undefined) {
    this.port = port
    this.name = place?.name ?? 'single'
    const { user, pass } = options
    this.#login = user === undefined || pass === undefined ? {} : { user, pass }
    this.#folder = mkdtempSync(join(tmpdir(), 'mylibsql-nats-'))
    this.#configPath = join(this.#folder, 'server.conf')
    mkdirSync(join(this.#folder, 'data'))
    const cluster =
      place === undefined
        ? ''
        : `cluster { name: test, listen: "127.0.0.1:${place.routePort}", routes: [${place.routes
            .map((route) => `"nats://127.0.0.1:${route}"`)
            .join(', ')}] }`
    const lines = [
      `listen: "127.0.0.1:${port}"`,
      `server_name: ${this.name}`,
      `max_payload: ${options.maxPayload ?? 1024 * 1024}`,
      `jetstream { store_dir: "${join(this.#folder, 'data')}", max_memory_store: 64MB, max_file_store: 2GB }`,
      cluster,
      options.config ?? '',
    ]
    writeFileSync(this.#configPath, lines.join('\n'))
  }

  /** One that is ready. */
  static async start(options: NatsServerOptions = {}): Promise<NatsServer> {
    const [port] = await freePorts(1)
    const server = new NatsServer(port!, options, undefined)
    await startAll([server], () => server.start())
    return server
  }

  /** Three that have found each other. */
  static async startCluster(): Promise<NatsServer[]> {
    const ports = await freePorts(6)
    const routes = ports.slice(3)
    const servers = ports
      .slice(0, 3)
      .map(
        (port, index) =>
          new NatsServer(port, {}, { name: `n${index + 1}`, routePort: routes[index]!, routes }),
      )
    await startAll(servers, async () => {
      await Promise.all(servers.map((server) => server.start(false)))
      const urls = servers.map(({ url }) => url)
      await untilReady(urls, true)
    })
    return servers
  }

  get url(): string {
    return `nats://127.0.0.1:${this.port}`
  }

  /** Again on the same port, with what it had. */
  async start(isAlone = true): Promise<void> {
    const path = findNatsServer()
    if (path === undefined) throw new Error(howToInstall)
    const child = spawn(path, ['-c', this.#configPath], { stdio: ['ignore', 'ignore', 'pipe'] })
    this.#process = child
    child.stderr!.on('data', (chunk) => {
      this.#output = `${this.#output}${chunk}`.slice(-4000)
    })
    const failed = once(child, 'exit').then(() => {
      throw new Error(`nats-server ended:\n${this.#output}`)
    })
    failed.catch(() => {})
    if (isAlone) await Promise.race([untilReady([this.url], false, this.#login), failed])
  }

  /** No time to tidy anything up. */
  async kill(): Promise<void> {
    const child = this.#process
    this.#process = undefined
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }

  /** Stops answering, without a word to anybody. */
  async pause(): Promise<void> {
    const pid = this.#process?.pid
    if (pid === undefined) return
    process.kill(pid, 'SIGSTOP')
    // Each of its threads stops when it notices: until then it answers.
    if (platform() !== 'linux') await delay(100)
    else while (!isStopped(pid)) await delay(1)
  }

  resume(): void {
    this.#process?.kill('SIGCONT')
  }

  async remove(): Promise<void> {
    await this.kill()
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

/** What could not be started leaves nothing behind. */
async function startAll(servers: readonly NatsServer[], start: () => Promise<void>): Promise<void> {
  try {
    await start()
  } catch (error) {
    await Promise.all(servers.map((server) => server.remove()))
    throw error
  }
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer().listen(0, '127.0.0.1')
      await once(server, 'listening')
      return server
    }),
  )
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

/** Whether all threads of a process are (Linux, proc(5)). */
function isStopped(pid: number): boolean {
  return readdirSync(`/proc/${pid}/task`).every((threadId) => {
    const stat = readFileSync(`/proc/${pid}/task/${threadId}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')')).startsWith(') T')
  })
}

/** JetStream answers: in a cluster once it has a leader, and every server is known to it. */
async function untilReady(urls: readonly string[], isCluster: boolean, login: Login = {}): Promise<void> {
  const endMs = performance.now() + readyMsMax
  for (;;) {
    try {
      for (const url of urls) await checkReady(url, isCluster, login)
      return
    } catch (error) {
      if (performance.now() > endMs) throw error
      await delay(50)
    }
  }
}

async function checkReady(url: string, isCluster: boolean, login: Login): Promise<void> {
  const connection = await connect({ servers: url, timeout: 1000, reconnect: false, ...login })
  try {
    const manager = await jetstreamManager(connection, { timeout: 1000 })
    if (!isCluster) return
    const probe = `probe-${Math.random().toString(36).slice(2)}`
    await manager.streams.add({ name: probe, subjects: [probe], num_replicas: 3 })
    await manager.streams.delete(probe)
  } finally {
    await connection.close()
  }
}
