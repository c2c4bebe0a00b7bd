import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const linesMax = 400

interface Import {
  /** File that imports, from the root: src/main/primary.ts. */
  readonly from: string
  /** File that is imported, or the name of a package or of a module of Node. */
  readonly to: string
  readonly isTypeOnly: boolean
}

function filesOf(folder: string, pattern: RegExp): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => pattern.test(name))
    .map((name) => join(folder, name))
    .sort()
}

/** Every import of a file: static ones, re-exports, dynamic ones and import types. */
function importsOf(file: string): Import[] {
  // Comments may hold examples.
  const source = readFileSync(join(root, file), 'utf8').replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '')
  const statements = /^(import|export)\s+(type\s)?([^'"`;]*?\sfrom\s+)?['"]([^'"]+)['"]/gm
  const imports: Import[] = []
  for (const [, keyword, typeOnly, names, specifier] of source.matchAll(statements)) {
    if (keyword === 'export' && names === undefined) continue
    imports.push({ from: file, to: target(file, specifier!), isTypeOnly: typeOnly !== undefined })
  }
  for (const [, specifier] of source.matchAll(/\bimport\(\s*['"]([^'"]+)['"]\s*\)/g)) {
    imports.push({ from: file, to: target(file, specifier!), isTypeOnly: true })
  }
  return imports
}

function target(file: string, specifier: string): string {
  if (!specifier.startsWith('.')) return specifier
  return relative(root, resolve(root, dirname(file), specifier)).replace(/\.js$/, '.ts')
}

const sources = filesOf('src', /\.ts$/)
const imports = sources.flatMap(importsOf)
const importsFrom = (folder: string) => imports.filter(({ from }) => from.startsWith(`src/${folder}/`))
const described = ({ from, to }: Import) => `${from} -> ${to}`
/** Those that break the rule, for a message that names them. */
const breaking = (list: Import[], isAllowed: (one: Import) => boolean) =>
  list.filter((one) => !isAllowed(one)).map(described)

it('finds the imports there are', () => {
  expect(sources.length).toBeGreaterThan(50)
  expect(imports.map(described)).toContain('src/main/primary.ts -> src/main/ack.ts')
  expect(imports.map(described)).toContain('src/worker/actor.ts -> src/protocol/errors.ts')
  expect(
    imports.find(({ from, to }) => from === 'src/main/init.ts' && to === 'src/main/connection.ts')
      ?.isTypeOnly,
  ).toBe(true)
  for (const { from, to } of imports) {
    if (to.startsWith('src/') && !to.endsWith('.d.ts')) expect(sources, `${from} -> ${to}`).toContain(to)
  }
})

describe('imports run one way: main -> protocol <- worker -> native', () => {
  it('main reaches workers by URL only', () => {
    expect(breaking(importsFrom('main'), ({ to }) => !/^src\/(worker|cli)\//.test(to))).toEqual([])
    expect(readFileSync(join(root, 'src/main/database-threads.ts'), 'utf8')).toContain('new URL(`../worker/')
  })

  it('workers do not import main', () => {
    expect(breaking(importsFrom('worker'), ({ to }) => !/^src\/(main|cli)\//.test(to))).toEqual([])
  })

  it('protocol is pure: nothing but itself', () => {
    const isPure = ({ to, isTypeOnly }: Import) =>
      to.startsWith('src/protocol/') || to === 'comlink' || (isTypeOnly && to.startsWith('node:'))
    expect(breaking(importsFrom('protocol'), isPure)).toEqual([])
  })

  it('the command line uses the public API only', () => {
    const inLibrary = importsFrom('cli').filter(
      ({ to }) => to.startsWith('src/') && !to.startsWith('src/cli/'),
    )
    const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
    const entries = Object.values<{ default?: string }>(exports).map((entry) =>
      entry.default?.replace(/^\.\/dist\/(.*)\.js$/, 'src/$1.ts'),
    )
    expect(entries).toContain('src/main/index.ts')
    expect(breaking(inLibrary, ({ to }) => entries.includes(to))).toEqual([])
    expect(inLibrary.length).toBeGreaterThan(0)
  })

  it('the addon is loaded by one file', () => {
    const loaders = sources.filter((file) =>
      readFileSync(join(root, file), 'utf8').includes("'node-gyp-build'"),
    )
    expect(loaders).toEqual(['src/worker/native.ts'])
    const users = imports.filter(({ to }) => to === 'src/worker/native.ts')
    expect(breaking(users, ({ from }) => from.startsWith('src/worker/'))).toEqual([])
  })

  it('the C++ sources include no file of another folder', () => {
    const includes = filesOf('native', /\.(cc|h)$/).flatMap((file) =>
      [...readFileSync(join(root, file), 'utf8').matchAll(/^#include "([^"]+)"/gm)].map((match) => match[1]!),
    )
    expect(includes.length).toBeGreaterThan(20)
    expect(includes.filter((name) => name.includes('/'))).toEqual([])
  })
})

it('no module imports itself in a circle, type-only imports excepted', () => {
  const graph = new Map<string, string[]>(sources.map((file) => [file, []]))
  for (const { from, to, isTypeOnly } of imports) {
    // Types are gone when the program runs: what is in a circle then is what may be used before it is there.
    if (!isTypeOnly && graph.has(to)) graph.get(from)!.push(to)
  }
  const state = new Map<string, 'open' | 'done'>()
  const circles: string[] = []
  const visit = (file: string, path: readonly string[]): void => {
    if (state.get(file) === 'done') return
    if (state.get(file) === 'open') {
      circles.push([...path.slice(path.indexOf(file)), file].join(' -> '))
      return
    }
    state.set(file, 'open')
    for (const next of graph.get(file)!) visit(next, [...path, file])
    state.set(file, 'done')
  }
  for (const file of sources) visit(file, [])
  expect(circles).toEqual([])
})

it(`no file of src/ or native/ has more than ${linesMax} lines`, () => {
  const long = [...sources, ...filesOf('native', /\.(cc|h)$/)]
    .map((file) => ({ file, lines: readFileSync(join(root, file), 'utf8').split('\n').length - 1 }))
    .filter(({ lines }) => lines > linesMax)
  expect(long).toEqual([])
})

it('types are not circumvented', () => {
  const banned = /@ts-(ignore|nocheck|expect-error)|\bas any\b|:\s*any\b|<any>/
  const found = sources.filter((file) => banned.test(readFileSync(join(root, file), 'utf8')))
  expect(found).toEqual([])
})
