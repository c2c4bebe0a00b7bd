import { wrong } from '../arguments.js'
import type { Store } from './store.js'

const methods = ['currentEpoch', 'logs', 'readLog', 'follow', 'snapshots', 'readSnapshot'] as const

/** Anything that has the methods of a store which readers call: stores may be the application's own. */
export function checkStore(value: unknown, name: string): Store {
  const store = value as Partial<Store> | null | undefined
  const isStore =
    typeof store === 'object' && methods.every((method) => typeof store?.[method] === 'function')
  if (!isStore) throw wrong(name, 'a store, such as new FileStore(dir)', value)
  return store as Store
}
