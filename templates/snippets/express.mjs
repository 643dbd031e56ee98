// npm install express jose; save as service.mjs; start with: node service.mjs
import express from 'express'
import { createRemoteJWKSet, jwtVerify } from 'jose'

{% include "snippets/check.mjs" %}

const needs = (scope) => async (request, response, next) => {
  const { claims, status, error, headers } = await check(request.headers.authorization, scope)
  if (!claims) return response.status(status).set(headers).json({ error })
  request.claims = claims
  next()
}

const app = express()

app.get('/me', needs({{ self.0.scope }}), ({ claims }, response) => {
  response.json({ sub: claims.sub, scope: claims.scope ?? '' })
})

app.listen(9000, '127.0.0.1')
