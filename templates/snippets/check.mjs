const ISSUER = {{ self.0.issuer }}
const RULES = {
  issuer: ISSUER,
  audience: {{ self.0.audience }}, // this service; a token for another one is not for us
  // Never what the token says; a client with another --alg needs that here, too.
  algorithms: [{{ self.0.algorithms("\"", "\"") }}],
  typ: 'at+jwt', // RFC 9068 section 4: an ID token, or another JWT of the same issuer, is no access token
  requiredClaims: ['iss', 'aud', 'exp', 'iat', 'sub', 'client_id', 'jti'], // RFC 9068 section 2.2
  clockTolerance: 5, // seconds
}
// A token with an unknown kid makes it look for new keys, but not more often than every 5 s.
const KEYS = createRemoteJWKSet(new URL({{ self.0.jwks_uri }}), {
  timeoutDuration: 3000,
  cacheMaxAge: 300_000, // by default 10 minutes, in which a retired key stays good
  cooldownDuration: 5000,
})
// A revoked token is good here until it expires: keep tokens.access_ttl short, ask /introspect, or read the status list as
// grantd's examples/validators do.

/** What to answer instead, RFC 6750 section 3. */
const refused = (status, error, challenge = '') => ({
  status, error, headers: { 'WWW-Authenticate': `Bearer realm="${ISSUER}"${challenge}` },
})

/** The claims of the token in an Authorization header, if it is good and has every scope of `scope`. */
async function check(authorization, scope = '') {
  const [, token] = /^Bearer +(\S+)$/i.exec(authorization ?? '') ?? []
  if (!token) return refused(401, 'invalid_token') // no error in the challenge for who sent no token
  let claims
  try {
    claims = (await jwtVerify(token, KEYS, RULES)).payload
  } catch ({ code }) {
    if (/^ERR_(JWT|JWS|JOSE_ALG|JOSE_NOT|JWKS_NO|JWKS_MULTIPLE)/.test(code)) {
      return refused(401, 'invalid_token', ', error="invalid_token"')
    }
    // The keys cannot be had, and the token may be good: a 401 would log people out.
    return { status: 503, error: 'temporarily_unavailable', headers: { 'Retry-After': '5' } }
  }
  // Bound to a key (DPoP): who sends it as a bearer token may have stolen it.
  if (claims.cnf) return refused(401, 'invalid_token', ', error="invalid_token"')
  const held = (claims.scope ?? '').split(' ')
  if (!scope.split(' ').every((one) => one === '' || held.includes(one))) {
    return refused(403, 'insufficient_scope', `, error="insufficient_scope", scope="${scope}"`)
  }
  return { claims }
}
