// Serves the route handler that `grantd snippet nextjs` prints, as route.js in this directory, without Next.js:
// node next_service.mjs PORT

import { createServer } from 'node:http'
import { GET } from './route.js'

createServer(async ({ url, headers }, response) => {
  const answer = await GET(new Request(new URL(url, 'http://127.0.0.1'), { headers }))
  response.writeHead(answer.status, Object.fromEntries(answer.headers)).end(await answer.text())
}).listen(Number(process.argv[2]), '127.0.0.1')
