/**
 * The modes of the demo, each with its own collector: `THROUGHLINE_MODES` names them as
 * `rest=URL,kafka=URL`.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openBrowser } from './browser.mjs';
import { newPage } from './page.mjs';

const modes = new Map(
  (process.env.THROUGHLINE_MODES ?? '')
    .split(',')
    .filter(Boolean)
    .map((mode) => /** @type {[string, string]} */ (mode.split('='))),
);

/** @type {import('playwright-core').Browser} */
let browser;
before(async () => {
  browser = await openBrowser();
});
after(() => browser?.close());

/**
 * Opens the newest checkout as a newcomer does: from the first page.
 * @param {import('node:test').TestContext} t
 * @param {string} mode
 */
async function openCheckout(t, mode) {
  const page = await newPage(browser, t);
  await page.goto(`${modes.get(mode)}/`);
  await page.locator('.result-name', { hasText: 'GET /checkout' }).first().click();
  await page.getByRole('treegrid').waitFor();
  return page;
}

test('rest: the trace ends at the eshop', { skip: !modes.has('rest') }, async (t) => {
  const page = await openCheckout(t, 'rest');
  await page.locator('.row', { hasText: 'GET /payment' }).waitFor();
  assert.equal(
    await page.locator('.row', { hasText: /topic|notification|kafka-consumer/ }).count(),
    0,
  );
  assert.equal(await page.locator('.edge').count(), 0);
});

test('kafka: the message is shown, and calls of its receiver are another trace', {
  skip: !modes.has('kafka'),
}, async (t) => {
  const page = await openCheckout(t, 'kafka');
  await page.locator('.edge[data-reference="FOLLOWS_FROM"]').waitFor();
  await page.locator('.row', { hasText: 'From_eshop-topic' }).waitFor();
  assert.equal(await page.locator('.row', { hasText: 'notification' }).count(), 0);
  await page.goto(`${modes.get('kafka')}/search?service=notification`);
  await page.locator('.result').first().waitFor();
});

for (const mode of ['linked', 'sidecar']) {
  test(`${mode}: the complete checkout with the time in the topic`, {
    skip: !modes.has(mode),
  }, async (t) => {
    const page = await openCheckout(t, mode);
    await page.locator('.row', { hasText: 'notification' }).first().waitFor();
    assert.ok((await page.locator('.edge').count()) >= 1);
    await page.getByText('Longest time in a topic').waitFor();
    await page.getByRole('tab', { name: 'Graph', exact: true }).click();
    await page.getByRole('button', { name: /^Topic eshop-topic/ }).waitFor();
  });
}

test('sidecar: inferred parents are dashed and have their confidence', {
  skip: !modes.has('sidecar'),
}, async (t) => {
  const page = await openCheckout(t, 'sidecar');
  await page.locator('.row', { hasText: 'notification' }).first().waitFor();
  await page.getByText(/inferred parents?, drawn dashed/).waitFor();
  const inferred = page.locator('.row', { has: page.locator('.bar.dashed') });
  assert.match(await inferred.first().innerText(), /inferred [\d.]+ %/);
  await page.getByRole('tab', { name: 'Graph', exact: true }).click();
  await page.locator('.graph-edge.inferred').first().waitFor();
});
