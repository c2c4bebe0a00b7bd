import { fork } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { native, temporaryDirectory, thrownBy } from './addon.js'

const packageRoot = fileURLToPath(new URL('../..', import.meta.url))

test('tryLock excludes another open of the file in the same process until it is closed', () => {
  const path = join(temporaryDirectory(), 'lock')
  const [first, second] = [openSync(path, 'a'), openSync(path, 'a')]
  expect(native.tryLock(first)).toBe(true)
  expect(native.tryLock(first)).toBe(true)
  expect(native.tryLock(second)).toBe(false)
  closeSync(first)
  expect(native.tryLock(second)).toBe(true)
  closeSync(second)
  expect(thrownBy(() => native.tryLock(second))).toMatchObject({ code: 'ERR_IO', syscall: 'flock' })
})

test('tryLock excludes another process until it ends', async () => {
  const path = join(temporaryDirectory(), 'lock')
  const holder = fork(fileURLToPath(new URL('./lock-holder.mjs', import.meta.url)), [
    JSON.stringify({ packageRoot, path }),
  ])
  const [isLocked] = await once(holder, 'message')
  expect(isLocked).toBe(true)
  const fd = openSync(path, 'a')
  expect(native.tryLock(fd)).toBe(false)
  holder.send('end')
  await once(holder, 'exit')
  expect(native.tryLock(fd)).toBe(true)
  closeSync(fd)
})
