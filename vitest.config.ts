import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

// Tests use the built library, as a user does: a worker thread cannot start from a .ts file on Node 20.
export default defineConfig({
  resolve: {
    alias: { mylibsql: fileURLToPath(new URL('./dist/main/index.js', import.meta.url)) },
  },
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
})
