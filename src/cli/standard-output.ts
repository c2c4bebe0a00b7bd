/** Standard output and error whose reader may go, as `head` does when it has its lines. */

let isUnread = false

/** From then on nobody reading is no failure: what is written is dropped, and the work goes on to its end. */
export function tolerateClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error
      if (stream === process.stdout) isUnread = true
    })
  }
}

/** Whether the reader of standard output has gone: more of it is work for nobody. */
export function isOutputUnread(): boolean {
  return isUnread
}
