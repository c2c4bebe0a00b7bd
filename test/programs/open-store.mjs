/** A store of any kind, from a description that fits into JSON: { kind, options }. */
import { FileStore } from '../../dist/main/index.js'

export async function openStore({ kind, options }) {
  switch (kind) {
    case 'file':
      return new FileStore(options.dir)
    case 'nats': {
      const { NatsStore } = await import('../../dist/main/stores/nats.js')
      return NatsStore.open(options)
    }
    case 's3': {
      const { S3Store } = await import('../../dist/main/stores/s3.js')
      return S3Store.open(options)
    }
    default:
      throw new TypeError(`There is no store of kind ${kind}`)
  }
}
