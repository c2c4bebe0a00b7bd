/** How the commands log in to NATS: by the variables that the `nats` command of the NATS project reads. */
import { readFile } from 'node:fs/promises'
import type { NatsStoreOptions } from '../main/stores/nats.js'
import { UsageError } from './usage-error.js'

type Login = Pick<NatsStoreOptions, 'user' | 'pass' | 'token' | 'authenticator'>

/** Throws UsageError. */
export async function natsLogin(environment: NodeJS.ProcessEnv): Promise<Login> {
  const { NATS_USER: user, NATS_PASSWORD: pass, NATS_TOKEN: token, NATS_CREDS: credsPath } = environment
  if (credsPath) {
    const creds = await readFile(credsPath).catch((cause: Error) => {
      throw new UsageError(`NATS_CREDS names a file that cannot be read: ${cause.message}`, { cause })
    })
    const { credsAuthenticator } = await import('@nats-io/transport-node')
    return { authenticator: credsAuthenticator(creds) }
  }
  if (token) return { token }
  return user ? { user, pass: pass ?? '' } : {}
}
