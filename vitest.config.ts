import { fileURLToPath } from 'node:url'
import { configDefaults, defineConfig } from 'vitest/config'

const distOf = (file: string) => fileURLToPath(new URL(`./dist/main/${file}`, import.meta.url))

/** They wait most of the time, for servers, time limits and other processes: more of them at once take no longer. */
const waiting = [
  'database-threads',
  'examples',
  'setup',
  'stores/nats-cluster',
  'stores/nats-failures',
  'stores/nats-primary',
  'stores/nats-store',
  'stores/s3-failures',
  'task-pool',
].map((name) => `test/${name}.test.ts`)

// Tests use the built library, as a user does: a worker thread cannot start from a .ts file on Node 20.
export default defineConfig({
  resolve: {
    alias: [
      { find: /^mylibsql$/, replacement: distOf('index.js') },
      { find: /^mylibsql\/(\w+)$/, replacement: distOf('stores/$1.js') },
    ],
  },
  test: {
    pool: 'forks',
    projects: [
      {
        extends: true,
        test: { name: 'waiting', include: waiting, maxWorkers: 5, sequence: { groupOrder: 1 } },
      },
      {
        extends: true,
        test: {
          name: 'working',
          include: ['test/**/*.test.ts'],
          exclude: [...configDefaults.exclude, ...waiting],
          maxWorkers: 2,
          sequence: { groupOrder: 2 },
        },
      },
    ],
    // Many times what they take: machines of a CI may be slow, and shared.
    testTimeout: 300_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 20_000 } },
    // Node loads the built library itself: nothing in it is to be transformed, in each of a hundred files anew.
    server: { deps: { external: [/\/dist\//] } },
  },
})
