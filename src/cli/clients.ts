/** The clients of a load: each runs one transaction after the other until time is up, or the control says stop. */
import type { Ack } from '../main/index.js'
import type { Measurements } from './measurements.js'
import type { LoadOptions } from './options.js'
import { Pacer } from './pacer.js'
import type { RunControl } from './run-control.js'
import type { TransactionLedger } from './transaction-ledger.js'
import type { LoadPrimary, Workload } from './workload.js'

export interface ClientParts {
  readonly options: Pick<LoadOptions, 'seconds' | 'warmUp' | 'clients' | 'rate'>
  readonly workload: Workload
  readonly primary: LoadPrimary
  readonly control: RunControl
  readonly measurements: Measurements
  readonly ledger: TransactionLedger
}

/** Resolves when all have stopped. Never rejects: what fails is told to the control. */
export async function runClients(parts: ClientParts): Promise<void> {
  const { options, control, measurements } = parts
  const { seconds, warmUp, clients, rate } = options
  const timers = [setTimeout(() => control.stop('time'), seconds * 1000)]
  if (warmUp > 0) timers.push(setTimeout(() => measurements.warmedUp(), warmUp * 1000))
  const pacer = rate === undefined ? undefined : new Pacer(rate, control.signal)
  await Promise.all(Array.from({ length: clients }, () => runTransactions(parts, pacer)))
  for (const timer of timers) clearTimeout(timer)
}

/** One client: the next transaction begins when the last one is executed, durable or not. */
async function runTransactions(parts: ClientParts, pacer: Pacer | undefined): Promise<void> {
  const { workload, primary, control, measurements, ledger } = parts
  while (!control.isStopped) {
    if (pacer !== undefined) {
      await pacer.turn()
      if (control.isStopped) return
    }
    const id = ledger.next()
    const startedAtMs = performance.now()
    try {
      const ack = await workload.execute(primary, id)
      measurements.executed(startedAtMs, performance.now(), ack.frameNo)
      ledger.executed()
      awaitDurable(parts, ack, id, startedAtMs)
    } catch (cause) {
      control.fail(new Error(`Transaction ${id} failed`, { cause }))
    }
  }
}

function awaitDurable(
  { control, measurements, ledger }: ClientParts,
  ack: Ack<unknown>,
  id: number,
  startedAtMs: number,
): void {
  ack.durable().then(() => {
    measurements.durable(startedAtMs)
    ledger.durable(id)
  }, control.fail)
}
