// A browser that keeps a record of what must not happen. Knows no page of ours.
import { chromium } from 'playwright-core'
import axe from 'axe-core'

/** What stdin holds: one JSON document. */
export async function input() {
  let text = ''
  for await (const chunk of process.stdin) text += chunk
  return JSON.parse(text)
}

/** Runs `visit` with an empty browser and prints what it gives, and the record, as one JSON document. */
export async function browse(executablePath, visit) {
  const quiet = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--no-proxy-server']
  const browser = await chromium.launch({ executablePath, args: quiet })
  const record = { errors: [], requests: [], dialogs: [] }
  try {
    const open = async (options = {}) => {
      const context = await browser.newContext(options)
      context.setDefaultTimeout(20_000)
      // Also those that no line on the console tells of.
      await context.addInitScript(() => document.addEventListener('securitypolicyviolation',
        (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`)))
      const page = await context.newPage()
      page.on('console', (message) => message.type() === 'error' && record.errors.push(message.text()))
      page.on('pageerror', (error) => record.errors.push(String(error)))
      page.on('request', (request) => record.requests.push(request.url()))
      page.on('dialog', (dialog) => { record.dialogs.push(dialog.message()); dialog.dismiss() })
      return page
    }
    const told = await visit(open)
    console.log(JSON.stringify({ ...told, ...record }))
  } finally {
    await browser.close()
  }
}

/** What axe-core finds serious or worse: the rule, and where. */
export async function barriers(page) {
  // By the debugger, which the page's policy does not bind.
  await page.evaluate(axe.source)
  // What fades in has not its own colours yet.
  await page.evaluate(() => Promise.allSettled(document.getAnimations().map((animation) => animation.finished)))
  const { violations } = await page.evaluate(() => axe.run())
  return violations.filter(({ impact }) => ['serious', 'critical'].includes(impact))
    .flatMap(({ id, nodes }) => nodes.map(({ target, html, any }) =>
      `${id}: ${target.join(' ')}: ${html.slice(0, 120)}: ${any.map(({ message }) => message).join(' ')}`))
}

/** Fills one scheme of Swagger UI's window, whose fields have the given labels, and asks for authorization. */
export async function authorize(page, scheme, fields) {
  if (!await page.locator('.dialog-ux').isVisible()) await page.locator('.btn.authorize').first().click()
  const window = page.locator('.dialog-ux .auth-container', { has: page.locator('h4', { hasText: scheme }) })
  for (const [label, value] of Object.entries(fields)) await window.getByLabel(label, { exact: true }).fill(value)
  await window.locator('button.authorize').click()
  const logout = window.locator('button', { hasText: 'Logout' })
  const error = window.locator('.errors')
  await logout.or(error).first().waitFor()
  return await logout.isVisible() ? 'authorized' : (await error.innerText()).replaceAll('\n', ' ')
}

/** Closes that window. */
export async function done(page) {
  await page.locator('.dialog-ux .close-modal').click()
}

/** Executes an operation that Swagger UI shows; its status and body. */
export async function execute(page, id) {
  const operation = page.locator(`[id$="-${id}"]`)
  const tryIt = operation.getByRole('button', { name: 'Try it out' })
  if (await operation.locator('.opblock-body').count() === 0) await operation.locator('.opblock-summary-control').click()
  if (await tryIt.isVisible().catch(() => false) || await operation.locator('button.execute').count() === 0) await tryIt.click()
  const answered = page.waitForResponse((response) => response.request().resourceType() === 'fetch')
  await operation.locator('button.execute').click()
  const answer = await answered
  await operation.locator('.live-responses-table .response-col_status').first().waitFor()
  const status = await operation.locator('.live-responses-table tbody .response-col_status').first().innerText()
  return { status: Number.parseInt(status), url: answer.url(), sent: answer.request().postData() }
}
