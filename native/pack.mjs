/**
 * Puts the compiled addon where node-gyp-build looks for shipped binaries, named by platform and C library, so that an
 * installed package needs no compiler. Run by `npm pack` and `npm publish`.
 */
import { copyFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const folder = join(root, 'prebuilds', `${process.platform}-${process.arch}`)
const isGlibc = process.report.getReport().header.glibcVersionRuntime !== undefined
const library = process.platform === 'linux' ? (isGlibc ? '.glibc' : '.musl') : ''
mkdirSync(folder, { recursive: true })
copyFileSync(join(root, 'build/Release/mylibsql.node'), join(folder, `mylibsql.napi${library}.node`))
