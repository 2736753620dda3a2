/**
 * Writes screenshots of every page and view, light and dark, to the folder named by SCREENSHOTS.
 *
 * The collector must hold a checkout of the demo in mode `linked`; several of them make better
 * pictures. This script sends two more traces, joined by a link.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { openBrowser, VIEWPORT } from './browser.mjs';
import { fromEnvironment, newestCheckout, sendTrace } from './otlp.mjs';

const home = fromEnvironment('THROUGHLINE_URL');
const folder = fromEnvironment('SCREENSHOTS');

await mkdir(folder, { recursive: true });
const checkout = await newestCheckout();
const journey = await sendJourney();
const other = await anotherCheckout();
const browser = await openBrowser();
try {
  for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
    const page = await browser.newPage({ viewport: VIEWPORT, colorScheme });
    /**
     * @param {string} name
     * @param {string} path
     * @param {string} ready
     */
    const shoot = async (name, path, ready) => {
      await page.goto(`${home}/${path}`);
      await page.locator(ready).first().waitFor();
      // Fonts and canvases settle within a few frames.
      await page.evaluate(() => new Promise((done) => setTimeout(done, 400)));
      await page.screenshot({ path: join(folder, `${name}-${colorScheme}.png`) });
    };
    await shoot('search', 'search?service=eshop', '.scatter canvas');
    await shoot('trace', `trace/${checkout}`, '.edge');
    await shoot('critical-path', `trace/${checkout}?path=end-to-end`, '.critical');
    await page
      .locator('.row', { has: page.getByText('From_eshop-topic', { exact: true }) })
      .click();
    await page.getByRole('complementary').waitFor();
    await page.screenshot({ path: join(folder, `span-${colorScheme}.png`) });
    await shoot('journey', `trace/${journey}?view=journey`, '.edge');
    await shoot('graph', `trace/${checkout}?view=graph`, '.graph-node');
    await shoot('flame', `trace/${checkout}?view=flame`, '.frame');
    await shoot('statistics', `trace/${checkout}?view=statistics`, '.sort-row');
    await shoot('spans', `trace/${checkout}?view=spans`, '.sort-row');
    await shoot('json', `trace/${checkout}?view=json`, '.json');
    await shoot('compare', `compare/${other}/${checkout}`, '.compare-table');
    await shoot('map', 'map', '.graph-node');
    await page.setViewportSize({ width: 390, height: 800 });
    await shoot('phone', 'search', '.result');
    await page.close();
  }
} finally {
  await browser.close();
}
console.log(`screenshots written to ${folder}`);

/** Sends an order and, twelve minutes later, its invoice: two traces joined by a link. */
async function sendJourney() {
  const minutes = 60_000;
  const order = await sendTrace(
    [
      {
        id: '1100000000000001',
        service: 'orders',
        name: 'POST /orders',
        at: [0, 140],
        kind: 'server',
        attributes: { 'http.route': '/orders' },
      },
      {
        id: '1100000000000002',
        service: 'orders',
        name: 'INSERT orders',
        at: [12, 60],
        parent: '1100000000000001',
        kind: 'client',
      },
      {
        id: '1100000000000003',
        service: 'orders',
        name: 'send invoices',
        at: [90, 14],
        parent: '1100000000000001',
        kind: 'producer',
        attributes: { 'messaging.destination.name': 'invoices' },
      },
    ],
    { ago: 15 * minutes },
  );
  await sendTrace(
    [
      {
        id: '1100000000000004',
        service: 'invoicing',
        name: 'process invoices',
        at: [0, 210],
        kind: 'consumer',
        follows: { trace: order, span: '1100000000000003' },
        attributes: {
          'messaging.destination.name': 'invoices',
          'messaging.destination.partition.id': '4',
          'messaging.kafka.offset': '90210',
        },
      },
      {
        id: '1100000000000005',
        service: 'invoicing',
        name: 'render',
        at: [8, 120],
        parent: '1100000000000004',
      },
      {
        id: '1100000000000006',
        service: 'invoicing',
        name: 'PUT /archive',
        at: [134, 70],
        parent: '1100000000000004',
        kind: 'client',
      },
      {
        id: '1100000000000007',
        service: 'archive',
        name: 'PUT /archive',
        at: [138, 62],
        parent: '1100000000000006',
        kind: 'server',
      },
    ],
    { ago: 3 * minutes },
  );
  return order;
}

/** Returns another checkout to compare with, or the same one if there is no other. */
async function anotherCheckout() {
  const params = new URLSearchParams({
    service: 'eshop',
    operation: 'GET /checkout',
    limit: '20',
  });
  const response = await fetch(`${home}/api/throughline/search?${params}`);
  const { traces } = /** @type {{traces: {trace_id: string}[]}} */ (await response.json());
  return traces.find((trace) => trace.trace_id !== checkout)?.trace_id ?? checkout;
}
