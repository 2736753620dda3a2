/** Woven traces in a real browser: joined by offset, with alternatives, and as reported. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { openBrowser } from './browser.mjs';
import { sendTrace } from './otlp.mjs';
import { HOME, newPage } from './page.mjs';

const DECISION_TIMEOUT_MS = 60_000;

/** @type {import('playwright-core').Browser} */
let browser;
before(async () => {
  browser = await openBrowser();
});
after(() => browser?.close());

const hex = (/** @type {number} */ bytes) => randomBytes(bytes).toString('hex');

/**
 * Waits until the collector's answer about a trace satisfies a condition.
 * @param {string} id
 * @param {(trace: {fragments: number, decisions: {row: number[]}}) => boolean} condition
 */
async function until(id, condition) {
  const deadline = Date.now() + DECISION_TIMEOUT_MS;
  while (Date.now() < deadline) {
    const response = await fetch(`${HOME}/api/throughline/traces/${id}`);
    if (response.ok && condition(await response.json())) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`trace ${id} was not woven within ${DECISION_TIMEOUT_MS} ms`);
}

test('a record without a context is joined, and can be seen as it was reported', async (t) => {
  const record = {
    'messaging.system': 'kafka',
    'messaging.kafka.cluster.id': hex(8),
    'messaging.destination.name': 'orders',
    'messaging.destination.partition.id': '0',
    'messaging.kafka.offset': '7',
  };
  const [request, sent] = [hex(8), hex(8)];
  const shop = await sendTrace([
    { id: request, service: 'shop', name: 'GET /checkout', at: [0, 20], kind: 'server' },
    {
      id: sent,
      parent: request,
      service: 'shop',
      name: 'send orders',
      at: [10, 5],
      kind: 'producer',
      attributes: record,
    },
  ]);
  const mail = await sendTrace([
    {
      id: hex(8),
      service: 'mail',
      name: 'process orders',
      at: [30, 5],
      kind: 'consumer',
      attributes: record,
    },
  ]);
  await until(mail, ({ fragments }) => fragments === 2);
  const page = await newPage(browser, t);
  for (const id of [shop, mail]) {
    await page.goto(`${HOME}/trace/${id}`);
    await page.locator('.row', { hasText: 'process orders' }).waitFor();
    assert.equal(await page.locator('.row').count(), 3, id);
    assert.equal(await page.locator('.edge[data-reference="FOLLOWS_FROM"]').count(), 1);
  }
  await page.locator('.row', { hasText: 'process orders' }).click();
  await page.getByRole('complementary').getByText('same offset of the same partition').waitFor();
  await page.getByText('Woven from 2 reported traces').waitFor();
  await page.getByRole('link', { name: 'Show as reported' }).click();
  await page.getByRole('link', { name: 'Show the woven trace' }).waitFor();
  assert.match(page.url(), /raw=1/);
  assert.equal(await page.locator('.row').count(), 1);
  await page.getByRole('link', { name: 'Show the woven trace' }).click();
  await page.locator('.row', { hasText: 'GET /checkout' }).waitFor();
  assert.equal(await page.locator('.row').count(), 3);
});

test('the alternatives of a call between two requests can be looked at', async (t) => {
  const service = `shop-${hex(4)}`;
  // Both requests are in flight, and nothing shows which of them made the call.
  for (const name of ['GET /one', 'GET /two'])
    await sendTrace([{ id: hex(8), service, name, at: [0, 100], kind: 'server' }]);
  const span = hex(8);
  const call = await sendTrace([
    {
      id: span,
      service,
      name: 'GET',
      at: [50, 10],
      kind: 'client',
      attributes: { 'throughline.parent.evidence': 'open', 'server.address': 'billing' },
    },
  ]);
  await until(call, ({ decisions }) => decisions.row.length > 1);
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${call}?span=${span}`);
  const detail = page.getByRole('complementary');
  await detail.getByText(/alternative parent/).click();
  const list = detail.locator('.candidate-list');
  await list
    .getByText(/GET \/(one|two)/)
    .first()
    .waitFor();
  assert.match(await list.innerText(), /\d %/);
});
