import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const distOf = (file: string) => fileURLToPath(new URL(`./dist/main/${file}`, import.meta.url))

// Tests use the built library, as a user does: a worker thread cannot start from a .ts file on Node 20.
export default defineConfig({
  resolve: {
    alias: [
      { find: /^mylibsql$/, replacement: distOf('index.js') },
      { find: /^mylibsql\/(\w+)$/, replacement: distOf('stores/$1.js') },
    ],
  },
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    // Many times what they take: machines of a CI may be slow, and shared.
    testTimeout: 300_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 20_000 } },
    // Node loads the built library itself: nothing in it is to be transformed, in each of a hundred files anew.
    server: { deps: { external: [/\/dist\//] } },
  },
})
