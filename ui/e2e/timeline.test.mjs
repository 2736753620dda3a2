/** Tests of the timeline with messages, time and the keyboard, in a real browser. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openBrowser } from './browser.mjs';
import { largeTrace } from './large.mjs';
import { newestCheckout, sendTrace } from './otlp.mjs';
import { HOME, newPage } from './page.mjs';

/** @type {import('playwright-core').Browser} */
let browser;
before(async () => {
  browser = await openBrowser();
});
after(() => browser?.close());

/**
 * @param {import('playwright-core').Page} page
 * @param {string} name
 */
function row(page, name) {
  return page.locator('.row', { has: page.getByText(name, { exact: true }) });
}

test('an hour in a topic is hidden with a mark, and shown on request', async (t) => {
  const hour = 3_600_000;
  const id = await sendTrace(
    [
      {
        id: '3000000000000001',
        name: 'send',
        at: [0, 100],
        kind: 'producer',
        attributes: { 'messaging.destination.name': 'slow' },
      },
      {
        id: '3000000000000002',
        name: 'process',
        at: [hour, 100],
        kind: 'consumer',
        parent: '3000000000000001',
      },
    ],
    { ago: hour + 1_000 },
  );
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${id}`);
  await page.getByText('1 h 0 m idle').waitFor();
  const wide = await row(page, 'process').locator('.bar').boundingBox();
  assert.ok(wide && wide.width > 100);
  assert.match(await row(page, 'process').locator('.wait').innerText(), /in slow 1 h 0 m/);
  await page.getByLabel('Hide idle gaps').uncheck();
  await page.locator('.cut').waitFor({ state: 'detached' });
  const narrow = await row(page, 'process').locator('.bar').boundingBox();
  assert.ok(narrow && narrow.width < 5);
  assert.match(page.url(), /gaps=all/);
});

test('the blocking and the end-to-end critical path are marked', async (t) => {
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${await newestCheckout()}`);
  await page.getByLabel('Critical path').selectOption('blocking');
  await row(page, 'GET /checkout').locator('.critical').first().waitFor();
  assert.equal(await row(page, 'GET /sendEmail').locator('.critical').count(), 0);
  await page.getByLabel('Critical path').selectOption('end-to-end');
  await row(page, 'GET /sendEmail').locator('.critical').first().waitFor();
  await page.reload();
  await row(page, 'GET /sendEmail').locator('.critical').first().waitFor();
});

test('a batch is one row with its size, and its messages and links are listed', async (t) => {
  const sends = Array.from({ length: 6 }, (_, i) => ({
    id: `400000000000000${i}`,
    name: 'send',
    at: /** @type {[number, number]} */ ([i * 5, 4]),
    kind: /** @type {const} */ ('producer'),
    attributes: { 'messaging.destination.name': 'bulk' },
  }));
  const id = await sendTrace([
    ...sends,
    {
      id: '4000000000000010',
      name: 'take',
      at: [60, 20],
      kind: 'consumer',
      follows: sends.map(({ id: span }, i) => ({
        span,
        attributes: { 'messaging.kafka.offset': `${40 + i}` },
      })),
      attributes: { 'messaging.destination.name': 'bulk' },
    },
  ]);
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${id}`);
  await row(page, 'take').getByText('batch of 6').waitFor();
  assert.equal(await page.locator('.edge.one-of-many').count(), 6);
  await row(page, 'take').click();
  const detail = page.getByRole('complementary');
  await detail.getByText('45', { exact: true }).waitFor();
  assert.equal(await detail.locator('.message-list li').count(), 6);
});

test('similar consumers of one message are one row until expanded', async (t) => {
  const consumers = Array.from({ length: 9 }, (_, i) => ({
    id: `500000000000001${i}`,
    name: 'handle',
    at: /** @type {[number, number]} */ ([20 + i, 5]),
    kind: /** @type {const} */ ('consumer'),
    parent: '5000000000000001',
  }));
  const id = await sendTrace([
    { id: '5000000000000001', name: 'send', at: [0, 5], kind: 'producer' },
    ...consumers,
  ]);
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${id}`);
  await page.getByText('× 9').waitFor();
  assert.equal(await page.locator('.row').count(), 2);
  await page.locator('.row .twisty.folded').click();
  await page.locator('.row').nth(9).waitFor();
  await page.goto(`${HOME}/trace/${id}?span=5000000000000018`);
  await page.locator('.row.open').waitFor();
});

test('a row shows message position and evidence, the details show units', async (t) => {
  const id = await sendTrace([
    {
      id: '6000000000000001',
      name: 'send',
      at: [0, 5],
      kind: 'producer',
      attributes: { 'messaging.destination.name': 'orders', 'http.request.body.size': '20480' },
    },
    {
      id: '6000000000000002',
      name: 'process',
      at: [20, 5],
      kind: 'consumer',
      parent: '6000000000000001',
      attributes: {
        'messaging.destination.name': 'orders',
        'messaging.destination.partition.id': '3',
        'messaging.kafka.offset': '77',
        'messaging.consumer.group.name': 'mail',
      },
    },
    {
      id: '6000000000000003',
      name: 'guess',
      at: [21, 2],
      kind: 'client',
      parent: '6000000000000002',
      attributes: {
        'throughline.parent.evidence': 'sole',
        'throughline.parent.confidence': '0.83',
      },
    },
    {
      id: '6000000000000004',
      name: 'fragment',
      at: [22, 2],
      kind: 'client',
      attributes: { 'throughline.parent.evidence': 'open' },
    },
  ]);
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${id}`);
  await row(page, 'process').getByText('orders/3@77').waitFor();
  await row(page, 'guess').getByText('inferred 83 %').waitFor();
  assert.equal(await row(page, 'guess').locator('.bar.dashed').count(), 1);
  await row(page, 'fragment').getByText('open', { exact: true }).waitFor();
  await row(page, 'process').click();
  const facts = page.locator('.message-facts');
  assert.match(
    (await facts.innerText()).replace(/\s+/g, ' '),
    /Topic orders Partition 3 Offset 77 Group mail/,
  );
  await row(page, 'send').click();
  await page.getByRole('complementary').getByText('20 KiB').waitFor();
});

test('find marks, counts and steps through matches; errors are stepped through', async (t) => {
  const id = await sendTrace([
    { id: '7000000000000001', name: 'root', at: [0, 50] },
    {
      id: '7000000000000002',
      name: 'needle one',
      at: [5, 5],
      parent: '7000000000000001',
      failed: true,
    },
    { id: '7000000000000003', name: 'hay', at: [10, 5], parent: '7000000000000001' },
    {
      id: '7000000000000004',
      name: 'needle two',
      at: [15, 5],
      parent: '7000000000000001',
      failed: true,
    },
  ]);
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${id}`);
  await page.locator('.row').first().waitFor();
  await page.keyboard.press('/');
  await page.keyboard.type('needle');
  await page.getByText('2 matches').waitFor();
  assert.equal(await page.locator('.row.found').count(), 2);
  await page.keyboard.press('Enter');
  await page.getByText('1 of 2').waitFor();
  await page.keyboard.press('Shift+Enter');
  await page.getByText('2 of 2').waitFor();
  await page.getByLabel('Matches only').check();
  await row(page, 'hay').waitFor({ state: 'detached' });
  assert.equal(await page.locator('.row').count(), 3, 'the matches and what is above them');
  await page.reload();
  await row(page, 'needle one').waitFor();
  assert.equal(await page.locator('.row').count(), 3, 'it is in the address');
  await page.getByRole('treegrid').focus();
  await page.keyboard.press('End');
  await page.locator('.row.active', { hasText: 'needle two' }).waitFor();
  const field = page.getByRole('searchbox', { name: 'Find in this trace' });
  await field.fill('hay');
  await row(page, 'hay').waitFor();
  await row(page, 'needle one').waitFor({ state: 'detached' });
  await field.fill('nothing of the kind');
  await page.getByText('no matches', { exact: true }).waitFor();
  assert.equal(await page.locator('.row').count(), 0);
  await page.getByRole('treegrid').focus();
  await page.keyboard.press('ArrowDown');
  await field.fill('hay');
  await row(page, 'hay').waitFor();
  const active = await page.getByRole('treegrid').getAttribute('aria-activedescendant');
  assert.equal(await page.locator(`#${active}`).count(), 1, 'the active row is one that is shown');
  await field.focus();
  await page.keyboard.press('Escape');
  await page.locator('.row').nth(3).waitFor();
  await page.getByRole('treegrid').focus();
  await page.keyboard.press('Home');
  const detail = page.getByRole('complementary');
  await page.keyboard.press('e');
  await detail.getByRole('heading', { name: 'needle one' }).waitFor();
  await page.keyboard.press('e');
  await detail.getByRole('heading', { name: 'needle two' }).waitFor();
  await page.keyboard.press('Shift+E');
  await detail.getByRole('heading', { name: 'needle one' }).waitFor();
});

test('the minimap zooms, keys zoom and pan, and the window is in the address', async (t) => {
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${await newestCheckout()}`);
  const area = await page.locator('.minimap-area').boundingBox();
  assert.ok(area);
  await page.mouse.move(area.x + area.width * 0.2, area.y + 20);
  await page.mouse.down();
  await page.mouse.move(area.x + area.width * 0.6, area.y + 20, { steps: 4 });
  await page.mouse.up();
  await page.waitForURL(/window=/);
  const dragged = page.url();
  await page.keyboard.press('d');
  await page.waitForFunction((before) => location.href !== before, dragged);
  await page.keyboard.press('+');
  await page.getByRole('button', { name: 'Full range' }).waitFor();
  await page.keyboard.press('0');
  await page.waitForURL((url) => !url.searchParams.has('window'));
  await page.keyboard.press('Shift+ArrowUp');
  await page.waitForURL(/window=/);
  const zoomed = page.url();
  await page.keyboard.press('Shift+ArrowRight');
  await page.waitForFunction((before) => location.href !== before, zoomed);
  await page.keyboard.press('Shift+ArrowDown');
  await page.waitForURL((url) => !url.searchParams.has('window'));
});

test('keys collapse and expand levels, and ? opens the help', async (t) => {
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${await newestCheckout()}`);
  await page.locator('.row').nth(12).waitFor();
  await page.keyboard.press('o');
  await page.locator('.row').nth(12).waitFor({ state: 'detached' });
  await page.keyboard.press('[');
  await page.locator('.row').nth(1).waitFor({ state: 'detached' });
  await page.keyboard.press('p');
  await page.locator('.row').nth(4).waitFor();
  await page.keyboard.press(']');
  await page.locator('.row').nth(12).waitFor();
  await page.keyboard.press('?');
  await page.getByRole('dialog').getByText('Expand or collapse one level').waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'hidden' });
});

test('clock skew is marked and times are drawn as recorded', async (t) => {
  const id = await sendTrace([
    { id: '8000000000000001', service: 'a', name: 'caller', at: [100, 50], kind: 'client' },
    {
      id: '8000000000000002',
      service: 'b',
      name: 'skewed',
      at: [0, 20],
      kind: 'server',
      parent: '8000000000000001',
    },
    {
      id: '8000000000000003',
      service: 'b',
      name: 'late',
      at: [400, 20],
      kind: 'server',
      parent: '8000000000000001',
    },
  ]);
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${id}?gaps=all`);
  const place = async (/** @type {string} */ name) =>
    (await row(page, name).locator('.bar').boundingBox())?.x ?? NaN;
  await row(page, 'late').waitFor();
  assert.ok((await place('skewed')) < (await place('caller')));
  assert.ok((await place('late')) > (await place('caller')));
  assert.match(await row(page, 'skewed').innerText(), /from 0 µs/);
  assert.match(await row(page, 'skewed').innerText(), /clock −100 ms/);
  await page.getByText('1 span with clock skew').waitFor();
});

test('the name column is resized by pointer and keyboard, and remembered', async (t) => {
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${await newestCheckout()}`);
  await page.locator('.edge').waitFor();
  const width = async () => (await page.locator('.name-cell').first().boundingBox())?.width ?? NaN;
  const before = await width();
  const border = page.getByRole('separator', { name: 'Width of the name column' });
  const box = await border.boundingBox();
  assert.ok(box);
  await page.mouse.move(box.x + 4, box.y + 100);
  await page.mouse.down();
  await page.mouse.move(box.x + 154, box.y + 100, { steps: 5 });
  await page.mouse.up();
  const wide = await width();
  assert.ok(Math.abs(wide - before - 150) < 12, `${before} and ${wide}`);
  await border.focus();
  await page.keyboard.press('ArrowRight');
  const wider = await width();
  assert.ok(wider > wide);
  await page.reload();
  await page.locator('.edge').waitFor();
  assert.ok(Math.abs((await width()) - wider) < 2, 'it is remembered');
  const [head, bar] = [
    await page.locator('.edge-head').boundingBox(),
    await row(page, 'From_eshop-topic').locator('.bar').boundingBox(),
  ];
  assert.ok(head && bar && Math.abs(head.x + head.width - bar.x) <= 5, 'lines go with the bars');
  await border.dblclick();
  assert.ok(Math.abs((await width()) - before) < 2);
});

const CORPUS = [
  '<script>window.owned=1</script>',
  '<img src=x onerror="window.owned=1">',
  '"><svg onload=window.owned=1>',
  'javascript:window.owned=1//\'"',
  '{{constructor.constructor("window.owned=1")()}}',
  '</title><iframe src="javascript:parent.owned=1">',
  '\u202Egnp.exe\u0000\u0007',
  '__proto__',
  'constructor',
  'x'.repeat(5_000),
];

test('markup in names, services, topics and attributes is text in every view', async (t) => {
  const spans = CORPUS.map((text, i) => ({
    id: `900000000000000${i}`,
    service: `s ${text}`,
    name: `n ${text}`,
    at: /** @type {[number, number]} */ ([i, 5]),
    ...(i > 0 && { parent: '9000000000000000' }),
    kind: /** @type {'producer' | 'consumer'} */ (i % 2 === 0 ? 'producer' : 'consumer'),
    attributes: {
      [text]: text,
      'messaging.destination.name': text,
      'throughline.parent.evidence': text,
    },
    events: [text],
  }));
  const id = await sendTrace(spans, { ago: 0 });
  const page = await newPage(browser, t);
  const views = ['timeline', 'journey', 'graph', 'flame', 'statistics', 'spans', 'json'].map(
    (view) => `trace/${id}?view=${view}&span=9000000000000001`,
  );
  for (const path of [...views, 'search', 'map', `compare/${id}/${id}`]) {
    await page.goto(`${HOME}/${path}`);
    await page
      .locator('.row, .graph-node, .frame, .sort-row, .json, .result, .compare-table')
      .first()
      .waitFor();
    assert.equal(await page.evaluate(() => 'owned' in window), false, path);
    assert.equal(
      await page.locator('#app script, #app iframe, #app img, a[href^="javascript:"]').count(),
      0,
      path,
    );
  }
});

test('a trace of 100,000 spans opens, folds and can be searched', async (t) => {
  const count = 100_000;
  const id = await sendTrace(largeTrace(count), { ago: count / 20 });
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${id}`);
  await row(page, 'the root').waitFor({ timeout: 60_000 });
  assert.ok((await page.locator('.row').count()) < 120);
  await page.getByRole('button', { name: 'Collapse all' }).click();
  await page.locator('.row').nth(1).waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Expand all' }).click();
  await page.getByRole('searchbox', { name: 'Find in this trace' }).fill('customer.id=c-42');
  await page.getByText(/\d+ matches/).waitFor();
  await page.getByRole('treegrid').focus();
  await page.keyboard.press('End');
  await page.locator(`.row[aria-rowindex="${count + 1 - (await hiddenRows(page))}"]`).waitFor();
  for (const [view, ready] of [
    ['Graph', '.graph-node'],
    ['Flame graph', '.frame'],
    ['Statistics', '.sort-row'],
    ['Spans', '.sort-row'],
  ]) {
    await page.getByRole('tab', { name: /** @type {string} */ (view), exact: true }).click();
    await page
      .locator(/** @type {string} */ (ready))
      .first()
      .waitFor({ timeout: 30_000 });
  }
});

/**
 * Rows that stand in folded runs.
 * @param {import('playwright-core').Page} page
 */
async function hiddenRows(page) {
  const count = Number(await page.getByRole('treegrid').getAttribute('aria-rowcount'));
  return 100_001 - count;
}
