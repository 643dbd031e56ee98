// An Express middleware that takes access tokens of one grantd: RFC 9068 section 4, and the Token Status List.
//
// It asks grantd nothing for a request: metadata, keys and status lists are fetched once for all requests and kept as
// long as grantd says. Must not know what the service does. The steps have the numbers of ../README.md.

import { promisify } from 'node:util'
import { inflate } from 'node:zlib'
import { base64url, createLocalJWKSet, errors, jwtVerify } from 'jose'

// RFC 8725 section 3.1: signatures by keys that stay with the issuer, and nothing else; each key names its own.
const ALGORITHMS = ['ES256', 'ES384', 'RS256', 'PS256', 'EdDSA']
const CLAIMS = ['iss', 'exp', 'aud', 'sub', 'client_id', 'iat', 'jti'] // RFC 9068 section 2.2
const LEEWAY = 5 // seconds that the clocks may differ
const TIMEOUT = 3 // seconds that a document may take
const PAUSE = 5 // seconds without asking again: after a failure, and after a kid that nobody knew
const STALE_KEYS = 3600 // seconds beyond their max-age that keys are good for, if no newer ones can be had
const LARGEST_LIST = 1 << 20 // bytes of a status list when it is unpacked; grantd's have 1 << 17

/** Nobody can say now whether the token is good. */
class Unavailable extends Error {}

/** The token is not good, for a reason that is for the log. */
class Refused extends Error {}

const monotonic = () => performance.now() / 1000

/** Something that is fetched: once for all who want it, and kept while it is fresh, or good for want of newer. */
function shared(fetchIt) { // gives { value, fresh, good }: for how many seconds
  let value, fetching
  let [freshUntil, goodUntil, retryAt, searchedAt, failing] = [0, 0, 0, -PAUSE, false]

  const due = (lacks) => {
    const now = monotonic()
    if (now < retryAt) return false
    return now >= freshUntil || (now >= searchedAt + PAUSE && lacks(value))
  }

  const refetch = async () => {
    const askedAt = monotonic()
    if (askedAt < freshUntil) searchedAt = askedAt
    try {
      const fetched = await fetchIt()
      value = fetched.value
      ;[freshUntil, goodUntil, failing] = [askedAt + fetched.fresh, askedAt + fetched.good, false]
    } catch (error) {
      ;[failing, retryAt] = [true, monotonic() + PAUSE]
      console.warn('a document of the issuer cannot be had: %s (%s)', error.message, error.cause?.message)
    }
    fetching = undefined
  }

  /** The value, fetched anew where it `lacks` what is wanted; seldom, for a stranger may have invented that. */
  return async (lacks = () => false) => {
    // A fetch that began before may have asked too early for what is wanted now, so that it is looked at twice.
    for (let round = 0; round < 2 && (due(lacks) || (fetching && value && lacks(value))); round++) {
      // While somebody tries whether it can be had again, the others need not wait for what may not come.
      if (fetching && failing) break
      await (fetching ??= refetch())
    }
    if (monotonic() >= goodUntil) throw new Unavailable()
    return value
  }
}

/** Takes tokens of `issuer` for `audience`. Where no status list can be had, `failOpen` takes what may be revoked. */
export class Validator {
  #lists = new Map()
  #metadata = shared(() => this.#fetchMetadata())
  #keys = shared(() => this.#fetchKeys())

  constructor(issuer, audience, { failOpen = false } = {}) {
    if (!/^(https:\/\/|http:\/\/(127\.0\.0\.1|localhost|\[::1\])[:/])/.test(`${issuer}/`)) {
      throw new TypeError('the issuer must be https, except on this machine')
    }
    Object.assign(this, { issuer, audience, failOpen })
  }

  /** The middleware: gives the claims of a good token that has all of these as `request.token`. */
  needs({ scope = [], roles = [] } = {}) {
    return async (request, response, next) => {
      const [, sent] = /^Bearer +([\w.~+/-]+=*) *$/i.exec(request.headers.authorization ?? '') ?? []
      if (!sent) return this.#refuse(response, 401) // RFC 6750 section 3.1: no error code for who sent nothing
      try {
        request.token = await this.check(sent)
      } catch (error) {
        if (error instanceof Unavailable) {
          return response.status(503).set('Retry-After', PAUSE).json({ error: 'temporarily_unavailable' })
        }
        if (!(error instanceof Refused || error instanceof errors.JOSEError)) return next(error)
        console.info('token refused: %s', error.message) // why, for you and not for who sent it
        return this.#refuse(response, 401, 'invalid_token', 'The token is not good here, or not any more')
      }
      const held = (request.token.scope ?? '').split(' ')
      if (!scope.every((one) => held.includes(one)) || !roles.every((one) => request.token.roles?.includes(one))) {
        return this.#refuse(response, 403, 'insufficient_scope', 'The token does not allow this', scope.join(' '))
      }
      next()
    }
  }

  /** The claims of a good token. */
  async check(token) {
    const claims = await this.#verify(token, 'at+jwt', { requiredClaims: CLAIMS, audience: this.audience })
    if (![claims.sub, claims.client_id, claims.jti].every((claim) => typeof claim === 'string')) {
      throw new Refused('its sub, client_id and jti are no strings')
    }
    // Step 7. RFC 9449 section 7.2: bound to a key; who presents it as a bearer token may be a thief.
    if (claims.cnf !== undefined) throw new Refused('it is bound to a key, and this service checks no proofs')
    if (claims.status !== undefined) await this.#checkStatus(claims.status)
    return claims
  }

  /** Steps 3 to 6: signature, type and claims of a JWT of this issuer. */
  async #verify(token, typ, checks) {
    const find = async (header, jws) => {
      const known = ({ kids }) => kids.has(header.kid)
      const keys = await this.#keys((keys) => !known(keys))
      if (!known(keys)) throw new Refused(`no key ${JSON.stringify(header.kid)} is known`)
      return keys.find(header, jws) // jose takes no key that is for another algorithm than the header's
    }
    const always = { issuer: this.issuer, algorithms: ALGORITHMS, clockTolerance: LEEWAY }
    const { payload } = await jwtVerify(token, find, { typ, ...always, ...checks })
    if (!(payload.iat <= Date.now() / 1000 + LEEWAY)) throw new Refused('it was issued in the future')
    return payload
  }

  /** Steps 8 to 11. */
  async #checkStatus(status) {
    const { idx, uri } = status?.status_list ?? {}
    if (!Number.isSafeInteger(idx) || idx < 0 || typeof uri !== 'string' || !uri.startsWith(`${this.issuer}/`)) {
      throw new Refused('its status is at no address of the issuer')
    }
    if (!this.#lists.has(uri)) this.#lists.set(uri, shared(() => this.#fetchList(uri)))
    let list
    try {
      list = await this.#lists.get(uri)()
    } catch (error) {
      if (this.failOpen && error instanceof Unavailable) return
      throw error
    }
    const byte = list.packed[Math.floor((idx * list.bits) / 8)] // undefined beyond the end
    // The first is in the least significant bits of the first byte.
    if (byte === undefined || ((byte >> ((idx * list.bits) % 8)) & ((1 << list.bits) - 1)) !== 0) {
      throw new Refused('it is revoked')
    }
  }

  /** Step 1. RFC 8414 section 3.1: the well-known path stands between host and path of the issuer. */
  async #fetchMetadata() {
    const { origin, pathname } = new URL(this.issuer)
    const path = pathname === '/' ? '' : pathname
    const metadata = await (await get(`${origin}/.well-known/oauth-authorization-server${path}`)).json()
    if (metadata.issuer !== this.issuer) throw new Refused(`the metadata is that of ${metadata.issuer}`)
    if (![`https://`, `${this.issuer}/`].some((start) => metadata.jwks_uri.startsWith(start))) {
      throw new Refused('the keys are at an address without TLS')
    }
    return { value: metadata, fresh: Infinity, good: Infinity }
  }

  /** Step 2. */
  async #fetchKeys() {
    const response = await get((await this.#metadata()).jwks_uri)
    const keys = (await response.json()).keys.filter((key) => ALGORITHMS.includes(key.alg))
    const [, maxAge] = /max-age=(\d+)/.exec(response.headers.get('cache-control') ?? '') ?? []
    const fresh = maxAge === undefined ? 60 : Math.max(maxAge - age(response), 1)
    const value = { kids: new Set(keys.map(({ kid }) => kid)), find: createLocalJWKSet({ keys }) }
    return { value, fresh, good: fresh + STALE_KEYS }
  }

  /** Steps 9 and 10: the bits of a status list, and how many a token has. */
  async #fetchList(uri) {
    const response = await get(uri, 'application/statuslist+jwt')
    const checks = { subject: uri, requiredClaims: ['iat', 'exp'] }
    const claims = await this.#verify(await response.text(), 'statuslist+jwt', checks)
    const { bits, lst } = claims.status_list
    if (![1, 2, 4, 8].includes(bits)) throw new Refused(`its entries have ${bits} bits`)
    const packed = await promisify(inflate)(base64url.decode(lst), { maxOutputLength: LARGEST_LIST })
    const fresh = Math.max((claims.ttl ?? 60) - age(response), 1)
    return { value: { bits, packed }, fresh, good: Math.max(claims.exp + LEEWAY - Date.now() / 1000, fresh) }
  }

  /** RFC 6750 section 3. */
  #refuse(response, status, error, error_description, scope) {
    const members = Object.entries({ realm: this.audience, error, error_description, scope })
    const said = members.filter(([, value]) => value).map(([name, value]) => `${name}="${value}"`)
    response.status(status).set('WWW-Authenticate', `Bearer ${said.join(', ')}`).json({ error, error_description })
  }
}

/** A document from the issuer; a redirect would lead to addresses of somebody else's choice. */
async function get(url, accept = 'application/json') {
  const signal = AbortSignal.timeout(TIMEOUT * 1000)
  const response = await fetch(url, { headers: { accept }, redirect: 'error', signal })
  if (!response.ok) throw new Error(`${url} answers ${response.status}`)
  return response
}

/** How long a cache on the way has kept it already, in seconds. */
const age = (response) => Number(response.headers.get('age') ?? 0)
