/** The search page in a real browser, against a collector that holds a linked checkout of the demo. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { openBrowser } from './browser.mjs';
import { sendTrace } from './otlp.mjs';
import { checkAccessibility, HOME, newPage } from './page.mjs';

/** @type {import('playwright-core').Browser} */
let browser;
before(async () => {
  browser = await openBrowser();
});
after(() => browser?.close());

test('opening the page shows the traces of all services, newest first', async (t) => {
  const older = await sendTrace([{ id: 'a000000000000001', service: 'e2e-old', name: 'older', at: [0, 5] }], { ago: 60_000 });
  const newer = await sendTrace([{ id: 'a000000000000001', service: 'e2e-new', name: 'newer', at: [0, 5] }], { ago: 0 });
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/`);
  const links = page.locator('.result-name');
  await links.first().waitFor();
  const ids = await links.evaluateAll((all) => all.map((link) => /** @type {HTMLAnchorElement} */ (link).pathname.split('/').pop()));
  assert.ok(ids.includes(newer), 'the newer trace is there');
  assert.ok(ids.indexOf(older) > ids.indexOf(newer), 'the older trace comes later');
  const times = await page.locator('.result-time').evaluateAll((all) => all.map((time) => time.getAttribute('datetime') ?? ''));
  assert.deepEqual(times, [...times].sort().reverse());
});

test('a search by service and operation finds the checkout, and is the address', async (t) => {
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/`);
  await page.getByRole('combobox', { name: 'Service' }).selectOption('eshop');
  await page.getByLabel('Operation').selectOption('GET /checkout');
  await page.getByLabel('Look back').selectOption('24h');
  await page.getByRole('button', { name: 'Find traces' }).click();
  await page.waitForURL(/service=eshop/);
  const result = page.locator('.result').first();
  await result.getByText('GET /checkout').waitFor();
  assert.match(page.url(), /\/search\?service=eshop&operation=GET\+%2Fcheckout&lookback=24h$/);
  assert.match(await result.innerText(), /notification/);

  await page.reload();
  await page.locator('.result').first().waitFor();
  assert.equal(await page.getByLabel('Operation').inputValue(), 'GET /checkout');

  const query = page.url();
  await page.locator('.result-name').first().click();
  await page.getByRole('treegrid').waitFor();
  await page.goBack();
  await page.locator('.result').first().waitFor();
  assert.equal(page.url(), query);
});

test('attributes narrow the search, and what cannot be read is said at the field', async (t) => {
  const mark = `v ${Date.now()}`;
  const id = await sendTrace([{ id: 'a000000000000002', name: 'marked', at: [0, 5], attributes: { 'e2e.mark': mark } }]);
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/search`);
  await page.getByLabel('Attributes').fill(`e2e.mark="${mark}"`);
  await page.getByRole('button', { name: 'Find traces' }).click();
  await page.getByText('1 trace, newest first').waitFor();
  assert.match((await page.locator('.result-name').getAttribute('href')) ?? '', new RegExp(id));

  await page.getByLabel('Attributes').fill('no condition');
  await page.getByText('write key=value').waitFor();
});

test('a query that matches nothing says so, and how to go on', async (t) => {
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/search?attributes=no.such.key%3D1`);
  await page.getByRole('heading', { name: 'No trace matches' }).waitFor();
});

test('a trace opens by its id of 16 or 32 digits; other text is refused', async (t) => {
  const short = `00${randomBytes(7).toString('hex')}`;
  await sendTrace([{ id: 'a000000000000003', name: 'sixty-four bits', at: [0, 5] }], { id: short.padStart(32, '0') });
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/`);
  const field = page.getByRole('textbox', { name: 'Trace id' });
  await field.fill('hello');
  await field.press('Enter');
  await page.getByText('16 or 32 hexadecimal digits').waitFor();
  for (const id of [short.toUpperCase(), short.padStart(32, '0')]) {
    await field.fill(` ${id} `);
    await field.press('Enter');
    await page.getByRole('heading', { name: /sixty-four bits/ }).waitFor();
  }
});

test('a collector without any trace says how to send one', async (t) => {
  const page = await newPage(browser, t);
  const body = JSON.stringify({ data: [], errors: null });
  await page.route(/\/api\/(services|traces)/, (route) => route.fulfill({ contentType: 'application/json', body }));
  await page.goto(`${HOME}/`);
  await page.getByRole('heading', { name: 'No traces yet' }).waitFor();
  await page.getByText('cargo xtask demo').waitFor();
});

test('while the answer is on its way the page says so', async (t) => {
  const page = await newPage(browser, t);
  let answer = () => {};
  const asked = new Promise((resolve) => {
    answer = () => resolve(undefined);
  });
  await page.route('**/api/traces?*', async (route) => {
    await asked;
    await route.continue();
  });
  await page.goto(`${HOME}/`);
  await page.getByText('Loading traces').waitFor();
  answer();
  await page.locator('.result').first().waitFor();
});

test('a collector that is gone is reported with a way to try again', async (t) => {
  const page = await newPage(browser, t, { toleratesErrors: true });
  await page.route('**/api/traces?*', (route) => route.abort('connectionrefused'));
  await page.goto(`${HOME}/`);
  await page.getByRole('alert').getByText('The collector cannot be reached').waitFor();
  await page.unroute('**/api/traces?*');
  await page.getByRole('button', { name: 'Try again' }).click();
  await page.locator('.result').first().waitFor();
});

test('a refused query shows the reason the collector gave', async (t) => {
  const page = await newPage(browser, t, { toleratesErrors: true });
  const body = JSON.stringify({ data: null, errors: [{ code: 400, msg: 'the limit is too high' }] });
  await page.route('**/api/traces?*', (route) => route.fulfill({ status: 400, contentType: 'application/json', body }));
  await page.goto(`${HOME}/`);
  await page.getByRole('alert').getByText('The limit is too high.').waitFor();
});

test('the page follows the system to dark, and a choice of its own is remembered', async (t) => {
  const page = await newPage(browser, t, { colorScheme: 'dark' });
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.goto(`${HOME}/`);
  const dark = await ground();
  await page.getByLabel('Theme').selectOption('light');
  const light = await ground();
  assert.notEqual(light, dark);
  await page.reload();
  await page.locator('.result').first().waitFor();
  assert.equal(await ground(), light);
});

for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
  test(`the search page has no accessibility finding in ${colorScheme}`, async (t) => {
    const page = await newPage(browser, t, { colorScheme });
    await page.goto(`${HOME}/`);
    await page.locator('.result').first().waitFor();
    await checkAccessibility(page);
  });
}
