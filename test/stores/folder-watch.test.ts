import { watch as watchPath } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { FolderWatch } from '../../src/protocol/folder-watch.js'
import { temporaryFolder } from '../support/folder.js'

function watched(path: string): FolderWatch {
  const watch = new FolderWatch(watchPath, path, (name) => (/^\d+$/.test(name) ? Number(name) : undefined))
  onTestFinished(() => watch.end())
  return watch
}

async function eventOf(watch: FolderWatch): Promise<void> {
  const untilMs = performance.now() + 10_000
  while (!(await watch.wait())) expect(performance.now()).toBeLessThan(untilMs)
}

it('hears of names, and of those that came before it listened it knows nothing', async () => {
  const folder = temporaryFolder()
  await writeFile(join(folder, '3'), '')
  const watch = watched(folder)
  expect(watch.isDeaf).toBe(false)
  expect(watch.takeHeard()).toBe(Number.POSITIVE_INFINITY)
  await writeFile(join(folder, '7'), '')
  await eventOf(watch)
  expect(watch.takeHeard()).toBe(7)
  expect(watch.takeHeard()).toBe(-1)
  await writeFile(join(folder, 'notes'), '')
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(watch.takeHeard()).toBe(-1)
})

it('wakes without events where there are none, and listens as soon as it can', async () => {
  const folder = join(temporaryFolder(), 'later')
  const watch = watched(folder)
  expect(watch.isDeaf).toBe(true)
  expect(await watch.wait()).toBe(false)
  await mkdir(folder)
  await writeFile(join(folder, '1'), '')
  await watch.wait()
  expect(watch.isDeaf).toBe(false)
  expect(watch.takeHeard()).toBe(Number.POSITIVE_INFINITY)
})

it('listens again when the folder was removed and made anew', async () => {
  const folder = join(temporaryFolder(), 'folder')
  await mkdir(folder)
  const watch = watched(folder)
  await rm(folder, { recursive: true })
  await expect.poll(() => watch.isDeaf).toBe(true)
  await mkdir(folder)
  watch.takeHeard()
  await expect.poll(() => watch.wait().then(() => watch.isDeaf)).toBe(false)
  expect(watch.takeHeard()).toBe(Number.POSITIVE_INFINITY)
  await writeFile(join(folder, '5'), '')
  await eventOf(watch)
  expect(watch.takeHeard()).toBe(5)
})

it('is deaf when names are found again and again that it has not heard of', async () => {
  const folder = temporaryFolder()
  const watch = watched(folder)
  for (let find = 0; find < 3; find++) watch.foundUntold()
  expect(watch.isDeaf).toBe(true)
  await writeFile(join(folder, '1'), '')
  await eventOf(watch)
  expect(watch.isDeaf).toBe(false)
})

it('ends a wait at once', async () => {
  const watch = watched(temporaryFolder())
  const waiting = watch.wait()
  watch.end()
  watch.end()
  expect(await waiting).toBe(false)
  expect(await watch.wait()).toBe(false)
})
