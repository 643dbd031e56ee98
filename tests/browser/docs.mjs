// Walks through /docs of grantd as a person would: reads, logs in as a user and as a client, and calls. Its input is
// {browser, url, username, password, public_client, client_id, client_secret, screenshots}.
import { authorize, barriers, browse, done, execute, input } from './browser.mjs'

const to = await input()
await browse(to.browser, async (open) => {
  const page = await open({ viewport: { width: 1280, height: 800 } })
  const told = { with_cookies: [] }
  // Of whatever else has the same name: nothing that asks the server may take it along.
  await page.context().addCookies([{ name: 'kept', value: '1', url: to.url }])
  const fetched = []
  page.on('requestfinished', (request) => request.resourceType() === 'fetch' && fetched.push(request))
  await page.goto(`${to.url}/docs`)
  await page.locator('.opblock').first().waitFor()
  told.operations = await page.locator('.opblock-summary-path').evaluateAll((all) => all.map((one) => one.dataset.path))
  told.barriers = await barriers(page)

  const user = { 'username:': to.username, 'password:': 'wrong', 'client_id:': to.public_client }
  told.wrong_password = await authorize(page, 'password', user)
  told.barriers.push(...await barriers(page))
  told.right_password = await authorize(page, 'password', { ...user, 'password:': to.password })
  const client = { 'client_id:': to.client_id, 'client_secret:': to.client_secret }
  told.client = await authorize(page, 'clientCredentials', client)
  await done(page)
  told.userinfo = await execute(page, 'userinfo')
  told.barriers.push(...await barriers(page))
  for (const request of fetched) if ((await request.allHeaders()).cookie) told.with_cookies.push(request.url())

  const night = await open({ colorScheme: 'dark', viewport: { width: 390, height: 844 } })
  await night.goto(`${to.url}/docs`)
  await execute(night, 'token')
  told.barriers.push(...await barriers(night))

  // Swagger UI can be made to show somebody else's document, which is how passwords are fished for.
  const lured = await open()
  const bait = encodeURIComponent('http://127.0.0.1:9/bait.json')
  await lured.goto(`${to.url}/docs?url=${bait}&configUrl=${bait}&urls.primaryName=x#/Tokens/token`)
  await lured.locator('.opblock').first().waitFor()

  // Without a token: what a 401 does.
  const stranger = await open()
  await stranger.goto(`${to.url}/docs`)
  told.stranger = await execute(stranger, 'userinfo')
  told.nobody = await execute(stranger, 'token')

  const home = await open()
  await home.goto(`${to.url}/`)
  told.home_barriers = await barriers(home)
  told.home_leads_to = await home.getByRole('link', { name: '/docs' }).getAttribute('href')
  if (to.screenshots) {
    for (const [name, width, height] of [['phone', 390, 844], ['desk', 1280, 800]]) {
      for (const colorScheme of ['light', 'dark']) {
        const shot = await open({ viewport: { width, height }, colorScheme })
        await shot.goto(`${to.url}/`)
        await shot.screenshot({ path: `${to.screenshots}/home-${name}-${colorScheme}.png`, fullPage: true })
        await shot.goto(`${to.url}/docs`)
        await shot.locator('.opblock').first().waitFor()
        await shot.screenshot({ path: `${to.screenshots}/docs-${name}-${colorScheme}.png`, fullPage: true })
        await shot.locator('[id$="-token"] .opblock-summary-control').click()
        await shot.locator('[id$="-token"] .responses-table').waitFor()
        await shot.screenshot({ path: `${to.screenshots}/token-${name}-${colorScheme}.png`, fullPage: true })
        await shot.locator('.btn.authorize').first().click()
        await shot.screenshot({ path: `${to.screenshots}/authorize-${name}-${colorScheme}.png` })
      }
    }
  }
  return told
})
