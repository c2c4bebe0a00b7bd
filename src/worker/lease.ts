/** The writing connection, lent to one caller: it runs statements until it gives the connection back, or is idle for too long. */
import { MylibsqlError } from '../protocol/errors.js'
import type { SessionReply, SessionStatement } from '../protocol/wire.js'
import { type Session, transactionEnded } from './session.js'
import { sharedNowMs } from './thread-times.js'
import type { WriteHold } from './write-hold.js'
import type { Writer } from './writer.js'

interface Lent {
  readonly leaseId: number
  /** Inside a transaction, which its owner begins and ends. */
  readonly isTransaction: boolean
  /** Of the cancel table. */
  readonly slot: number
}

interface Waiter {
  readonly askedAtMs: number
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

export class Lease {
  readonly leaseId: number
  readonly slot: number
  readonly #isTransaction: boolean
  readonly #session: Session
  readonly #idleTimer: NodeJS.Timeout
  /** Statements that wait because a limit holds writers: the caller is not idle then. */
  #held: Waiter[] = []
  #hasEnded = false

  /** `expired` is called with ERR_TIMEOUT when no statement was asked for in `idleTimeoutMs`. */
  constructor(
    { leaseId, isTransaction, slot }: Lent,
    session: Session,
    idleTimeoutMs: number,
    expired: (error: MylibsqlError) => void,
  ) {
    this.leaseId = leaseId
    this.slot = slot
    this.#isTransaction = isTransaction
    this.#session = session
    this.#idleTimer = setTimeout(() => {
      if (this.#held.length > 0) this.#idleTimer.refresh()
      else expired(idle(idleTimeoutMs))
    }, idleTimeoutMs)
  }

  /** Throws what the statement throws, ERR_REFUSED, ERR_BUSY, ERR_CLOSED when the lease has ended. */
  async execute(statement: SessionStatement, hold: WriteHold): Promise<SessionReply> {
    this.#idleTimer.refresh()
    const askedAtMs = sharedNowMs()
    // A transaction that has begun is not held: others would wait for its end.
    while (!this.#session.isInTransaction && this.#session.writes(statement) && hold.isHeld(askedAtMs)) {
      await new Promise<void>((resolve, reject) => this.#held.push({ askedAtMs, resolve, reject }))
      if (this.#hasEnded) throw leaseEnded()
      this.#idleTimer.refresh()
    }
    try {
      return this.#session.execute(statement)
    } finally {
      // However long that took: the timer would be due before the next statement can be received.
      if (!this.#hasEnded) this.#idleTimer.refresh()
    }
  }

  /**
   * Throws ERR_TRANSACTION_OPEN when the caller left a transaction open, ERR_REFUSED when the one it was given has ended,
   * and what the commit throws.
   */
  commit(writer: Writer): void {
    this.#session.endIterations()
    const isOpen = this.#session.isInTransaction
    if (this.#isTransaction && isOpen) writer.commit()
    else if (this.#isTransaction) throw transactionEnded()
    else if (isOpen) throw transactionOpen()
  }

  rollback(writer: Writer): void {
    this.#session.endIterations()
    writer.rollback()
  }

  /** Writers are held no more. */
  wake(hold: WriteHold): void {
    if (this.#held.length === 0 || hold.isHeld(this.#held[0]!.askedAtMs)) return
    for (const { resolve } of this.#held.splice(0)) resolve()
  }

  /** Those that have been held for too long fail. */
  refuseHeld(error: unknown, isLate: (askedAtMs: number) => boolean): void {
    const held = this.#held
    this.#held = held.filter(({ askedAtMs }) => !isLate(askedAtMs))
    for (const { askedAtMs, reject } of held) if (isLate(askedAtMs)) reject(error)
  }

  end(): void {
    clearTimeout(this.#idleTimer)
    this.#session.endIterations()
    this.#hasEnded = true
    this.refuseHeld(leaseEnded(), () => true)
  }
}

export function leaseEnded(): MylibsqlError {
  return new MylibsqlError('ERR_CLOSED', 'This connection was given back: it works only inside its callback')
}

function idle(idleTimeoutMs: number): MylibsqlError {
  const message =
    `The connection was held for ${idleTimeoutMs} ms without a statement, so its transaction was rolled back ` +
    'and the connection taken back (option idleTimeoutMs)'
  return new MylibsqlError('ERR_TIMEOUT', message)
}

function transactionOpen(): MylibsqlError {
  const message =
    'withConnection() ended with a transaction open, so it was rolled back. End it with COMMIT or ROLLBACK, or use transaction()'
  return new MylibsqlError('ERR_TRANSACTION_OPEN', message)
}
