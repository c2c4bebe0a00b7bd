/**
 * Part of `npm run build`: the code of each kind of thread in few files. A thread that is started loads each module anew, and
 * with fifty of them that took longer than all else that it does until it is ready.
 */
import { build } from 'rolldown'

await build({
  input: ['actor', 'reader', 'tasks'].map((name) => `src/worker/${name}.ts`),
  platform: 'node',
  external: /^[^./]/,
  resolve: { extensionAlias: { '.js': ['.ts', '.js'] } },
  plugins: [
    {
      // A procedure may import the class of errors, too: in a thread there is one of it.
      name: 'one-error-class',
      resolveId: (id) =>
        id.endsWith('/errors.js') ? { id: '../protocol/errors.js', external: true } : undefined,
    },
  ],
  output: {
    dir: 'dist/worker',
    cleanDir: true,
    format: 'esm',
    entryFileNames: '[name].js',
    chunkFileNames: 'shared-[name].js',
    sourcemap: true,
  },
})
