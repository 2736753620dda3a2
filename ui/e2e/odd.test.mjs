/** Tests of odd traces, files and queries in a real browser: what they show must stay true. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openBrowser, VIEWPORT } from './browser.mjs';
import { sendFixture, sendTrace } from './otlp.mjs';
import { HOME, newPage } from './page.mjs';

const VIEWS = ['timeline', 'journey', 'graph', 'flame', 'statistics', 'spans', 'json'];

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

/** @param {import('playwright-core').Locator} locator */
async function textOf(locator) {
  return (await locator.innerText()).replace(/\s+/g, ' ');
}

/**
 * The parts of the time breakdown with their times.
 * @param {import('playwright-core').Page} page
 */
async function breakdownOf(page) {
  const pills = page.getByRole('list', { name: 'Services and topics' }).getByRole('listitem');
  await pills.first().waitFor();
  return (await pills.allInnerTexts()).map((text) => text.replace(/\s+/g, ' ').trim());
}

test('the time breakdown covers the whole trace, whatever its roots', async (t) => {
  const page = await newPage(browser, t);
  for (const [name, expected] of /** @type {[string, string[]][]} */ ([
    ['multiroot', ['idle 245 ms', 's0 5 ms', 's49 5 ms']],
    ['orphans', ['idle 95 ms', 's0 35 ms', 's1 35 ms', 's2 30 ms']],
    ['skew', ['idle 24 h 0 m', 'a 10 ms', 'b 5 ms']],
  ])) {
    await page.goto(`${HOME}/trace/${await sendFixture(name)}`);
    const parts = await breakdownOf(page);
    for (const part of expected) assert.ok(parts.includes(part), `${name}: ${part} in ${parts}`);
    const bar = await page.locator('.breakdown-bar').boundingBox();
    const widths = await page
      .locator('.breakdown-bar span')
      .evaluateAll((all) => all.map((part) => part.getBoundingClientRect().width));
    const filled = widths.reduce((sum, width) => sum + width, 0);
    assert.ok(bar && filled > bar.width * 0.95, `${name}: ${filled} of ${bar?.width} pixels`);
  }
  const heading = page.getByRole('heading', { name: 'Time breakdown' });
  assert.match((await heading.getAttribute('title')) ?? '', /add up to the duration/);
});

test('a start below a microsecond is 0, and 1 ms is no 1000 µs', async (t) => {
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${await sendFixture('sub-microsecond-start')}`);
  assert.match(await textOf(page.locator('.trace-header .facts')), /Duration 1 ms/);
  assert.match(await textOf(page.locator('.row')), /from 0 µs/);
  assert.doesNotMatch(await textOf(page.locator('main')), /-0|1000 µs/);
});

test('a true error tag is marked and counted, "false" and a status code are not', async (t) => {
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${await sendFixture('errors')}`);
  await row(page, 'c').getByText('error', { exact: true }).waitFor();
  assert.match(await textOf(page.locator('.trace-header .facts')), /Errors 2/);
  for (const name of ['d', 'e'])
    assert.equal(await row(page, name).locator('.failure-mark').count(), 0);
});

test('a span that ends before its start is drawn as an instant with a warning', async (t) => {
  const id = await sendTrace([
    { id: 'a100000000000001', name: 'root', at: [0, 20] },
    { id: 'a100000000000002', name: 'backwards', at: [10, -4], parent: 'a100000000000001' },
  ]);
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${id}`);
  await page.getByText('1 span ending before the start').waitFor();
  await row(page, 'backwards').getByText('negative duration').waitFor();
  assert.equal(await row(page, 'backwards').locator('.bar.instant').count(), 1);
});

test('a span of 500 years leaves the plot and the list of the others legible', async (t) => {
  const service = `future-${Date.now()}`;
  for (let i = 0; i < 5; i++)
    await sendTrace([{ id: 'a200000000000001', service, name: 'usual', at: [0, 20 + i] }]);
  await sendTrace([
    { id: 'a200000000000001', service, name: 'absurd', at: [0, 500 * 365 * 86_400_000] },
  ]);
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/search?service=${service}`);
  await page.locator('.result', { hasText: 'absurd' }).getByText('500 y').waitFor();
  const meters = await page
    .locator('.result', { hasText: 'usual' })
    .locator('.meter span')
    .evaluateAll((all) => all.map((meter) => meter.getBoundingClientRect().width));
  assert.ok(Math.min(...meters) > 20, `the meters show the others: ${meters}`);
  await page.locator('.scatter canvas').waitFor();
  await page.locator('.result-name', { hasText: 'absurd' }).click();
  assert.match(await textOf(page.locator('.trace-header .facts')), /Duration 500 y/);
});

/** A checkout of 222 ms whose message is committed by a timer, five seconds later. */
function committedLate() {
  const message = { 'messaging.destination.name': 'orders' };
  return sendTrace(
    [
      { id: 'a300000000000001', service: 'shop', name: 'GET /buy', at: [0, 100], kind: 'server' },
      {
        id: 'a300000000000002',
        service: 'shop',
        name: 'send orders',
        at: [80, 10],
        kind: 'producer',
        parent: 'a300000000000001',
        attributes: message,
      },
      {
        id: 'a300000000000003',
        service: 'mail',
        name: 'process orders',
        at: [120, 102],
        kind: 'consumer',
        parent: 'a300000000000002',
        attributes: message,
      },
      {
        id: 'a300000000000004',
        service: 'mail',
        name: 'commit orders',
        at: [5_036, 4],
        kind: 'client',
        parent: 'a300000000000003',
        attributes: { ...message, 'messaging.operation.type': 'settle' },
      },
    ],
    { ago: 6_000 },
  );
}

test('a commit after the work is drawn apart and does not count', async (t) => {
  const id = await committedLate();
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${id}`);
  assert.match(
    await textOf(page.locator('.trace-header .facts')),
    /Duration 222 ms Committed after 4\.82 s/,
  );
  const parts = await breakdownOf(page);
  assert.ok(!parts.some((part) => part.startsWith('idle')), `nobody waited: ${parts}`);
  await page.locator('.cut-label', { hasText: '+4.82 s' }).waitFor();
  const commit = await row(page, 'commit orders').locator('.bar.settles').boundingBox();
  const work = await row(page, 'process orders').locator('.bar').boundingBox();
  const cut = await page.locator('.cut.settling').boundingBox();
  assert.ok(commit && work && cut);
  assert.ok(commit.height < work.height && commit.x >= cut.x - 1, 'thin, and after the cut');
  assert.ok(work.width > 200, `the work has the room: ${work.width}`);
  await page.goto(`${HOME}/search?q=${id}`);
  // Until a frame has drawn it, a row of the list has no text (`content-visibility: auto`).
  await page.locator('.result').getByText('committed after 4.82 s').waitFor();
  assert.match(await textOf(page.locator('.result')), /222 ms .* committed after 4\.82 s/);
});

test('labels of neighbouring idle gaps are whole and do not overlap', async (t) => {
  const id = await sendTrace(
    [0, 400, 410, 11_000, 11_030, 22_650].map((at, i) => ({
      id: `a40000000000000${i}`,
      name: `step ${i}`,
      at: /** @type {[number, number]} */ ([at, 10]),
    })),
    { ago: 30_000 },
  );
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${id}`);
  await page.locator('.cut-label').first().waitFor();
  const axis = await page.locator('.ruler-axis').boundingBox();
  const boxes = await page.locator('.ruler-axis > span').evaluateAll((all) =>
    all.map((label) => {
      const { left, right } = label.getBoundingClientRect();
      return { left, right, text: label.textContent };
    }),
  );
  boxes.sort((a, b) => a.left - b.left);
  assert.ok(axis);
  for (const [i, { right, text }] of boxes.entries()) {
    const next = boxes[i + 1];
    assert.ok(!next || right <= next.left + 1, `${text} overlaps ${next?.text}`);
    if (text?.includes('idle')) assert.ok(right <= axis.x + axis.width + 1, `${text} is cut off`);
  }
});

test('names of 5,000 characters leave every view on the page', async (t) => {
  const long = 'a very long name '.repeat(300);
  const id = await sendTrace([
    { id: 'a500000000000001', service: long, name: long, at: [0, 20] },
    {
      id: 'a500000000000002',
      service: 'x'.repeat(5_000),
      name: 'y'.repeat(5_000),
      at: [1, 10],
      kind: 'client',
      parent: 'a500000000000001',
      attributes: { 'server.address': 'z'.repeat(5_000) },
      failed: true,
    },
  ]);
  const page = await newPage(browser, t);
  for (const view of VIEWS) {
    await page.goto(`${HOME}/trace/${id}?view=${view}&span=a500000000000002`);
    const content = page.locator('.row, .graph-node, .frame, .sort-row, .json').first();
    await content.waitFor();
    const box = await content.boundingBox();
    assert.ok(box && box.y < VIEWPORT.height - 60, `${view}: its content begins at ${box?.y}`);
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= VIEWPORT.width, `${view}: the page is ${width} pixels wide`);
  }
  await page.goto(`${HOME}/search?q=${id}`);
  const result = await page.locator('.result').boundingBox();
  assert.ok(result && result.height < 200, `the result is ${result?.height} pixels high`);
});

test('a flame graph of 30,000 levels draws only what is in view', async (t) => {
  const depth = 30_000;
  const idOf = (/** @type {number} */ i) => (0xa6_0000_0000 + i).toString(16).padStart(16, '0');
  const id = await sendTrace(
    Array.from({ length: depth }, (_, i) => ({
      id: idOf(i),
      name: 'recurse',
      at: /** @type {[number, number]} */ ([i / 1e3, (2 * depth - 2 * i) / 1e3 + 1]),
      ...(i > 0 && { parent: idOf(i - 1) }),
    })),
    { ago: 5_000 },
  );
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${id}`);
  await page.locator('.row').first().waitFor();
  const start = Date.now();
  await page.getByRole('tab', { name: 'Flame graph' }).click();
  await page.locator('.frame').first().waitFor();
  const took = Date.now() - start;
  t.diagnostic(`the flame graph took ${took} ms`);
  assert.ok(took < 5_000, `took ${took} ms; on an idle machine it is below one second`);
  assert.ok((await page.locator('.frame').count()) < 200);
  await page.locator('.flame-scroll').evaluate((box) => box.scrollTo(0, box.scrollHeight));
  await page.waitForFunction(
    (deepest) =>
      [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('.frame'))].some(
        (frame) => Number.parseInt(frame.style.top, 10) === deepest,
      ),
    (depth - 1) * 24,
  );
});

test('client calls show where they went, in timeline, graph, search and details', async (t) => {
  const call = (
    /** @type {number} */ i,
    /** @type {string} */ host,
    /** @type {string} */ path,
  ) => ({
    id: `a70000000000000${i}`,
    service: 'eshop',
    name: 'GET',
    at: /** @type {[number, number]} */ ([i, 5]),
    kind: /** @type {const} */ ('client'),
    ...(i > 0 && { parent: 'a700000000000000' }),
    attributes: { 'server.address': host, 'server.port': '8080', 'url.path': path },
  });
  const id = await sendTrace([
    call(0, 'front', '/checkout'),
    call(1, 'billing', '/payment'),
    call(2, 'inventory', '/createOrder'),
  ]);
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${id}?span=a700000000000001`);
  await row(page, 'billing:8080/payment').waitFor();
  assert.match(
    await textOf(row(page, 'billing:8080/payment')),
    /eshop GET → billing:8080\/payment/,
  );
  await page.getByRole('complementary').getByText('billing:8080/payment').first().waitFor();
  await page.getByRole('tab', { name: 'Graph', exact: true }).click();
  for (const place of ['front:8080/checkout', 'billing:8080/payment', 'inventory:8080/createOrder'])
    await page.getByRole('button', { name: `eshop GET → ${place}` }).waitFor();
  await page.goto(`${HOME}/search?q=${id}`);
  await page.locator('.result-name', { hasText: 'GET → front:8080/checkout' }).waitFor();
});

test('an inferred parent has its confidence beside it and its evidence on hover', async (t) => {
  const id = await sendTrace([
    { id: 'a800000000000001', name: 'in', at: [0, 20] },
    {
      id: 'a800000000000002',
      name: 'out',
      at: [1, 5],
      parent: 'a800000000000001',
      attributes: {
        'throughline.parent.evidence': 'sole',
        'throughline.parent.confidence': '0.9996',
      },
    },
  ]);
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${id}`);
  const mark = row(page, 'out').locator('.mark.inferred');
  assert.equal(await mark.innerText(), 'inferred 99.9 %');
  assert.match((await mark.getAttribute('title')) ?? '', /only one request was in flight/);
});

test('a pasted URL needs no quotes', async (t) => {
  const url = `http://h.example/c?a=1&b=${Date.now()}`;
  await sendTrace([
    { id: 'a900000000000001', name: 'by URL', at: [0, 5], attributes: { 'http.url': url } },
  ]);
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/search`);
  const line = page.getByLabel('Attributes or query');
  await line.fill(`http.url=${url}`);
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Find traces' }).click();
  await page.locator('.result', { hasText: 'by URL' }).waitFor();
});

test('a refused query shows where and how to quote', async (t) => {
  const page = await newPage(browser, t, { toleratesErrors: true });
  const query = '{ .http.url = http://h/c?a=1&b=2 }';
  await page.goto(`${HOME}/search?q=${encodeURIComponent(query)}`);
  const problem = page.locator('.query-line .field-error');
  await problem.getByText('texts need quotes: write "http://h/c?a=1&b=2"').waitFor();
  const before = await problem.locator('.error-place').evaluate((place) => {
    const mark = place.querySelector('mark');
    return place.textContent?.slice(0, mark?.previousSibling?.textContent?.length ?? 0);
  });
  assert.equal(before, '{ .http.url = ', 'the mark is at the value');
});

/** @type {[string, string, string][]} */
const FILES = [
  ['o-result.json', 'n', ''],
  ['o-trace.json', 'n', ''],
  ['o-array.json', 'n', '1 repeated span, left out'],
  ['o-jsonl-trunc.jsonl', 'n', 'line 2 is not valid JSON; the file seems to be cut off there'],
  ['tempo-batches.json', 'GET /stock', ''],
  ['v3-own-answer.json', '<img src=x onerror="window.__xss=1">', ''],
  ['j-nulls.json', 'op1', '1 span without a start'],
  ['j-neg.json', 'op1', '1 span that ends before it starts'],
  ['j-dup.json', 'dup', ''],
  ['spanelem-null.json', 'op1', '1 entry that is no object'],
];

test('files of other programs are opened, with what was left out', async (t) => {
  const page = await newPage(browser, t);
  for (const [name, span, note] of FILES) {
    await page.goto(`${HOME}/`);
    const path = new URL(`../fixtures/files/${name}`, import.meta.url).pathname;
    await page.getByLabel('Trace file').setInputFiles(path);
    await row(page, span).first().waitFor();
    if (note) await page.locator('.remarks', { hasText: note }).waitFor();
    assert.equal(await page.evaluate(() => '__xss' in window), false, name);
  }
  await page.goto(`${HOME}/`);
  await page
    .getByLabel('Trace file')
    .setInputFiles(new URL('../fixtures/files/rs-null.json', import.meta.url).pathname);
  await page.getByRole('alert').getByText('its documents have no spans').waitFor();
});
