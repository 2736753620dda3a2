/** Tests of the figures of services and topics, in a real browser. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openBrowser } from './browser.mjs';
import { sendTrace } from './otlp.mjs';
import { HOME, newPage } from './page.mjs';

/** @type {import('playwright-core').Browser} */
let browser;
before(async () => {
  browser = await openBrowser();
});
after(() => browser?.close());

/**
 * @param {import('playwright-core').Page} page
 * @param {string} table
 * @param {string} name
 */
async function cellsOf(page, table, name) {
  const row = page.getByRole('region', { name: table }).getByRole('row').filter({ hasText: name });
  await row.waitFor();
  return (await row.getByRole('cell').allInnerTexts()).map((text) => text.trim());
}

test('services, their operations and topics have rates, errors and latencies', async (t) => {
  const service = `pay-${Date.now()}`;
  const topic = `bills-${Date.now()}`;
  for (let i = 0; i < 4; i++)
    await sendTrace([
      {
        id: 'b100000000000001',
        service,
        name: 'POST /pay',
        at: [0, 40],
        kind: 'server',
        failed: i === 0,
      },
      {
        id: 'b100000000000002',
        service,
        name: `send ${topic}`,
        at: [10, 5],
        kind: 'producer',
        parent: 'b100000000000001',
        attributes: { 'messaging.system': 'kafka', 'messaging.destination.name': topic },
      },
    ]);
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/services?lookback=5m`);
  const [, rate, , errors, , p50] = await cellsOf(page, 'Services', service);
  // Four requests in five minutes.
  assert.equal(rate, '0.013/s');
  assert.equal(errors, '25 %');
  assert.equal(p50, '40 ms');
  const topics = await cellsOf(page, 'Topics', topic);
  assert.equal(topics[1], '0.013/s');
  const line = page
    .getByRole('row')
    .filter({ hasText: service })
    .getByRole('img', { name: /^Rate, at most / });
  assert.equal(await line.count(), 1);

  await page.getByRole('link', { name: service, exact: true }).click();
  const operation = await cellsOf(page, 'Operations', 'POST /pay');
  assert.equal(operation[3], '25 %');
  await page.getByRole('link', { name: '25 %' }).click();
  await page.locator('.result').first().waitFor();
  assert.match(page.url(), /errors=true/);
  assert.equal(await page.locator('.result').count(), 1);
});
