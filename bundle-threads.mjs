/**
 * Part of `npm run build`: the code of each kind of thread in few files. A thread that is started loads each module anew, and
 * with fifty of them that took longer than all else that it does until it is ready.
 */
import { build } from 'rolldown'

/** Files of dist/`folder`, one for each of `input` and some that they share. */
async function bundle(input, folder) {
  await build({
    input,
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
      dir: `dist/${folder}`,
      cleanDir: true,
      format: 'esm',
      entryFileNames: '[name].js',
      chunkFileNames: 'shared-[name].js',
      sourcemap: true,
    },
  })
}

await bundle(['src/worker/actor.ts', 'src/worker/reader.ts', 'src/worker/tasks.ts'], 'worker')
await bundle(['bench/parts.ts'], 'bench')
