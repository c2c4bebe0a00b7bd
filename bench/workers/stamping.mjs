/** Answers each message with the time at which it was answered, on the clock that all threads share. */
import { parentPort } from 'node:worker_threads'

parentPort.on('message', () => parentPort.postMessage(process.hrtime.bigint()))
parentPort.postMessage('ready')
