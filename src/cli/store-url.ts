/** Stores as users write them: `file:DIR`, `nats://HOST:PORT/NAME`. */
import { mkdir } from 'node:fs/promises'
import { resolve } from 'node:path'
import { InvalidArgumentError } from 'commander'
import { FileStore, type Store } from '../main/index.js'

interface StoreKind {
  readonly pattern: RegExp
  /** Opens it; a new one is made. */
  open(match: RegExpExecArray): Promise<Store>
}

const kinds: readonly StoreKind[] = [
  {
    pattern: /^file:(?<dir>.+)$/s,
    open: async ({ groups }) => {
      const dir = resolve(groups!.dir!)
      // Only a folder that is there can be listed, if only to see that nothing is in it.
      await mkdir(dir, { recursive: true })
      return new FileStore(dir)
    },
  },
  {
    pattern: /^nats:\/\/(?<server>[^/@\s]+)\/(?<name>[\w-]{1,32})$/,
    open: async ({ groups }) => {
      const { NatsStore } = await import('../main/stores/nats.js').catch((cause) => {
        const packages = '@nats-io/transport-node @nats-io/jetstream @nats-io/obj'
        throw new Error(`nats:// needs packages that are not installed: npm install ${packages}`, { cause })
      })
      return NatsStore.open({ servers: groups!.server!, name: groups!.name!, create: true })
    },
  },
]

/** For an option: the URL itself, when a store can be opened by it. */
export function storeUrl(url: string): string {
  if (kinds.some(({ pattern }) => pattern.test(url))) return url
  throw new InvalidArgumentError(
    'It must be file:DIR, or nats://HOST:PORT/NAME with a name of letters, digits, "-" and "_", 32 at most.',
  )
}

/** Of one that `storeUrl` has let pass. */
export async function openStore(url: string): Promise<Store> {
  for (const { pattern, open } of kinds) {
    const match = pattern.exec(url)
    if (match !== null) return open(match)
  }
  throw new Error(`${url} is no store`)
}
