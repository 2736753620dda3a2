/**
 * Tests of the trace page in a real browser, against a collector that holds a linked checkout of
 * the demo.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openBrowser } from './browser.mjs';
import { sendTrace } from './otlp.mjs';
import { checkAccessibility, HOME, newPage } from './page.mjs';

const SERVICES = ['billing', 'delivery', 'eshop', 'inventory', 'kafka-consumer', 'notification'];

/** @type {import('playwright-core').Browser} */
let browser;
before(async () => {
  browser = await openBrowser();
});
after(() => browser?.close());

/**
 * Opens the newest checkout by way of the search.
 * @param {import('node:test').TestContext} t
 * @param {{colorScheme?: 'light' | 'dark'}} [options]
 */
async function openCheckout(t, options) {
  const page = await newPage(browser, t, options);
  await page.goto(`${HOME}/search?service=eshop&operation=GET+%2Fcheckout`);
  const checkouts = page.locator('.result', { hasText: 'notification' });
  await checkouts.first().locator('.result-name').click();
  await page.getByRole('treegrid').waitFor();
  return page;
}

/**
 * @param {import('playwright-core').Page} page
 * @param {string} name
 */
function row(page, name) {
  return page.locator('.row', { has: page.getByText(name, { exact: true }) });
}

test('a checkout shows its services, topic, time breakdown and every step', async (t) => {
  const page = await openCheckout(t);
  await page.getByRole('heading', { name: 'eshop GET /checkout' }).waitFor();
  const parts = page.getByRole('list', { name: 'Services and topics' });
  assert.deepEqual(
    (await parts.locator('bdi').allInnerTexts()).sort(),
    [...SERVICES, 'eshop-topic'].sort(),
  );
  const bar = await page.locator('.breakdown-bar').boundingBox();
  const widths = await page
    .locator('.breakdown-bar span')
    .evaluateAll((all) => all.map((part) => part.getBoundingClientRect().width));
  const filled = widths.reduce((sum, width) => sum + width, 0);
  assert.ok(
    bar && filled > bar.width * 0.95,
    `the whole time is accounted for: ${filled} of ${bar?.width} pixels`,
  );
  assert.deepEqual(
    widths,
    [...widths].sort((a, b) => b - a),
    'what took longest comes first',
  );
  await parts.getByRole('button', { name: /billing/ }).click();
  assert.equal(await page.locator('.row.found').count(), 3);
  await parts.getByRole('button', { name: /eshop-topic/ }).click();
  await page
    .getByRole('complementary')
    .getByRole('heading', { name: 'From_eshop-topic' })
    .waitFor();
  await page.getByRole('searchbox', { name: 'Find in this trace' }).fill('');
  for (const name of [
    'GET /createOrder',
    'GET /payment',
    'BankTransaction.transfer',
    'DBAccess.save2db',
    'GET /arrangeDelivery',
    'To_eshop-topic',
    'From_eshop-topic',
    'GET /sendEmail',
  ]) {
    assert.equal(await row(page, name).count(), 1, name);
  }
});

test("the FOLLOWS_FROM edge goes from the producer's end to the consumer's start", async (t) => {
  const page = await openCheckout(t);
  const edge = page.locator('.edge[data-reference="FOLLOWS_FROM"]');
  assert.equal(await edge.count(), 1);
  const line = await edge.locator('.edge-line').boundingBox();
  const head = await edge.locator('.edge-head').boundingBox();
  const tail = await edge.locator('.edge-tail').boundingBox();
  const sent = await row(page, 'To_eshop-topic').locator('.bar').boundingBox();
  const received = await row(page, 'From_eshop-topic').locator('.bar').boundingBox();
  assert.ok(line && head && tail && sent && received);
  const close = (/** @type {number} */ a, /** @type {number} */ b) => Math.abs(a - b) <= 5;
  assert.ok(line.height > 10, 'the line crosses rows');
  assert.ok(close(tail.x + tail.width / 2, sent.x + sent.width), 'it starts where the send ended');
  assert.ok(
    close(tail.y + tail.height / 2, sent.y + sent.height / 2),
    'it starts on the producer row',
  );
  assert.ok(close(head.x + head.width, received.x), 'it ends where the receipt began');
  assert.ok(
    close(head.y + head.height / 2, received.y + received.height / 2),
    'it ends on the consumer row',
  );
  assert.match(await row(page, 'From_eshop-topic').innerText(), /follows from To_eshop-topic/);
});

test('the time in the topic is a labelled bar between sender and receiver', async (t) => {
  const id = await sendTrace([
    {
      id: 'b000000000000001',
      name: 'send',
      at: [0, 100],
      kind: 'producer',
      attributes: { 'messaging.destination.name': 'orders' },
    },
    {
      id: 'b000000000000002',
      name: 'process',
      at: [400, 100],
      kind: 'consumer',
      parent: 'b000000000000001',
      follows: { span: 'b000000000000001' },
    },
  ]);
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${id}`);
  const wait = await page.locator('.wait').boundingBox();
  const sent = await row(page, 'send').locator('.bar').boundingBox();
  const received = await row(page, 'process').locator('.bar').boundingBox();
  assert.ok(wait && sent && received);
  assert.ok(Math.abs(wait.x - (sent.x + sent.width)) < 2);
  assert.ok(Math.abs(wait.x + wait.width - received.x) < 2);
  assert.equal(await page.locator('.wait-note').innerText(), 'in orders 300 ms');
});

test('a message received before its acknowledgement is connected to its sender', async (t) => {
  const id = await sendTrace([
    { id: 'b000000000000003', name: 'send', at: [0, 100], kind: 'producer' },
    {
      id: 'b000000000000004',
      name: 'process',
      at: [60, 20],
      kind: 'consumer',
      parent: 'b000000000000003',
      follows: { span: 'b000000000000003' },
    },
  ]);
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${id}?span=b000000000000004`);
  await page.getByText('40 ms before the send was acknowledged').waitFor();
  assert.equal(await page.locator('.edge').count(), 1);
  assert.equal(await page.locator('.wait').count(), 0);
});

test('the keyboard moves, folds, and opens and closes the details', async (t) => {
  const page = await openCheckout(t);
  const grid = page.getByRole('treegrid');
  await grid.focus();
  await page.keyboard.press('End');
  await page.keyboard.press('Enter');
  const detail = page.getByRole('complementary', { name: 'Span details' });
  await detail.getByRole('heading', { name: 'GET /sendEmail' }).waitFor();
  assert.match(await detail.innerText(), /service\.name|Resource/);
  assert.match(page.url(), /\?span=[0-9a-f]{16}$/);

  await page.keyboard.press('ArrowUp');
  await page.keyboard.press('ArrowUp');
  await detail.getByRole('heading', { name: 'From_eshop-topic' }).waitFor();
  await detail.getByText('FOLLOWS_FROM').first().waitFor();
  const all = await page.getByRole('row').count();
  await page.keyboard.press('ArrowLeft');
  assert.equal(await row(page, 'From_eshop-topic').getAttribute('aria-expanded'), 'false');
  assert.equal(await page.getByRole('row').count(), all - 2);
  const active = await grid.getAttribute('aria-activedescendant');
  assert.equal(active, await row(page, 'From_eshop-topic').getAttribute('id'));

  await page.keyboard.press('Escape');
  await detail.waitFor({ state: 'detached' });
  assert.doesNotMatch(page.url(), /span=/);

  await page.keyboard.press('Enter');
  await detail.getByRole('button', { name: 'Close details' }).focus();
  await page.keyboard.press('Escape');
  await detail.waitFor({ state: 'detached' });
  assert.equal(
    await grid.evaluate((element) => element === document.activeElement),
    true,
    'the focus is back',
  );
});

test('the details lead from the consumer to the producer and back', async (t) => {
  const page = await openCheckout(t);
  await row(page, 'From_eshop-topic').click();
  const detail = page.getByRole('complementary', { name: 'Span details' });
  await detail.getByRole('button', { name: 'eshop To_eshop-topic' }).first().click();
  await detail.getByRole('heading', { name: 'To_eshop-topic' }).waitFor();
  await detail.getByText('Received by').waitFor();
  await detail.getByRole('button', { name: 'kafka-consumer From_eshop-topic' }).click();
  await detail.getByRole('heading', { name: 'From_eshop-topic' }).waitFor();
});

test('collapsing all leaves the root and hides the edge', async (t) => {
  const page = await openCheckout(t);
  await page.getByRole('button', { name: 'Collapse all' }).click();
  await page.locator('.row').nth(1).waitFor({ state: 'detached' });
  assert.equal(await page.locator('.row').count(), 1);
  assert.equal(await page.locator('.edge').count(), 0);
  await page.getByRole('button', { name: 'Expand all' }).click();
  await page.locator('.edge').waitFor();
});

test('names and values that look like markup stay text', async (t) => {
  const evil = '<img src=x onerror="window.owned=1"><script>window.owned=1</script>';
  const id = await sendTrace(
    [
      {
        id: 'c000000000000001',
        service: `svc ${evil}`,
        name: `op ${evil}`,
        at: [0, 5],
        attributes: { [`key ${evil}`]: `value ${evil}`, link: 'javascript:window.owned=1' },
        events: [`event ${evil}`],
      },
    ],
    { ago: 0 },
  );
  const page = await newPage(browser, t);
  for (const path of ['/', `/trace/${id}?span=c000000000000001`]) {
    await page.goto(HOME + path);
    await page.getByText(`op ${evil}`).first().waitFor();
    assert.equal(await page.locator('img, #app script, a[href^="javascript:"]').count(), 0);
    assert.equal(await page.evaluate(() => 'owned' in window), false);
  }
  const detail = await page.getByRole('complementary').innerText();
  for (const text of [`key ${evil}`, `value ${evil}`, `event ${evil}`, `svc ${evil}`])
    assert.ok(detail.includes(text), text);
});

test('a span whose parent is missing is drawn and marked', async (t) => {
  const id = await sendTrace([
    { id: 'd000000000000001', name: 'lost child', at: [0, 50], parent: 'deadbeefdeadbeef' },
    { id: 'd000000000000002', name: 'grandchild', at: [10, 20], parent: 'd000000000000001' },
  ]);
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${id}`);
  await page.getByText('1 span with a missing parent').waitFor();
  assert.match(await row(page, 'lost child').innerText(), /missing parent/);
  assert.equal(await row(page, 'grandchild').getAttribute('aria-level'), '2');
});

test('cycles and spans of zero length are drawn', async (t) => {
  const id = await sendTrace([
    { id: 'd000000000000003', name: 'hen', at: [0, 0], parent: 'd000000000000004' },
    { id: 'd000000000000004', name: 'egg', at: [0, 0], parent: 'd000000000000003' },
  ]);
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${id}`);
  await page.getByText('1 parent cycle').waitFor();
  assert.equal(await page.locator('.row').count(), 2);
  const bar = await row(page, 'egg').locator('.bar').boundingBox();
  assert.ok(bar && bar.width >= 8);
});

test('errors are marked at the span, in the header, and on a collapsed ancestor', async (t) => {
  const id = await sendTrace([
    { id: 'd000000000000005', name: 'caller', at: [0, 50] },
    {
      id: 'd000000000000006',
      name: 'callee',
      at: [10, 20],
      parent: 'd000000000000005',
      failed: true,
      attributes: { 'http.response.status_code': '503' },
    },
  ]);
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${id}`);
  assert.match(await row(page, 'callee').innerText(), /error\s+503/);
  assert.match(await page.locator('.trace-header .facts').innerText(), /Errors\s+1/);
  await page.getByRole('button', { name: 'Collapse all' }).click();
  assert.match(await row(page, 'caller').innerText(), /error below/);
});

test('a link to another trace opens it', async (t) => {
  const sender = await sendTrace([
    { id: 'e000000000000001', name: 'far send', at: [0, 5], kind: 'producer' },
  ]);
  const receiver = await sendTrace([
    {
      id: 'e000000000000002',
      name: 'far process',
      at: [0, 5],
      kind: 'consumer',
      follows: { trace: sender, span: 'e000000000000001' },
    },
  ]);
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${receiver}?span=e000000000000002`);
  await page.getByRole('link', { name: 'another trace' }).click();
  await page.getByRole('complementary').getByRole('heading', { name: 'far send' }).waitFor();
  await page.goBack();
  await page.getByRole('complementary').getByRole('heading', { name: 'far process' }).waitFor();
});

test('a trace of 5,000 spans has only the rows in view', async (t) => {
  const count = 5_000;
  const id = await sendTrace(
    Array.from({ length: count }, (_, i) => ({
      id: (0xf0_0000_0000 + i).toString(16).padStart(16, '0'),
      name: `step ${i}`,
      at: /** @type {[number, number]} */ ([i, 1]),
      ...(i > 0 && { parent: (0xf0_0000_0000).toString(16).padStart(16, '0') }),
    })),
  );
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${id}`);
  await row(page, 'step 0').waitFor();
  assert.ok((await page.locator('.row').count()) < 100);
  await page.getByRole('treegrid').focus();
  await page.keyboard.press('End');
  await row(page, `step ${count - 1}`).waitFor();
  assert.ok((await page.locator('.row').count()) < 100);
});

test('an unknown trace ID is reported with a button to try again', async (t) => {
  const page = await newPage(browser, t, { toleratesErrors: true });
  await page.goto(`${HOME}/trace/${'12'.repeat(16)}`);
  await page.getByRole('heading', { name: 'Trace not found' }).waitFor();
  await page.getByRole('button', { name: 'Try again' }).click();
  await page.getByRole('heading', { name: 'Trace not found' }).waitFor();
  await page.getByRole('link', { name: 'Search traces' }).click();
  await page.locator('.result').first().waitFor();
});

for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
  test(`the trace page has no accessibility finding in ${colorScheme}`, async (t) => {
    const page = await openCheckout(t, { colorScheme });
    await row(page, 'From_eshop-topic').click();
    await page.getByRole('complementary').waitFor();
    await checkAccessibility(page);
  });
}
