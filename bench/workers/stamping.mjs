/** For each message commits a row and posts when that was, on the clock that all threads share: just before the commit. */
import { parentPort, workerData } from 'node:worker_threads'
import { openPlain } from '../databases.mjs'
import { stamp } from './procedures.mjs'

const connection = openPlain(workerData.path)
const stampAndCommit = connection.transaction(() => stamp(connection))

parentPort.on('message', () => parentPort.postMessage(stampAndCommit()))
parentPort.postMessage('ready')
