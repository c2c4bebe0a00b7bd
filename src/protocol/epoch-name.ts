/** Names of epochs in stores that keep each one under a name: zero-padded, so that they sort by number. */

const digits = 16
const pattern = /^\d{16}$/

export const epochName = (epoch: number) => String(epoch).padStart(digits, '0')

/** Undefined: the object is no epoch. */
export function epochOf(name: string): number | undefined {
  return pattern.test(name) && Number.isSafeInteger(Number(name)) ? Number(name) : undefined
}

/** 0 when there is none. */
export function newestEpoch(names: readonly string[]): number {
  return names.reduce((newest, name) => Math.max(newest, epochOf(name) ?? 0), 0)
}
