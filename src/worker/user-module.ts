/** Modules of the application, which a thread imports by itself. */
import { existsSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type ErrorCode, MylibsqlError } from '../protocol/errors.js'
import { moduleTimeoutMs } from '../protocol/limits.js'

/** `what` names it in the error, which has `code` and the cause. */
export async function importModule(
  url: string,
  what: string,
  code: ErrorCode,
): Promise<Readonly<Record<string, unknown>>> {
  const late = new AbortController()
  try {
    return (await Promise.race([import(url), tooLate(late.signal)])) as Record<string, unknown>
  } catch (cause) {
    const message = `Cannot import ${what} from ${url}: ${reasonOf(cause)}${hintOf(cause, url)}`
    throw new MylibsqlError(code, message, {}, { cause })
  } finally {
    late.abort()
  }
}

async function tooLate(signal: AbortSignal): Promise<never> {
  await delay(moduleTimeoutMs, undefined, { signal })
  throw new Error(`it has not been loaded in ${moduleTimeoutMs} ms: what does it await at its top?`)
}

export function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}

/** What was not to be asynchronous. What it rejects with is nobody's: the call has failed by then. */
export function isPromise(result: unknown): boolean {
  if (typeof (result as { then?: unknown } | null | undefined)?.then !== 'function') return false
  Promise.resolve(result).catch(() => {})
  return true
}

/** A thread has none of the loaders of the main thread, and Node.js strips no types before 22.18. */
function hintOf(cause: unknown, url: string): string {
  const { code } = (cause ?? {}) as { code?: unknown }
  if (code === 'ERR_UNKNOWN_FILE_EXTENSION') return '. Give the URL of the compiled file'
  const source = code === 'ERR_MODULE_NOT_FOUND' ? url.replace(/\.([cm]?)js$/, '.$1ts') : url
  const isNotCompiled = source !== url && existsSync(new URL(source))
  return isNotCompiled ? `. There is ${fileURLToPath(source)}, which is not compiled yet` : ''
}
