/** Sizes for people, in units of 10^3. */

/** Below it a size is told in kB, which megabytes would make a zero, or too round. */
const megabytesMin = 10e6

export function byteSize(byteCount: number): string {
  if (byteCount < megabytesMin) return `${kilobytes(byteCount)} kB`
  return `${Math.round(byteCount / 1e6).toLocaleString('en')} MB`
}

/** Rounded up: what is not empty is not 0 kB. */
export function kilobytes(byteCount: number): string {
  return Math.ceil(byteCount / 1000).toLocaleString('en')
}
