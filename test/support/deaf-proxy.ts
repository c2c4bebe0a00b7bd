/** A proxy before a server that can lose answers: what clients send arrives, what the server says to it does not. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'

export class DeafProxy {
  readonly #server: Server
  readonly #targetPort: number
  readonly #sockets = new Set<Socket>()
  #isDeaf = false

  private constructor(server: Server, targetPort: number) {
    this.#server = server
    this.#targetPort = targetPort
    server.on('connection', (client) => this.#join(client))
  }

  /** Closed when the test has finished. */
  static async start(targetPort: number): Promise<DeafProxy> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const proxy = new DeafProxy(server, targetPort)
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
    upstream.on('data', (bytes) => {
      if (!this.#isDeaf) client.write(bytes)
    })
  }
}
