/** A folder for what the load needs only while it runs. */
import { rmSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Makes it. It is removed when the process exits, however that comes about short of a kill. */
export async function makeScratchFolder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'load-mylibsql-'))
  process.on('exit', () => rmSync(path, { recursive: true, force: true }))
  return path
}
