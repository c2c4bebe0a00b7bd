import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, onTestFinished } from 'vitest'

/** A folder of the running test, removed when it has finished. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'mylibsql-test-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** One of the running test file, to be asked for outside of tests: for files that may outlive their test, unnoticed. */
export function folderOfFile(): string {
  const folder = mkdtempSync(join(tmpdir(), 'mylibsql-test-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
