// A service behind grantd: who is asking, notes for those who may read them, and more for editors.

import express from 'express'
import { Validator } from './grantd-validator.js'

const { ISSUER = 'http://127.0.0.1:8080', AUDIENCE = ISSUER, FAIL_OPEN, PORT = 9000 } = process.env
const validator = new Validator(ISSUER, AUDIENCE, { failOpen: FAIL_OPEN === 'true' })
const app = express()

app.get('/me', validator.needs(), ({ token: { sub, client_id, scope = '' } }, response) => {
  response.json({ sub, client_id, scope })
})

app.get('/notes', validator.needs({ scope: ['notes:read'] }), ({ token }, response) => {
  response.json({ notes: [`the first note of ${token.sub}`] })
})

app.get('/drafts', validator.needs({ scope: ['notes:write'], roles: ['editor'] }), ({ token }, response) => {
  response.json({ drafts: [`the first draft of ${token.sub}`] })
})

app.listen(Number(PORT), '127.0.0.1', (error) => {
  if (error) throw error
  console.log(`listening at http://127.0.0.1:${PORT}`)
})
