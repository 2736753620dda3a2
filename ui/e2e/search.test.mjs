/**
 * Tests of the search page in a real browser, against a collector that holds a linked checkout of
 * the demo.
 */
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
  const older = await sendTrace(
    [{ id: 'a000000000000001', service: 'e2e-old', name: 'older', at: [0, 5] }],
    { ago: 60_000 },
  );
  const newer = await sendTrace(
    [{ id: 'a000000000000001', service: 'e2e-new', name: 'newer', at: [0, 5] }],
    { ago: 0 },
  );
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/`);
  const links = page.locator('.result-name');
  await links.first().waitFor();
  const ids = await links.evaluateAll((all) =>
    all.map((link) => /** @type {HTMLAnchorElement} */ (link).pathname.split('/').pop()),
  );
  assert.ok(ids.includes(newer), 'the newer trace is there');
  assert.ok(ids.indexOf(older) > ids.indexOf(newer), 'the older trace comes later');
  const times = await page
    .locator('.result-time')
    .evaluateAll((all) => all.map((time) => time.getAttribute('datetime') ?? ''));
  assert.deepEqual(times, [...times].sort().reverse());
});

test('a search by service and operation is kept in the address', async (t) => {
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/`);
  await page.getByRole('combobox', { name: 'Service', exact: true }).selectOption('eshop');
  await page.getByRole('combobox', { name: 'Operation' }).fill('GET /checkout');
  await page.getByRole('combobox', { name: 'Time' }).selectOption('24h');
  await page.getByRole('button', { name: 'Find traces' }).click();
  await page.waitForURL(/service=eshop/);
  const result = page.locator('.result').first();
  await result.getByText('GET /checkout').waitFor();
  assert.match(page.url(), /\/search\?service=eshop&operation=GET\+%2Fcheckout&lookback=24h$/);
  assert.match((await result.textContent()) ?? '', /notification/);

  await page.reload();
  await page.locator('.result').first().waitFor();
  assert.equal(
    await page.getByRole('combobox', { name: 'Operation' }).inputValue(),
    'GET /checkout',
  );

  const query = page.url();
  await page.locator('.result-name').first().click();
  await page.getByRole('treegrid').waitFor();
  await page.goBack();
  await page.locator('.result').first().waitFor();
  assert.equal(page.url(), query);
});

test('attributes narrow the search, and a syntax error is shown at the field', async (t) => {
  const mark = `v ${Date.now()}`;
  const id = await sendTrace([
    { id: 'a000000000000002', name: 'marked', at: [0, 5], attributes: { 'e2e.mark': mark } },
  ]);
  const page = await newPage(browser, t, { toleratesErrors: true });
  await page.goto(`${HOME}/search`);
  await page.getByLabel('Attributes or query').fill(`e2e.mark="${mark}"`);
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Find traces' }).click();
  await page.getByText('1 trace, newest first').waitFor();
  assert.match((await page.locator('.result-name').getAttribute('href')) ?? '', new RegExp(id));

  await page.getByLabel('Attributes or query').fill('{ duration >');
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Find traces' }).click();
  await page.getByRole('alert').getByText('a field or a value, as in').waitFor();
  await page.getByRole('heading', { name: 'Invalid query' }).waitFor();
});

test('a trace found by its spans opens with these spans marked', async (t) => {
  const mark = `m-${Date.now()}`;
  const attributes = { 'e2e.matched': mark };
  await sendTrace([
    { id: 'a000000000000060', name: 'whole', at: [0, 50] },
    { id: 'a000000000000061', name: 'first', at: [5, 5], parent: 'a000000000000060', attributes },
    { id: 'a000000000000062', name: 'between', at: [15, 5], parent: 'a000000000000060' },
    { id: 'a000000000000063', name: 'second', at: [25, 5], parent: 'a000000000000060', attributes },
  ]);
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/search?q=e2e.matched%3D${mark}`);
  await page.locator('.result-name').click();
  const detail = page.getByRole('complementary');
  await detail.getByRole('heading', { name: 'first' }).waitFor();
  assert.equal(await page.locator('.mark.matched').count(), 2);
  await page.getByRole('button', { name: 'Next search match' }).click();
  await detail.getByRole('heading', { name: 'second' }).waitFor();
  await page.getByRole('button', { name: 'Clear search matches' }).click();
  await page.locator('.mark.matched').first().waitFor({ state: 'detached' });
  assert.doesNotMatch(page.url(), /match=/);
});

test('a query without results suggests what to do', async (t) => {
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/search?q=no.such.key%3D1`);
  await page.getByRole('heading', { name: 'No traces found' }).waitFor();
});

test('a trace opens by its ID of 16 or 32 digits; other text is rejected', async (t) => {
  const short = `00${randomBytes(7).toString('hex')}`;
  await sendTrace([{ id: 'a000000000000003', name: 'sixty-four bits', at: [0, 5] }], {
    id: short.padStart(32, '0'),
  });
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/`);
  const field = page.getByRole('textbox', { name: 'Trace ID' });
  await field.fill('hello');
  await field.press('Enter');
  await page.getByText('16 or 32 hexadecimal digits').waitFor();
  for (const id of [short.toUpperCase(), short.padStart(32, '0')]) {
    await field.fill(` ${id} `);
    await field.press('Enter');
    await page.getByRole('heading', { name: /sixty-four bits/ }).waitFor();
  }
});

test('without any traces the page explains how to send some', async (t) => {
  const page = await newPage(browser, t);
  const body = JSON.stringify({
    traces: [],
    items: [],
    more: false,
    next: null,
    total: 0,
    live: '0',
  });
  await page.route('**/api/throughline/**', (route) =>
    route.fulfill({ contentType: 'application/json', body }),
  );
  await page.goto(`${HOME}/`);
  await page.getByRole('heading', { name: 'No traces yet' }).waitFor();
  await page.getByText('cargo xtask demo').waitFor();
});

test('the page shows that a search is loading', async (t) => {
  const page = await newPage(browser, t);
  let answer = () => {};
  const released = new Promise((resolve) => {
    answer = () => resolve(undefined);
  });
  await page.route('**/api/throughline/search?*', async (route) => {
    await released;
    await route.continue();
  });
  await page.goto(`${HOME}/`);
  await page.getByText('Loading traces').waitFor();
  answer();
  await page.locator('.result').first().waitFor();
});

test('an unreachable collector is reported with a button to try again', async (t) => {
  const page = await newPage(browser, t, { toleratesErrors: true });
  await page.route('**/api/throughline/search?*', (route) => route.abort('connectionrefused'));
  await page.goto(`${HOME}/`);
  await page.getByRole('alert').getByText('The collector cannot be reached').waitFor();
  await page.unroute('**/api/throughline/search?*');
  await page.getByRole('button', { name: 'Try again' }).click();
  await page.locator('.result').first().waitFor();
});

test('a rejected query shows the collector’s reason', async (t) => {
  const page = await newPage(browser, t, { toleratesErrors: true });
  const body = JSON.stringify({
    status: 400,
    message: 'the limit is too high',
    parameter: 'limit',
  });
  await page.route('**/api/throughline/search?*', (route) =>
    route.fulfill({ status: 400, contentType: 'application/json', body }),
  );
  await page.goto(`${HOME}/`);
  await page.getByRole('alert').getByText('The limit is too high.').waitFor();
});

test('the page follows the theme of the system, and remembers another choice', async (t) => {
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

test('each field narrows the search and is part of the address', async (t) => {
  const mark = `field-${Date.now()}`;
  const topic = `topic-${mark}`;
  await sendTrace([{ id: 'a000000000000010', service: mark, name: 'quick', at: [0, 5] }]);
  await sendTrace([
    { id: 'a000000000000011', service: mark, name: 'slow', at: [0, 900], failed: true },
    {
      id: 'a000000000000012',
      service: mark,
      name: 'send',
      at: [0, 5],
      kind: 'producer',
      parent: 'a000000000000011',
      attributes: { 'messaging.destination.name': topic },
    },
  ]);
  const page = await newPage(browser, t);
  const only = async (/** @type {string} */ params, /** @type {string} */ name) => {
    await page.goto(`${HOME}/search?service=${mark}${params}`);
    await page.getByText('1 trace, ').waitFor();
    assert.match((await page.locator('.result').textContent()) ?? '', new RegExp(name));
  };
  await only('&operation=quick', 'quick');
  await only('&minDuration=500ms', 'slow');
  await only('&maxDuration=100ms', 'quick');
  await only('&errors=true', '1 error');
  await only(`&topic=${topic}`, topic);
  await only(`&q=${encodeURIComponent(`{ topic = "${topic}" } && { status = error }`)}`, 'slow');
  await page.goto(`${HOME}/search?service=${mark}&order=duration`);
  await page.getByText('2 traces, longest first').waitFor();
  assert.match((await page.locator('.result').first().textContent()) ?? '', /slow/);
  assert.equal(await page.getByRole('combobox', { name: 'Order' }).inputValue(), 'duration');
  await page.goto(`${HOME}/search?service=${mark}&lookback=custom&start=1&end=2`);
  await page.getByRole('heading', { name: 'No traces found' }).waitFor();
  await page.getByLabel('From', { exact: true }).waitFor();
});

test('further results are loaded page by page', async (t) => {
  const service = `paged-${Date.now()}`;
  for (let i = 0; i < 23; i++)
    await sendTrace([{ id: 'a000000000000020', service, name: `n${i}`, at: [0, 5] }], {
      ago: 1_000 + i * 100,
    });
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/search?service=${service}`);
  await page.locator('.result').nth(19).waitFor();
  assert.equal(await page.locator('.result').count(), 20);
  await page.getByRole('button', { name: 'Show more' }).click();
  await page.locator('.result').nth(22).waitFor();
  assert.equal(await page.locator('.result').count(), 23);
  assert.equal(await page.getByRole('button', { name: 'Show more' }).count(), 0);
});

test('attribute names and values are completed by keyboard', async (t) => {
  const mark = `value-${Date.now()}`;
  await sendTrace([
    {
      id: 'a000000000000030',
      name: 'completed',
      at: [0, 5],
      attributes: { 'e2e.completed.key': mark },
    },
  ]);
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/search`);
  const line = page.getByRole('combobox', { name: 'Attributes or query' });
  await line.focus();
  await page.keyboard.type('e2e.compl');
  await page.getByRole('option', { name: 'e2e.completed.key' }).waitFor();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  assert.equal(await line.inputValue(), 'e2e.completed.key=');
  await page.keyboard.type(mark.slice(0, -1));
  await page.getByRole('option', { name: mark }).waitFor();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await page.keyboard.press('Enter');
  await page.getByText('1 trace, newest first').waitFor();
  assert.match(page.url(), new RegExp(`q=e2e.completed.key%3D${mark}`));
});

test('a new trace appears while Live is on', async (t) => {
  const service = `live-${Date.now()}`;
  await sendTrace([{ id: 'a000000000000040', service, name: 'before', at: [0, 5] }]);
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/search?service=${service}`);
  await page.locator('.result').waitFor();
  await page.getByLabel('Live', { exact: true }).check();
  await sendTrace([{ id: 'a000000000000041', service, name: 'after', at: [0, 5] }], { ago: 0 });
  await page.locator('.result', { hasText: 'after' }).waitFor();
});

test('a brush on the plot filters the list and can become the query', async (t) => {
  const service = `brush-${Date.now()}`;
  await sendTrace([{ id: 'a000000000000050', service, name: 'early', at: [0, 5] }], {
    ago: 60_000,
  });
  await sendTrace([{ id: 'a000000000000051', service, name: 'late', at: [0, 5] }], { ago: 1_000 });
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/search?service=${service}`);
  const over = page.locator('.scatter .u-over');
  await over.waitFor();
  const area = await over.boundingBox();
  assert.ok(area);
  await page.mouse.move(area.x + area.width * 0.7, area.y + 2);
  await page.mouse.down();
  await page.mouse.move(area.x + area.width - 2, area.y + area.height - 2, { steps: 5 });
  await page.mouse.up();
  await page.getByText('1 of 2 traces in the selection').waitFor();
  assert.match((await page.locator('.result').textContent()) ?? '', /late/);
  await page.getByRole('button', { name: 'Search selection' }).click();
  await page.getByText('1 trace, newest first').waitFor();
  assert.match(page.url(), /lookback=custom/);
});

test('on a phone the page does not scroll sideways and has every field', async (t) => {
  const page = await newPage(browser, t);
  await page.setViewportSize({ width: 375, height: 740 });
  await page.goto(`${HOME}/search`);
  await page.locator('.result').first().waitFor();
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false);
  await page.getByLabel('Attributes or query').waitFor();
  assert.ok(
    ((await page.locator('.result').first().boundingBox())?.y ?? NaN) < 740,
    'a result is in view without scrolling',
  );
  await checkAccessibility(page);
  const topic = page.getByRole('combobox', { name: 'Topic' });
  assert.equal(await topic.isVisible(), false);
  await page.getByRole('button', { name: 'More fields' }).click();
  for (const name of ['Operation', 'Topic', 'Order', 'Limit'])
    await page.getByRole('combobox', { name, exact: true }).waitFor();
  await topic.selectOption('eshop-topic');
  await page.getByRole('button', { name: 'Find traces' }).click();
  await page.waitForURL(/topic=eshop-topic/);
  await page.reload();
  await topic.waitFor();
});

for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
  test(`the search page has no accessibility finding in ${colorScheme}`, async (t) => {
    const page = await newPage(browser, t, { colorScheme });
    await page.goto(`${HOME}/`);
    await page.locator('.result').first().waitFor();
    await checkAccessibility(page);
  });
}
