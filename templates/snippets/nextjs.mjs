// npm install jose; save as app/me/route.js of a Next.js app; Request and Response are the Web's, so it runs elsewhere, too
import { createRemoteJWKSet, jwtVerify } from 'jose'

{% include "snippets/check.mjs" %}

export async function GET(request) {
  const { claims, status, error, headers } = await check(request.headers.get('authorization'), {{ self.0.scope }})
  if (!claims) return Response.json({ error }, { status, headers })
  return Response.json({ sub: claims.sub, scope: claims.scope ?? '' })
}
