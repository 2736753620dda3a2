/**
 * Tests of the line of a query node, in a real browser. The collector of these tests is another
 * one, so its response is replaced.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openBrowser } from './browser.mjs';
import { checkAccessibility, HOME, newPage } from './page.mjs';

/** @type {import('playwright-core').Browser} */
let browser;
before(async () => {
  browser = await openBrowser();
});
after(() => browser?.close());

const PAGES = ['search', 'services', 'map'];

test('other collectors have no line', async (t) => {
  const page = await newPage(browser, t);
  for (const path of PAGES) {
    const answered = page.waitForResponse('**/api/throughline/freshness');
    await page.goto(`${HOME}/${path}`);
    assert.deepEqual(await (await answered).json(), { query_node: null });
    await page.waitForLoadState('networkidle');
    assert.equal(await page.getByText('Query node').count(), 0, path);
  }
});

for (const colorScheme of /** @type {const} */ (['light', 'dark']))
  test(`a query node says how recent its spans are (${colorScheme})`, async (t) => {
    const page = await newPage(browser, t, { colorScheme });
    const now = Date.now() * 1e3;
    const node = { latest_start: now - 130e6, refreshed: now, failing: false };
    await page.route('**/api/throughline/freshness', (route) =>
      route.fulfill({ json: { query_node: node } }),
    );
    for (const path of PAGES) {
      await page.goto(`${HOME}/${path}`);
      await page.getByText(/^Query node: .* the newest began .* \(2 min ago\)\.$/).waitFor();
      await checkAccessibility(page);
    }
    await page.goto(`${HOME}/search`);
    await page.getByText(/^Query node: .* the newest began/).waitFor();
    node.failing = true;
    // Without a reload.
    const alert = page.getByRole('alert').filter({ hasText: 'the last look for new spans failed' });
    await alert.waitFor();
    await checkAccessibility(page);
    node.failing = false;
    await page.getByRole('button', { name: 'Find traces' }).click();
    await alert.waitFor({ state: 'detached' });
  });
