// The example of the README is the file examples/basic/basic.ts, and that file runs.
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import ts from 'typescript'
import { expect, it } from 'vitest'

const root = join(import.meta.dirname, '..')

it('shows the example as it stands in examples/basic', async () => {
  const readme = await readFile(join(root, 'README.md'), 'utf8')
  const example = await readFile(join(root, 'examples/basic/basic.ts'), 'utf8')
  expect(readme).toContain(`\`\`\`ts\n${example}\`\`\``)
})

it('runs the example', async () => {
  const source = await readFile(join(root, 'examples/basic/basic.ts'), 'utf8')
  const options = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 }
  const program = ts.transpileModule(source, { compilerOptions: options }).outputText
  // Inside the package, so that it finds 'mylibsql' by its name.
  const folder = await mkdtemp(join(root, 'dist', 'example-'))
  try {
    await writeFile(join(folder, 'basic.mjs'), program)
    const { stdout } = await promisify(execFile)(process.execPath, ['basic.mjs'], { cwd: folder })
    expect(stdout.split('\n')).toEqual([
      'inserted as 1 durable: false',
      'durable: true',
      '{ users: 1 }',
      "[ { name: 'Alice' }, { name: 'Bob' }, { name: 'Carol' } ]",
      '',
    ])
    expect((await readdir(join(folder, 'store'))).sort()).toEqual(['0.db', '0.log', '1.log', '2.log'])
  } finally {
    await rm(folder, { recursive: true })
  }
})
