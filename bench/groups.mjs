/** All benchmarks, in the order in which they are run. A process loads the group that it measures, and no other. */
export const groups = [
  () => import('./native.mjs'),
  () => import('./capture.mjs'),
  () => import('./writes.mjs'),
  () => import('./durability.mjs'),
  () => import('./stores.mjs'),
  () => import('./nats.mjs'),
  () => import('./reads.mjs'),
  () => import('./stream.mjs'),
  () => import('./opening.mjs'),
  () => import('./replicas.mjs'),
  () => import('./pauses.mjs'),
  () => import('./growth.mjs'),
  () => import('./peers.mjs'),
]
