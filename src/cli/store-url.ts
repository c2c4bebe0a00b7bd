/** Stores as users write them: `file:DIR`, `nats://HOST:PORT/NAME`, `s3://BUCKET/PREFIX`. */
import { mkdir } from 'node:fs/promises'
import { resolve } from 'node:path'
import { InvalidArgumentError } from 'commander'
import { FileStore, type FileStoreOptions, type Store } from '../main/index.js'
import { natsLogin } from './nats-login.js'

/** How the help calls them. */
export const storeText = 'file:DIR, nats://HOST:PORT/NAME or s3://BUCKET/PREFIX'

export type Compression = NonNullable<FileStoreOptions['compression']>

interface OpenOptions {
  /** One that is not there is made, a bucket apart. */
  readonly isMade: boolean
  /** Of what is stored; what is there is read whatever it is. Default: 'none'. */
  readonly compression?: Compression
}

interface StoreKind {
  readonly pattern: RegExp
  open(match: RegExpExecArray, options: Required<OpenOptions>): Promise<Store>
}

const kinds: readonly StoreKind[] = [
  {
    // As in every file URL, localhost may stand before the path; another host is refused: see hintOf.
    pattern: /^file:(?:\/\/localhost(?=\/))?(?<dir>.+)$/s,
    open: async ({ groups }, { isMade, compression }) => {
      const dir = resolve(groups!.dir!)
      // Only a folder that is there can be listed, if only to see that nothing is in it.
      if (isMade) await mkdir(dir, { recursive: true })
      return new FileStore(dir, { create: isMade, compression })
    },
  },
  {
    pattern: /^nats:\/\/(?<server>[^/@\s]+)\/(?<name>[\w-]{1,32})$/,
    open: async ({ groups }, { isMade, compression }) => {
      const packages = '@nats-io/transport-node @nats-io/jetstream @nats-io/obj'
      const { NatsStore } = await import('../main/stores/nats.js').catch(needs(packages))
      const { server, name } = groups!
      const login = await natsLogin(process.env)
      const servers = server!.split(',')
      return NatsStore.open({ ...login, servers, name: name!, create: isMade, compression })
    },
  },
  {
    pattern: /^s3:\/\/(?<bucket>[^/\s]{3,})\/(?<prefix>[^\s]+)$/,
    open: async ({ groups }, { compression }) => {
      const { S3Store } = await import('../main/stores/s3.js').catch(
        needs('@aws-sdk/client-s3 @aws-sdk/lib-storage'),
      )
      // The SDK reads it too, but what other services need besides is known only by an option.
      const endpoint = process.env.AWS_ENDPOINT_URL_S3 ?? process.env.AWS_ENDPOINT_URL
      const { bucket, prefix } = groups!
      return S3Store.open({
        bucket: bucket!,
        prefix: prefix!,
        ...(endpoint && { endpoint }),
        pollMs: s3PollMs,
        compression,
      })
    },
  },
]

/** More often than an application would pay for. */
const s3PollMs = 50

function needs(packages: string): (cause: unknown) => never {
  return (cause) => {
    throw new Error(`This store needs packages, which are installed by: npm install ${packages}`, { cause })
  }
}

/** What is wrong with a URL that looks right. */
function hintOf(url: string): string | undefined {
  const path = /^file:\/\/(?!localhost\/)(?<path>[^/].*)$/s.exec(url)?.groups?.path
  if (path !== undefined) {
    return `"${path.split('/')[0]}" would be the name of a machine: did you mean file:${path}, or file:///${path}?`
  }
  if (/^s3:\/\/[^/\s]{1,2}\/\S+$/.test(url)) return 'Names of buckets have 3 to 63 characters.'
  return undefined
}

/** For an option: the URL itself, when a store can be opened by it. */
export function storeUrl(url: string): string {
  const hint = hintOf(url)
  if (hint !== undefined) throw new InvalidArgumentError(hint)
  if (kinds.some(({ pattern }) => pattern.test(url))) return url
  throw new InvalidArgumentError(
    'It must be file:DIR, nats://HOST:PORT/NAME with a name of letters, digits, "-" and "_", 32 at most, ' +
      'or s3://BUCKET/PREFIX.',
  )
}

/** Of one that `storeUrl` has let pass. */
export async function openStore(url: string, { isMade, compression = 'none' }: OpenOptions): Promise<Store> {
  for (const { pattern, open } of kinds) {
    const match = pattern.exec(url)
    if (match !== null) return open(match, { isMade, compression })
  }
  throw new Error(`${url} is no store`)
}
