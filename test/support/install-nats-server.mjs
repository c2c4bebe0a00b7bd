/**
 * Before the tests: the NATS tests need nats-server, of which Debian and Ubuntu have a package. Installs it when it is not
 * there and this is root on such a system, and otherwise says how. Never fails: the tests that need it do, and say so.
 */
import { spawnSync } from 'node:child_process'
import { findNatsServer, howToInstall } from './find-nats-server.mjs'

const isRoot = process.getuid?.() === 0
const hasApt = spawnSync('apt-get', ['--version']).status === 0

if (findNatsServer() === undefined) {
  if (isRoot && hasApt) {
    console.log('Installing nats-server, which the NATS tests need (apt-get)')
    // The package would start a server of its own; run level 1 keeps it from doing so.
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' }
    for (const command of [
      ['update', '-q'],
      ['install', '-q', '-y', '--no-install-recommends', 'nats-server'],
    ]) {
      const { status, stdout, stderr } = spawnSync('apt-get', command, { env, encoding: 'utf8' })
      if (status !== 0) console.error(`apt-get ${command.join(' ')} failed:\n${stdout}${stderr}`)
    }
  }
  if (findNatsServer() === undefined) console.error(howToInstall)
}
