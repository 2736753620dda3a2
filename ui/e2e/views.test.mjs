/** Tests of every view of a trace, the comparison and the map, in a real browser. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { openBrowser } from './browser.mjs';
import { newestCheckout, sendTrace } from './otlp.mjs';
import { checkAccessibility, HOME, newPage } from './page.mjs';

/** @type {import('playwright-core').Browser} */
let browser;
/** ID of a checkout of the demo. */
let checkout = '';
before(async () => {
  browser = await openBrowser();
  checkout = await newestCheckout();
});
after(() => browser?.close());

/** Sends two traces joined by a link: an order, and seven seconds later its invoice. */
async function sendJourney() {
  const sender = await sendTrace(
    [
      {
        id: '1000000000000001',
        service: 'j-orders',
        name: 'POST /order',
        at: [0, 120],
        kind: 'server',
      },
      {
        id: '1000000000000002',
        service: 'j-orders',
        name: 'send invoices',
        at: [100, 10],
        parent: '1000000000000001',
        kind: 'producer',
        attributes: { 'messaging.destination.name': 'invoices' },
      },
    ],
    { ago: 20_000 },
  );
  const receiver = await sendTrace(
    [
      {
        id: '1000000000000003',
        service: 'j-billing',
        name: 'process invoices',
        at: [0, 90],
        kind: 'consumer',
        follows: {
          trace: sender,
          span: '1000000000000002',
          attributes: { 'e2e.note': 'link says so' },
        },
        attributes: { 'messaging.destination.name': 'invoices' },
      },
    ],
    { ago: 12_890 },
  );
  return { sender, receiver };
}

test('the journey shows linked traces as lanes, from either end', async (t) => {
  const { sender, receiver } = await sendJourney();
  const page = await newPage(browser, t);
  for (const id of [sender, receiver]) {
    await page.goto(`${HOME}/trace/${id}?view=journey`);
    await page.getByText('2 traces, joined by 1 link.').waitFor();
    await page.getByText('this trace', { exact: true }).waitFor();
    assert.equal(await page.locator('.row').count(), 3);
    await page.locator('.edge[data-from="1000000000000002"][data-to="1000000000000003"]').waitFor();
    assert.match(await page.locator('.wait-note').innerText(), /in invoices [67](\.\d+)? s/);
    assert.equal(await page.locator('.cut').count(), 1, 'the idle seconds are cut');
    const parts = await page
      .getByRole('list', { name: 'Services and topics' })
      .getByRole('button')
      .allInnerTexts();
    assert.match(
      parts.join('; ').replace(/\s+/g, ' '),
      /^in invoices [67](\.\d+)? s; j-(orders|billing) /,
      'what took longest comes first',
    );
  }
  await page.locator('.row', { hasText: 'send invoices' }).first().click();
  await page.getByRole('complementary').getByText('Received by').waitFor();
  await page.getByRole('complementary').getByRole('button', { name: 'Close details' }).click();
  await page.evaluate(() => /** @type {HTMLElement} */ (document.activeElement).blur());
  await page.keyboard.press('[');
  await page.locator('.row').nth(2).waitFor({ state: 'detached' });
  assert.equal(await page.locator('.row').count(), 2, 'keys are those of the journey');
  await page.getByRole('button', { name: 'This trace only' }).click();
  await page.getByRole('tab', { name: 'Timeline', selected: true }).waitFor();
  assert.equal(await page.locator('.row').count(), 1);
});

test('a link to another trace shows its attributes and leads to the journey of both', async (t) => {
  const { receiver } = await sendJourney();
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${receiver}?span=1000000000000003`);
  const detail = page.getByRole('complementary');
  await detail.getByText('link says so').waitFor();
  await detail.getByRole('link', { name: 'show both as a journey' }).click();
  await page.getByText('2 traces, joined by 1 link.').waitFor();
  assert.match(page.url(), /view=journey/);
});

test('the graph shows the topic between the services, and a node selects its span', async (t) => {
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${checkout}?view=graph`);
  await page.getByRole('button', { name: /Topic eshop-topic 1 message/ }).waitFor();
  const consumer = page.getByRole('button', { name: /kafka-consumer From_eshop-topic/ });
  await consumer.click();
  await page
    .getByRole('complementary')
    .getByRole('heading', { name: 'From_eshop-topic' })
    .waitFor();
  assert.match(page.url(), /view=graph.*span=/);
  await page.getByRole('tab', { name: 'Timeline' }).click();
  assert.equal(
    await page.locator('.row.open', { hasText: 'From_eshop-topic' }).count(),
    1,
    'the selection is shared',
  );
});

test('an inferred parent is dashed and has its confidence, also in the graph', async (t) => {
  const id = await sendTrace([
    { id: '2100000000000001', service: 'bare', name: 'GET /in', at: [0, 50], kind: 'server' },
    {
      id: '2100000000000002',
      service: 'bare',
      name: 'GET /out',
      at: [5, 20],
      kind: 'client',
      parent: '2100000000000001',
      attributes: {
        'throughline.parent.evidence': 'order',
        'throughline.parent.confidence': '0.62',
      },
    },
    {
      id: '2100000000000003',
      service: 'next',
      name: 'GET /out',
      at: [6, 10],
      kind: 'server',
      parent: '2100000000000002',
      attributes: { 'throughline.parent.evidence': 'header' },
    },
  ]);
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${id}`);
  await page.getByText('1 inferred parent, drawn dashed').waitFor();
  await page.goto(`${HOME}/trace/${id}?view=graph`);
  const inferred = page.locator('.graph-edge.inferred');
  await inferred.getByText('62 %').waitFor();
  assert.equal(await inferred.count(), 1);
  assert.notEqual(
    await inferred.locator('path').evaluate((line) => getComputedStyle(line).strokeDasharray),
    'none',
  );
  assert.equal(
    await page
      .locator('.graph-edge:not(.inferred) path')
      .evaluate((line) => getComputedStyle(line).strokeDasharray),
    'none',
  );
});

test('the flame graph zooms into a frame and out again', async (t) => {
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${checkout}?view=flame`);
  const frame = page.getByRole('button', { name: /^eshop GET eshop GET: 3 spans/ });
  const narrow = await frame.boundingBox();
  await frame.click();
  await page.getByRole('button', { name: 'Show all' }).waitFor();
  const wide = await frame.boundingBox();
  assert.ok(narrow && wide && wide.width > narrow.width);
  await page.keyboard.press('ArrowRight');
  assert.equal(
    await page.evaluate(() => document.activeElement?.classList.contains('frame')),
    true,
  );
  await page.getByRole('button', { name: 'Show all' }).click();
});

test('statistics are grouped and sorted, and a row selects a span', async (t) => {
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${checkout}?view=statistics`);
  await page.getByLabel('Group by').selectOption('Service');
  await page.getByRole('columnheader', { name: 'Spans' }).getByRole('button').click();
  const first = page.locator('.sort-row').first();
  assert.match(await first.innerText(), /^eshop/);
  assert.equal(
    await page.getByRole('columnheader', { name: 'Spans' }).getAttribute('aria-sort'),
    'descending',
  );
  await first.click();
  await page.getByRole('complementary').getByRole('heading', { name: 'GET /checkout' }).waitFor();
});

test('the table of spans lists the matches of a find', async (t) => {
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${checkout}?view=spans`);
  await page.locator('.sort-row').nth(12).waitFor();
  await page.getByRole('searchbox', { name: 'Find in this trace' }).fill('billing');
  await page.locator('.sort-row').nth(3).waitFor({ state: 'detached' });
  assert.equal(await page.locator('.sort-row').count(), 3);
  await page.getByRole('button', { name: 'DBAccess.save2db' }).click();
  await page
    .getByRole('complementary')
    .getByRole('heading', { name: 'DBAccess.save2db' })
    .waitFor();
});

test('the JSON view shows the trace as Jaeger JSON', async (t) => {
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${checkout}?view=json`);
  const { data } = JSON.parse(await page.locator('.json').innerText());
  assert.equal(data[0].traceID, checkout);
  assert.equal(data[0].spans.length, 13);
});

test('two selected traces are compared, and differences are named', async (t) => {
  const service = `compared-${Date.now()}`;
  const root = {
    id: '2000000000000001',
    service,
    name: 'root',
    at: /** @type {[number, number]} */ ([0, 50]),
  };
  await sendTrace([
    root,
    { id: '2000000000000002', service, name: 'left', at: [0, 10], parent: root.id },
  ]);
  await sendTrace([
    { ...root, at: [0, 90] },
    { id: '2000000000000003', service, name: 'right', at: [0, 10], parent: root.id },
  ]);
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/search?service=${service}&order=duration`);
  await page.locator('.result').nth(1).waitFor();
  for (const tick of await page.getByRole('checkbox', { name: /Compare/ }).all())
    await tick.check();
  await page.getByRole('button', { name: 'Compare 2 of 2' }).click();
  await page.waitForURL(/\/compare\/[0-9a-f]{32}\/[0-9a-f]{32}$/);
  assert.match(await page.locator('tr', { hasText: 'right' }).innerText(), /only in A/);
  assert.match(await page.locator('tr', { hasText: 'left' }).innerText(), /only in B/);
  await page.getByText('B was 40 ms faster than A').waitFor();
  await page.getByLabel('Differences only').check();
  await page.locator('tbody tr', { hasText: 'root' }).waitFor({ state: 'detached' });
});

test('the map connects services through topics and leads to the search', async (t) => {
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/map`);
  const topic = page.getByRole('button', { name: /^Topic eshop-topic \d+ sent · \d+ received/ });
  await topic.focus();
  await page.keyboard.press('Enter');
  const rows = page.locator('.edge-table tbody tr');
  const texts = (await rows.allInnerTexts()).map((text) => text.replace(/\s+/g, ' '));
  assert.ok(
    texts.some((text) => text.startsWith('eshop sends to eshop-topic')),
    texts.join('; '),
  );
  assert.ok(
    texts.some((text) => text.startsWith('eshop-topic is received by kafka-consumer')),
    texts.join('; '),
  );
  assert.equal(
    texts.some((text) => text.startsWith('eshop calls kafka-consumer')),
    false,
    'no false direct edge',
  );
  await page.getByRole('link', { name: 'Search traces through topic eshop-topic' }).click();
  await page.locator('.result').first().waitFor();
  assert.match(page.url(), /topic=eshop-topic/);
});

test('a trace round-trips through a file as Jaeger JSON and OTLP JSON', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'throughline-e2e-'));
  t.after(() => rm(folder, { recursive: true }));
  for (const format of ['jaeger', 'otlp']) {
    const page = await newPage(browser, t);
    await page.goto(`${HOME}/trace/${checkout}`);
    const download = page.waitForEvent('download');
    await page.getByLabel('Download').selectOption(format);
    const path = join(folder, (await download).suggestedFilename());
    await (await download).saveAs(path);
    assert.match(path, new RegExp(`trace-${checkout}-${format}.json$`));
    // With another trace ID, so that the page can only have read it from the file.
    const other = checkout.replace(/^.{4}/, 'feed');
    const bytes = Buffer.from(checkout, 'hex').toString('base64');
    const text = (await readFile(path, 'utf8'))
      .replaceAll(checkout, other)
      .replaceAll(bytes, Buffer.from(other, 'hex').toString('base64'));
    await writeFile(path, text);
    await page.goto(`${HOME}/`);
    await page.getByLabel('Trace file').setInputFiles(path);
    await page.getByRole('heading', { name: 'eshop GET /checkout' }).waitFor();
    assert.ok(page.url().includes(other));
    assert.equal(await page.locator('.row').count(), 13);
    await page.locator('.edge').waitFor();

    await page.getByRole('tab', { name: 'JSON' }).click();
    await page
      .locator('.json', { hasText: other.slice(4) })
      .or(page.locator('.json', { hasText: 'resourceSpans' }))
      .waitFor();
    const again = page.waitForEvent('download');
    await page.getByLabel('Download').selectOption(format);
    const copy = join(folder, `again-${format}.json`);
    await (await again).saveAs(copy);
    assert.deepEqual(
      JSON.parse(await readFile(copy, 'utf8')),
      JSON.parse(text),
      'what is saved is what was opened',
    );
    const unlike = page
      .getByLabel('Download')
      .locator('option', { hasText: format === 'jaeger' ? 'OTLP' : 'Jaeger' });
    assert.equal(await unlike.isDisabled(), true);
    await page.getByRole('tab', { name: 'Journey' }).click();
    await page.getByText('No other trace is linked to this one.').waitFor();

    await page.getByRole('link', { name: 'Throughline' }).click();
    const files = page.getByRole('region', { name: 'From files' });
    await files.getByRole('checkbox').check();
    await page
      .getByRole('region', { name: 'Results' })
      .getByRole('checkbox', { name: /Compare/ })
      .first()
      .check();
    await page.getByRole('button', { name: 'Compare 2 of 2' }).click();
    await page.locator('.compare-table tbody tr').first().waitFor();
  }
});

test('traces from a dropped file are linked in a journey', async (t) => {
  const span = (
    /** @type {string} */ trace,
    /** @type {string} */ id,
    /** @type {object} */ more,
  ) => ({
    traceId: trace.repeat(16),
    spanId: id.repeat(8),
    name: `span ${id}`,
    kind: 1,
    startTimeUnixNano: '1772000000000000000',
    endTimeUnixNano: '1772000000005000000',
    ...more,
  });
  const spans = [
    span('c1', 'a1', { name: 'far send', kind: 4 }),
    span('c2', 'a2', {
      name: 'far receive',
      kind: 5,
      links: [
        { traceId: 'c1'.repeat(16), spanId: 'a1'.repeat(8) },
        { traceId: 'c9'.repeat(16), spanId: 'a9'.repeat(8) },
      ],
    }),
  ];
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/`);
  await page.locator('.result').first().waitFor();
  const transfer = await page.evaluateHandle(
    (text) => {
      const data = new DataTransfer();
      data.items.add(new File([text], 'traces.jsonl'));
      return data;
    },
    JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans }] }] }),
  );
  await page.dispatchEvent('body', 'drop', { dataTransfer: transfer });
  await page
    .getByRole('region', { name: 'From files' })
    .getByRole('link', { name: 'far send' })
    .click();
  await page.getByRole('tab', { name: 'Journey' }).click();
  await page.getByText('2 traces, joined by 1 link. Not stored: 1 linked trace.').waitFor();
  await page.locator(`.edge[data-to="${'a2'.repeat(8)}"]`).waitFor();
});

test('a file without traces is rejected with the reason', async (t) => {
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/`);
  await page.getByLabel('Trace file').setInputFiles({
    name: 'x.json',
    mimeType: 'application/json',
    buffer: Buffer.from('{"a":1}'),
  });
  await page.getByRole('alert').getByText('x.json: the file contains no traces').waitFor();
});

test('an embedded page shows only the content, also after navigation', async (t) => {
  const page = await newPage(browser, t);
  await page.goto(`${HOME}/trace/${checkout}?embed=1`);
  await page.locator('.row').first().waitFor();
  assert.equal(await page.locator('.top-bar').count(), 0);
  await page.getByRole('tab', { name: 'Statistics' }).click();
  await page.waitForURL(/view=statistics.*embed=1/);
});

test('only pages of the same origin may embed the page', async (t) => {
  const host = createServer((incoming, outgoing) => {
    if (incoming.url === '/host')
      return outgoing
        .writeHead(200, { 'content-type': 'text/html' })
        .end(
          `<iframe title="a trace" width="900" height="600" src="/trace/${checkout}?embed=1">` +
            '</iframe>',
        );
    const proxied = request(`${HOME}${incoming.url}`, { headers: incoming.headers }, (response) => {
      outgoing.writeHead(response.statusCode ?? 500, response.headers);
      response.pipe(outgoing);
    });
    return proxied.end();
  });
  await new Promise((ready) => host.listen(0, '127.0.0.1', () => ready(undefined)));
  t.after(() => host.close());
  const { port } = /** @type {import('node:net').AddressInfo} */ (host.address());
  const page = await newPage(browser, t, { toleratesErrors: true });
  await page.goto(`http://127.0.0.1:${port}/host`);
  await page.frameLocator('iframe').locator('.row').first().waitFor();
  const refused = page.waitForEvent('console', (message) =>
    message.text().includes('frame-ancestors'),
  );
  await page.goto(`http://localhost:${port}/host`);
  await page.evaluate(
    (url) => document.querySelector('iframe')?.setAttribute('src', url),
    `http://127.0.0.1:${port}/trace/${checkout}?embed=1`,
  );
  await refused;
});

test('every page works below a base path that a proxy strips', async (t) => {
  const proxy = createServer((incoming, outgoing) => {
    const { url = '' } = incoming;
    if (!url.startsWith('/team/obs/')) return outgoing.writeHead(404).end();
    const proxied = request(
      `${HOME}${url.slice('/team/obs'.length)}`,
      { headers: incoming.headers },
      (response) => {
        outgoing.writeHead(response.statusCode ?? 500, response.headers);
        response.pipe(outgoing);
      },
    );
    return proxied.end();
  });
  await new Promise((ready) => proxy.listen(0, '127.0.0.1', () => ready(undefined)));
  t.after(() => proxy.close());
  const { port } = /** @type {import('node:net').AddressInfo} */ (proxy.address());
  const page = await newPage(browser, t);
  const base = `http://127.0.0.1:${port}/team/obs`;
  await page.goto(`${base}/search?service=eshop`);
  await page.locator('.result-name').first().click();
  await page.waitForURL(/\/team\/obs\/trace\//);
  await page.locator('.row').first().waitFor();
  await page.getByRole('tab', { name: 'Graph', exact: true }).click();
  await page.locator('.graph-node').first().waitFor();
  await page.reload();
  await page.locator('.graph-node').first().waitFor();
  for (const [path, ready] of [
    ['', '.result'],
    ['map', '.graph-node'],
    [`compare/${checkout}/${checkout}`, '.compare-table'],
  ]) {
    await page.goto(`${base}/${path}`);
    await page
      .locator(/** @type {string} */ (ready))
      .first()
      .waitFor();
  }
});

for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
  test(`no view has an accessibility finding in ${colorScheme}`, async (t) => {
    const page = await newPage(browser, t, { colorScheme });
    for (const [path, ready] of [
      [`trace/${checkout}?path=end-to-end&find=eshop`, '.row'],
      [`trace/${checkout}?view=journey`, '.row'],
      [`trace/${checkout}?view=graph`, '.graph-node'],
      [`trace/${checkout}?view=flame`, '.frame'],
      [`trace/${checkout}?view=statistics`, '.sort-row'],
      [`trace/${checkout}?view=spans`, '.sort-row'],
      [`trace/${checkout}?view=json`, '.json'],
      [`compare/${checkout}/${checkout}`, '.compare-table'],
      ['map', '.graph-node'],
      ['services', '.edge-table'],
    ]) {
      await page.goto(`${HOME}/${path}`);
      await page
        .locator(/** @type {string} */ (ready))
        .first()
        .waitFor();
      await checkAccessibility(page);
    }
    await page.keyboard.press('?');
    await page.getByRole('dialog', { name: 'Help' }).waitFor();
    await checkAccessibility(page);
  });
}
