// The examples of the README are files of examples/, and those files run.
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '..')

const examples = [
  {
    example: 'basic/basic.ts',
    output: [
      'inserted as 1 durable: false',
      'durable: true',
      '{ users: 1 }',
      "[ { name: 'Alice' }, { name: 'Bob' }, { name: 'Carol' } ]",
    ],
    folder: 'store',
    files: ['0.db', '0.log', '1.log', '2.log'],
  },
  {
    example: 'stores/stores.ts',
    output: ["[ { name: 'Alice' }, { name: 'Bob' } ]", '{ snapshotCount: 0, logCount: 0, byteCount: 0 }'],
    again: [
      '[',
      ...["  { name: 'Alice' },", "  { name: 'Bob' },", "  { name: 'Alice' },", "  { name: 'Bob' }"],
      ']',
      '{ snapshotCount: 0, logCount: 0, byteCount: 0 }',
    ],
    folder: 'history',
    files: ['ends', 'epochs', 'logs', 'mylibsql-store.json', 'snapshots', 'tmp'],
  },
]

describe.each(examples)('examples/$example', ({ example, output, again, folder, files }) => {
  it('is shown as it stands', async () => {
    const readme = await readFile(join(root, 'README.md'), 'utf8')
    const source = await readFile(join(root, 'examples', example), 'utf8')
    expect(readme).toContain(`\`\`\`ts\n${source}\`\`\``)
  })

  it('runs', async () => {
    const source = await readFile(join(root, 'examples', example), 'utf8')
    const options = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 }
    const program = ts.transpileModule(source, { compilerOptions: options }).outputText
    // Inside the package, so that it finds 'mylibsql' by its name.
    const directory = await mkdtemp(join(root, 'dist', 'example-'))
    try {
      await writeFile(join(directory, 'example.mjs'), program)
      const run = async () => {
        const { stdout } = await promisify(execFile)(process.execPath, ['example.mjs'], { cwd: directory })
        return stdout.trimEnd().split('\n')
      }
      expect(await run()).toEqual(output)
      if (again !== undefined) expect(await run()).toEqual(again)
      expect((await readdir(join(directory, folder))).sort()).toEqual(files)
    } finally {
      await rm(directory, { recursive: true })
    }
  })
})
