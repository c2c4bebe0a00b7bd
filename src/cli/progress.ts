/** Progress of long work on stderr: a bar in place on a terminal, a line each second elsewhere. */
import { SingleBar } from 'cli-progress'

export interface Progress {
  update(done: number, text: string, total?: number): void
  stop(): void
}

export type StartProgress = (title: string, total: number) => Progress

const lineMs = 1000

export const startProgress: StartProgress = (title, total) => {
  const isTerminal = process.stderr.isTTY === true
  const bar = new SingleBar({
    stream: process.stderr,
    format: isTerminal ? `${title} [{bar}] {text}` : `${title}: {text}`,
    barsize: 24,
    hideCursor: true,
    // Elsewhere it would leave an empty line.
    clearOnComplete: !isTerminal,
    noTTYOutput: true,
    notTTYSchedule: lineMs,
    // Ctrl-C is the load's: it goes on to the proof.
    gracefulExit: false,
  })
  bar.start(total, 0, { text: 'starting' })
  return {
    update(done, text, newTotal) {
      if (newTotal !== undefined) bar.setTotal(newTotal)
      bar.update(done, { text })
    },
    stop: () => bar.stop(),
  }
}
