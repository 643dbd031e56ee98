// jose, oauth4webapi and openid-client, as they are, against a grantd: does what each is for.
//
// Needs `npm ci` here. `tests/it/clients.rs` starts it and says what ISSUER, CLIENT_ID and the other variables are. Prints
// what worked as JSON; whatever does not ends it.

import assert from 'node:assert/strict'
import { SignJWT, createRemoteJWKSet, importPKCS8, jwtVerify } from 'jose'
import * as oauth from 'oauth4webapi'
import * as client from 'openid-client'

const { ISSUER, AUDIENCE, CLIENT_ID, CLIENT_SECRET, USER_NAME, PASSWORD, KEY_CLIENT_ID, KEY_PEM } = process.env
const issuer = new URL(ISSUER)
const key = await importPKCS8(KEY_PEM, 'ES256')
const user = { username: USER_NAME, password: PASSWORD, scope: 'notes:read' }
const here = { [oauth.allowInsecureRequests]: true } // http is for this machine only

async function jose(token) {
  const keys = createRemoteJWKSet(new URL(`${ISSUER}/.well-known/jwks.json`))
  const rules = { issuer: ISSUER, audience: AUDIENCE, typ: 'at+jwt', algorithms: ['ES256'] }
  assert.equal((await jwtVerify(token, keys, rules)).payload.preferred_username, USER_NAME)
  await assert.rejects(jwtVerify(token, keys, { ...rules, audience: 'https://other.example' }))

  const assertion = new SignJWT({ jti: crypto.randomUUID() }).setProtectedHeader({ alg: 'ES256' }).setAudience(ISSUER)
  assertion.setIssuer(KEY_CLIENT_ID).setSubject(KEY_CLIENT_ID).setIssuedAt().setExpirationTime('1m')
  const answer = await fetch(`${ISSUER}/token`, {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'client_credentials',
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: await assertion.sign(key),
    }),
  })
  assert.equal(answer.status, 200)
  return ['JWKS', 'private_key_jwt']
}

async function oauth4webapi() {
  const found = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...here })
  const as = await oauth.processDiscoveryResponse(issuer, found)
  const [app, secret] = [{ client_id: CLIENT_ID }, oauth.ClientSecretBasic(CLIENT_SECRET)]

  const asked = await oauth.clientCredentialsGrantRequest(as, app, secret, { scope: 'notes:read' }, here)
  assert.equal((await oauth.processClientCredentialsResponse(as, app, asked)).scope, 'notes:read')

  const login = await oauth.genericTokenEndpointRequest(as, app, secret, 'password', user, here)
  let tokens = await oauth.processGenericTokenEndpointResponse(as, app, login)
  for (let round = 0; round < 2; round++) {
    const old = tokens.refresh_token
    const refreshed = await oauth.refreshTokenGrantRequest(as, app, secret, old, here)
    tokens = await oauth.processRefreshTokenResponse(as, app, refreshed)
    assert.notEqual(tokens.refresh_token, old)
  }

  // RFC 9068, as a resource server would.
  const call = new Request(AUDIENCE, { headers: { authorization: `Bearer ${tokens.access_token}` } })
  const claims = await oauth.validateJwtAccessToken(as, call, AUDIENCE, here)
  assert.equal(claims.preferred_username, USER_NAME)
  await assert.rejects(oauth.validateJwtAccessToken(as, call, 'https://other.example', here))

  const introspected = async () => {
    const said = await oauth.introspectionRequest(as, app, secret, tokens.access_token, here)
    return (await oauth.processIntrospectionResponse(as, app, said)).active
  }
  assert.equal(await introspected(), true)
  const revoked = await oauth.revocationRequest(as, app, secret, tokens.refresh_token, here)
  await oauth.processRevocationResponse(revoked)
  assert.equal(await introspected(), false)

  const [svc, signed] = [{ client_id: KEY_CLIENT_ID }, oauth.PrivateKeyJwt(key)]
  const DPoP = oauth.DPoP(svc, await oauth.generateKeyPair('ES256'))
  const proven = await oauth.clientCredentialsGrantRequest(as, svc, signed, {}, { DPoP, ...here })
  assert.equal((await oauth.processClientCredentialsResponse(as, svc, proven)).token_type, 'dpop')
  return ['metadata', 'client_credentials', 'password', 'refresh_token', 'JWKS', 'introspection', 'revocation',
    'private_key_jwt', 'DPoP']
}

async function openidClient() {
  const options = { algorithm: 'oauth2', execute: [client.allowInsecureRequests] }
  const config = await client.discovery(issuer, CLIENT_ID, undefined, client.ClientSecretBasic(CLIENT_SECRET), options)

  assert.equal((await client.clientCredentialsGrant(config, { scope: 'notes:read' })).scope, 'notes:read')

  let tokens = await client.genericGrantRequest(config, 'password', user)
  for (let round = 0; round < 2; round++) {
    const old = tokens.refresh_token
    tokens = await client.refreshTokenGrant(config, old)
    assert.notEqual(tokens.refresh_token, old)
  }
  const [token] = [tokens.access_token]

  assert.equal((await client.tokenIntrospection(config, token)).username, USER_NAME)
  await client.tokenRevocation(config, tokens.refresh_token)
  assert.equal((await client.tokenIntrospection(config, token)).active, false)

  const svc = await client.discovery(issuer, KEY_CLIENT_ID, undefined, client.PrivateKeyJwt(key), options)
  const DPoP = client.getDPoPHandle(svc, await client.randomDPoPKeyPair('ES256'))
  assert.equal((await client.clientCredentialsGrant(svc, {}, { DPoP })).token_type, 'dpop')
  return ['metadata', 'client_credentials', 'password', 'refresh_token', 'introspection', 'revocation', 'private_key_jwt',
    'DPoP']
}

const form = new URLSearchParams({ grant_type: 'password', client_id: CLIENT_ID, client_secret: CLIENT_SECRET, ...user })
const { access_token } = await (await fetch(`${ISSUER}/token`, { method: 'POST', body: form })).json()
const worked = { jose: await jose(access_token), oauth4webapi: await oauth4webapi(), 'openid-client': await openidClient() }
console.log(JSON.stringify(worked))
