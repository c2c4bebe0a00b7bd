/** What one would write without the library: better-sqlite3 in a worker, one message for each call and answer. */
import { Worker } from 'node:worker_threads'

export class PlainWorker {
  #worker
  /** Answers come in the order of the calls. */
  #waiting = []

  constructor(path) {
    this.#worker = new Worker(new URL('./workers/plain-sqlite.mjs', import.meta.url), {
      workerData: { path },
    })
    this.#worker.on('message', (answer) => this.#waiting.shift()(answer))
  }

  run(sql, params) {
    return this.#ask({ method: 'run', sql, params })
  }

  get(sql, params) {
    return this.#ask({ method: 'get', sql, params })
  }

  async close() {
    await this.#worker.terminate()
  }

  #ask(message) {
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
      this.#worker.postMessage(message)
    })
  }
}
