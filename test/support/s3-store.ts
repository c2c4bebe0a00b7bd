/**
 * An S3Store for a test, and what somebody else does to its objects. With MYLIBSQL_S3_ENDPOINT (or MYLIBSQL_S3_BUCKET
 * alone, for Amazon's) it is in a real service: bucket MYLIBSQL_S3_BUCKET, credentials and region as the AWS variables say.
 */
import { randomUUID } from 'node:crypto'
import {
  DeleteObjectsCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import { S3Store, type S3StoreOptions } from 'mylibsql/s3'
import { onTestFinished } from 'vitest'
import type { StoreUnderTest } from '../stores/contract.js'
import { accessKeyId, type S3Server, secretAccessKey } from './s3-server.js'

const { MYLIBSQL_S3_ENDPOINT: realEndpoint, MYLIBSQL_S3_BUCKET: realBucket } = process.env
export const isRealService = realEndpoint !== undefined || realBucket !== undefined

/** How to reach the server of the tests. */
export function serverOptions(server: S3Server) {
  return {
    bucket: 'tests',
    endpoint: server.endpoint,
    region: 'us-east-1',
    credentials: { accessKeyId, secretAccessKey },
    create: true,
    pollMs: 20,
    timeoutMs: 5000,
  } satisfies S3StoreOptions
}

/** A prefix that no other test has. */
export function prefix(): string {
  return `test/${randomUUID()}`
}

/** Closed when the test has finished. */
export async function openS3Store(server: S3Server, options: Partial<S3StoreOptions> = {}): Promise<S3Store> {
  const store = await S3Store.open({ ...serverOptions(server), prefix: prefix(), ...options })
  onTestFinished(() => store.close())
  return store
}

export async function s3StoreUnderTest(
  server: S3Server,
  compression: 'none' | 'deflate',
): Promise<StoreUnderTest> {
  const real = {
    bucket: realBucket ?? 'mylibsql-tests',
    ...(realEndpoint === undefined ? {} : { endpoint: realEndpoint, forcePathStyle: true }),
  }
  const options = { ...(isRealService ? real : serverOptions(server)), prefix: prefix(), create: true }
  const open = () => S3Store.open({ ...options, compression, pollMs: 20 })
  const { bucket: Bucket, prefix: Prefix } = options
  const client = isRealService
    ? new S3Client(realEndpoint === undefined ? {} : { endpoint: realEndpoint, forcePathStyle: true })
    : new S3Client({ ...serverOptions(server), forcePathStyle: true })
  onTestFinished(async () => {
    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket, Prefix }))
    const Objects = Contents.map(({ Key }) => ({ Key }))
    if (isRealService && Objects.length > 0)
      await client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }))
    client.destroy()
  })
  return {
    store: await open(),
    reopen: open,
    async overwrite(Key, Body) {
      await client.send(new PutObjectCommand({ Bucket, Key, Body }))
    },
    async bytesOf(Key) {
      const { Body } = await client.send(new GetObjectCommand({ Bucket, Key }))
      return Body!.transformToByteArray()
    },
  }
}
