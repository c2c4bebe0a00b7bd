import { expect, it } from 'vitest'
import { LogOpener } from '../../src/main/stores/log-opener.js'
import type { LogFile, LogLocation } from '../../src/protocol/log-format.js'

/** An opener whose thread answers when the test says so; `asked` is what it was asked for, each time. */
function openerOfTest() {
  const asked: (readonly LogLocation[])[] = []
  const answers: { resolve(files: (LogFile | undefined)[]): void; reject(error: Error): void }[] = []
  const opener = new LogOpener((locations) => {
    asked.push(locations)
    return new Promise((resolve, reject) => answers.push({ resolve, reject }))
  })
  return { asked, answers, open: (path: string) => opener.open({ path }) }
}

const pathsOf = (locations: readonly LogLocation[] | undefined) =>
  locations?.map((location) => ('path' in location ? location.path : ''))

it('opens all that wait at once, and those that come meanwhile after that', async () => {
  const { asked, answers, open } = openerOfTest()
  const first = ['a', 'b', 'c'].map(open)
  await Promise.resolve()
  expect(asked.map(pathsOf)).toEqual([['a', 'b', 'c']])
  const second = ['d', 'e'].map(open)
  await Promise.resolve()
  expect(asked).toHaveLength(1)
  answers[0]!.resolve([undefined, undefined, undefined])
  expect(await Promise.all(first)).toEqual([undefined, undefined, undefined])
  expect(asked.map(pathsOf)).toEqual([
    ['a', 'b', 'c'],
    ['d', 'e'],
  ])
  answers[1]!.resolve([undefined, undefined])
  expect(await Promise.all(second)).toEqual([undefined, undefined])
})

it('tells all that a dead thread was opening, and opens what comes then', async () => {
  const { asked, answers, open } = openerOfTest()
  const first = ['a', 'b'].map((path) => open(path).catch(({ message }) => message))
  await Promise.resolve()
  const second = open('c')
  answers[0]!.reject(new Error('the thread has died'))
  expect(await Promise.all(first)).toEqual(['the thread has died', 'the thread has died'])
  expect(pathsOf(asked[1])).toEqual(['c'])
  answers[1]!.resolve([undefined])
  expect(await second).toBeUndefined()
  const third = open('d')
  await Promise.resolve()
  answers[2]!.resolve([undefined])
  expect(await third).toBeUndefined()
})
