/** Opens pages for tests and checks what holds for every page. */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { VIEWPORT } from './browser.mjs';
import { fromEnvironment } from './otlp.mjs';

export const HOME = fromEnvironment('THROUGHLINE_URL');

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

/**
 * A page in a fresh context. When the test ends it must have logged no error (a break of the
 * content policy is one), unless the test provokes them.
 * @param {import('playwright-core').Browser} browser
 * @param {import('node:test').TestContext} t
 * @param {{colorScheme?: 'light' | 'dark', toleratesErrors?: boolean}} [options]
 */
export async function newPage(browser, t, { colorScheme = 'light', toleratesErrors = false } = {}) {
  const context = await browser.newContext({ viewport: VIEWPORT, colorScheme });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  /** @type {string[]} */
  const errors = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text());
  });
  t.after(async () => {
    await context.close();
    if (!toleratesErrors) assert.deepEqual(errors, []);
  });
  return page;
}

/**
 * Axe's findings, contrast included, must be none.
 * @param {import('playwright-core').Page} page
 */
export async function checkAccessibility(page) {
  // The debugger evaluates the script, so that the collector's content policy needs no exception.
  const { readFile } = await import('node:fs/promises');
  await page.evaluate(await readFile(AXE, 'utf8'));
  const findings = await page.evaluate(async () => {
    const { violations } = await /** @type {any} */ (window).axe.run();
    return violations.map((/** @type {any} */ violation) => ({
      id: violation.id,
      nodes: violation.nodes
        .map((/** @type {any} */ node) => `${node.target}: ${node.failureSummary}`)
        .slice(0, 5),
    }));
  });
  assert.deepEqual(findings, []);
}
