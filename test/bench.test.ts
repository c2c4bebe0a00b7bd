/** The benchmarks run, and tell what they have measured. How much that is, is not for a test. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

it('npm run bench measures parts and the whole, each beside its reference', async () => {
  const args = [
    '--expose-gc',
    'bench/run.mjs',
    '--quick',
    '--json',
    '--rounds',
    '1',
    '--only',
    'native.read,capture.1,write.c64',
  ]
  const { stdout } = await promisify(execFile)(process.execPath, args)
  const lines = stdout
    .trim()
    .split('\n')
    .filter((line) => line.startsWith('{'))
  const measured = lines.map((line) => JSON.parse(line))
  expect(measured.map(({ name }) => name)).toEqual(['native.read', 'capture.1', 'write.c64'])
  for (const each of measured) {
    expect(each).toMatchObject({
      unit: expect.any(String),
      reference: expect.any(String),
      goal: expect.anything(),
    })
    expect(each.ratio).toBeCloseTo(each.value / each.referenceValue, 5)
  }
})
