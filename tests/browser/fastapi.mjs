// Uses /docs of examples/fastapi as a person would: logs in at grantd from the page of another origin, and calls. Its input
// is {browser, url, username, password, job_secret, disable: {command, directory, environment}, screenshots}.
import { spawnSync } from 'node:child_process'
import { authorize, browse, done, execute, input } from './browser.mjs'

const to = await input()
await browse(to.browser, async (open) => {
  const told = {}
  const at = async (options = {}) => {
    const page = await open({ viewport: { width: 1280, height: 800 }, ...options })
    await page.goto(`${to.url}/docs`)
    await page.locator('.opblock').first().waitFor()
    return page
  }
  const page = await at()
  told.stranger = await execute(page, 'read_users_me_users_me_get')
  const fields = { 'username:': to.username, 'password:': 'wrong' }
  await page.locator('.btn.authorize').first().click()
  const form = page.locator('.dialog-ux .auth-container', { has: page.locator('h4', { hasText: 'OAuth2PasswordBearer' }) })
  told.prefilled = await form.getByLabel('client_id:', { exact: true }).inputValue()
  told.wrong_password = await authorize(page, 'OAuth2PasswordBearer', fields)
  told.right_password = await authorize(page, 'OAuth2PasswordBearer', { ...fields, 'password:': to.password })
  const job = { 'client_id:': 'items-job', 'client_secret:': to.job_secret }
  told.client = await authorize(page, 'ClientCredentials', job)
  await done(page)
  told.me = await execute(page, 'read_users_me_users_me_get')
  told.items = await execute(page, 'read_own_items_users_me_items_get')
  told.overview = await execute(page, 'read_overview_admin_overview_get')
  told.job = await execute(page, 'start_job_jobs_nightly_post')

  if (to.screenshots) {
    for (const [name, width, height] of [['phone', 390, 844], ['desk', 1280, 800]]) {
      const shot = await at({ viewport: { width, height } })
      await shot.screenshot({ path: `${to.screenshots}/fastapi-${name}.png`, fullPage: true })
      await shot.locator('.btn.authorize').first().click()
      await shot.screenshot({ path: `${to.screenshots}/fastapi-${name}-authorize.png` })
    }
  }

  const { command: [program, ...rest], directory, environment } = to.disable
  const disabled = spawnSync(program, rest, { cwd: directory, env: { ...process.env, ...environment }, encoding: 'utf8' })
  if (disabled.status !== 0) throw new Error(`${to.disable.command}: ${disabled.stderr}`)
  // Within a second and the time that the service keeps a status list for.
  for (let tries = 0; tries < 100 && told.disabled?.status !== 401; tries++) {
    told.disabled = await execute(page, 'read_users_me_users_me_get')
  }
  told.login_of_disabled = await authorize(await at(), 'OAuth2PasswordBearer', { ...fields, 'password:': to.password })
  return told
})
