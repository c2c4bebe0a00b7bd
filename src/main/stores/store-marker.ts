/** What says that a folder or a prefix is a store, and of which version its layout is: a small JSON file. */
import { MylibsqlError } from '../../protocol/errors.js'

export const markerName = 'mylibsql-store.json'
const marker = { format: 'mylibsql-store', version: 1 }

export function markerBytes(): Uint8Array {
  return Buffer.from(`${JSON.stringify(marker)}\n`)
}

/** Throws ERR_STORE for what is no marker, ERR_VERSION for one of another version. */
export function checkMarker(text: string, path: string): void {
  const found = parsed(text)
  if (found?.format !== marker.format) {
    throw new MylibsqlError('ERR_STORE', `${path} is not of mylibsql: this is no store`, { path })
  }
  if (found.version !== marker.version) {
    const message = `${path}: a store of version ${found.version}, this release knows ${marker.version}`
    const details = { path, expected: marker.version, actual: Number(found.version) }
    throw new MylibsqlError('ERR_VERSION', message, details)
  }
}

function parsed(text: string): { format?: unknown; version?: unknown } | undefined {
  try {
    return JSON.parse(text) ?? undefined
  } catch {
    return undefined
  }
}
