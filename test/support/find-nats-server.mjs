import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

export const howToInstall =
  'The NATS tests need nats-server 2.9 or later, which is not on this machine. On Debian and Ubuntu: ' +
  'apt-get install nats-server; elsewhere: https://github.com/nats-io/nats-server/releases, on the PATH, or named by ' +
  'MYLIBSQL_NATS_SERVER=/path/to/nats-server'

/** The path of nats-server; undefined: it is not on this machine. */
export function findNatsServer() {
  const named = process.env.MYLIBSQL_NATS_SERVER
  if (named !== undefined && named !== '') return named
  // Debian puts it where only root looks.
  const folders = [
    ...(process.env.PATH ?? '').split(delimiter),
    '/usr/sbin',
    '/usr/local/sbin',
    '/usr/local/bin',
  ]
  return folders.map((folder) => join(folder, 'nats-server')).find(isExecutable)
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
