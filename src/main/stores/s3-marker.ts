/**
 * The object that says that there is a store, the same one that a FileStore has, and by which it is seen that the service
 * honours conditions: putting it where it is already must be refused.
 */
import { MylibsqlError } from '../../protocol/errors.js'
import { gathered } from './compression.js'
import type { S3Bucket } from './s3-bucket.js'
import { isRefusal, isUnsupported } from './s3-failure.js'
import { bytesPayload } from './s3-payload.js'
import type { CallLimits } from './store.js'
import { checkMarker, markerBytes, markerName } from './store-marker.js'

/** Of no object. */
const noEtag = '"00000000000000000000000000000000"'

export class S3Marker {
  readonly #bucket: S3Bucket
  readonly #key: string
  #isChecked = false
  #canReplace = false

  constructor(bucket: S3Bucket, prefix: string) {
    this.#bucket = bucket
    this.#key = `${prefix}${markerName}`
  }

  /**
   * Checks a store that is there; makes one only when told to, otherwise the first write does. Passes also when the
   * credentials do not permit to write: whoever only reads fences nobody.
   */
  async open(create: boolean): Promise<void> {
    try {
      if (create || (await this.#bucket.find(this.#key)) !== undefined) await this.check()
    } catch (error) {
      const { code, cause } = error as MylibsqlError
      if (code !== 'ERR_STORE' || !isRefusal(cause)) throw error
    }
  }

  /** Once. Throws ERR_STORE when the service ignores conditions; ERR_VERSION. */
  async check(limits?: CallLimits): Promise<void> {
    if (this.#isChecked) return
    const isNew = await this.#putNew(limits)
    if (isNew && (await this.#putNew(limits))) throw await this.#cannotFence()
    if (!isNew)
      await this.#bucket.read(this.#key, limits, async (chunks) => {
        const text = Buffer.from(await gathered(chunks)).toString()
        checkMarker(text, this.#bucket.nameOf(this.#key))
      })
    this.#isChecked = true
  }

  /** Once, before something is replaced. Throws ERR_STORE when the service ignores `If-Match`; as check(). */
  async checkReplacing(limits?: CallLimits): Promise<void> {
    await this.check(limits)
    if (this.#canReplace) return
    const payload = bytesPayload(markerBytes())
    const isPut = await this.#bucket
      .putOver(this.#key, noEtag, payload, limits)
      .catch((error: MylibsqlError) => {
        if (isUnsupported(error.cause)) return true
        throw error
      })
    if (isPut) {
      const name = this.#bucket.nameOf(this.#key)
      const message =
        `${await this.#bucket.endpoint()} does not honour "If-Match" (putting ${name} in the place of an object that was ` +
        'never there was not refused): two that compact could undo each other, so nothing is replaced there'
      throw new MylibsqlError('ERR_STORE', message, { path: name })
    }
    this.#canReplace = true
  }

  async #putNew(limits: CallLimits | undefined): Promise<boolean> {
    try {
      return (await this.#bucket.putNew(this.#key, bytesPayload(markerBytes()), limits)) === 'made'
    } catch (error) {
      if (isUnsupported((error as MylibsqlError).cause)) throw await this.#cannotFence(error)
      throw error
    }
  }

  async #cannotFence(cause?: unknown): Promise<MylibsqlError> {
    const name = this.#bucket.nameOf(this.#key)
    const endpoint = await this.#bucket.endpoint()
    const message =
      `${endpoint} does not honour "If-None-Match: *" (putting ${name} where it was already was not refused): ` +
      'two primaries could both be acknowledged, so it cannot be a store'
    return new MylibsqlError('ERR_STORE', message, { path: name }, { cause })
  }
}
