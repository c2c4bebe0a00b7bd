/**
 * Part of `npm run build`: the JavaScript of the package, in few files; the declarations beside it are tsc's. Node.js looks
 * for each module, reads it and compiles it by itself, in each thread anew: with a file for each, importing the library and
 * starting one of its threads took twice as long.
 */
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'rolldown'

const errors = fileURLToPath(new URL('./src/protocol/errors.js', import.meta.url))

/** A procedure may import the class of errors, too: in a thread there is one of it. */
const oneErrorClass = {
  name: 'one-error-class',
  resolveId: (id) => (id.endsWith('/errors.js') ? { id: errors, external: 'relative' } : undefined),
}

/** Files of dist/`folder`, one for each module of `source` that is named, and some that they share. */
async function bundle(source, folder, names) {
  const { output } = await build({
    input: Object.fromEntries(names.map((name) => [name, `${source}/${name}.ts`])),
    platform: 'node',
    transform: { target: 'es2023' },
    // What helps older JavaScript to do what newer does is part of the bundle.
    external: [/^(?!@oxc-project\/)[@\w]/, /^\.\.\/main\//],
    resolve: { extensionAlias: { '.js': ['.ts', '.js'] } },
    plugins: source.startsWith('src/') ? [oneErrorClass] : [],
    output: {
      dir: `dist/${folder}`,
      format: 'esm',
      entryFileNames: '[name].js',
      chunkFileNames: 'shared-[name].js',
      sourcemap: true,
    },
  })
  await removeOthers(`dist/${folder}`, new Set(output.map(({ fileName }) => fileName)))
}

/** What an earlier build has left. */
async function removeOthers(folder, fileNames) {
  const found = await readdir(folder, { recursive: true })
  const others = found.filter((name) => /\.js(\.map)?$/.test(name) && !fileNames.has(name))
  await Promise.all(others.map((name) => rm(join(folder, name))))
}

// The entries of the package, and what tests look into.
await bundle('src/main', 'main', [
  'index',
  'stores/nats',
  'stores/s3',
  'task-pool',
  ...['compression', 'history', 'log-positions', 'lz4-stream', 'nats-stream'].map((name) => `stores/${name}`),
])
await bundle('src/worker', 'worker', ['actor', 'reader', 'tasks'])
await bundle('src/protocol', 'protocol', ['errors'])
await bundle('src/cli', 'cli', [
  'main',
  'follower-process',
  'tpcb-procedures',
  ...['follower', 'pacer', 'page-comparison', 'proof', 'replication-lag', 'script'],
  ...['shared-clock', 'store-proof', 'transaction-ledger'],
])
await bundle('bench', 'bench', ['parts'])
