/** A way to a server that can lose its answers, or be slow with them; what clients send arrives at once. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { onTestFinished } from 'vitest'

export class PoorLine {
  readonly #server: Server
  readonly #targetPort: number
  readonly #sockets = new Set<Socket>()
  #isDeaf = false
  #bytesPerSecond = Number.POSITIVE_INFINITY
  #freeAtMs = 0
  #byteCount = 0

  private constructor(server: Server, targetPort: number) {
    this.#server = server
    this.#targetPort = targetPort
    server.on('connection', (client) => this.#join(client))
  }

  /** Closed when the test has finished. */
  static async start(targetPort: number): Promise<PoorLine> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const proxy = new PoorLine(server, targetPort)
    onTestFinished(() => {
      server.close()
      proxy.cut()
    })
    return proxy
  }

  get url(): string {
    return `nats://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** From now on the server is heard by nobody, until the connections are cut. */
  loseAnswers(): void {
    this.#isDeaf = true
  }

  /** From now on all answers together take so long. */
  slowDown(bytesPerSecond: number): void {
    this.#bytesPerSecond = bytesPerSecond
  }

  /** Of the answers that have come. */
  get byteCount(): number {
    return this.#byteCount
  }

  /** Cuts all connections; new ones are heard again. */
  cut(): void {
    this.#isDeaf = false
    for (const socket of this.#sockets) socket.destroy()
  }

  #join(client: Socket): void {
    const upstream = connect(this.#targetPort, '127.0.0.1')
    for (const socket of [client, upstream]) {
      this.#sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        this.#sockets.delete(socket)
        client.destroy()
        upstream.destroy()
      })
    }
    client.on('data', (bytes) => upstream.write(bytes))
    upstream.on('data', async (bytes) => {
      if (this.#isDeaf) return
      upstream.pause()
      await this.#passing(bytes.length)
      client.write(bytes)
      upstream.resume()
    })
  }

  async #passing(byteLength: number): Promise<void> {
    this.#byteCount += byteLength
    this.#freeAtMs = Math.max(performance.now(), this.#freeAtMs) + (byteLength / this.#bytesPerSecond) * 1000
    const waitMs = this.#freeAtMs - performance.now()
    if (waitMs > 1) await delay(waitMs)
  }
}
