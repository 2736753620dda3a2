/** Writes pictures of the pages, light and dark, to the folder named by SCREENSHOTS. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { openBrowser, VIEWPORT } from './browser.mjs';
import { fromEnvironment } from './otlp.mjs';

const home = fromEnvironment('THROUGHLINE_URL');
const folder = fromEnvironment('SCREENSHOTS');

await mkdir(folder, { recursive: true });
const browser = await openBrowser();
try {
  for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
    const page = await browser.newPage({ viewport: VIEWPORT, colorScheme });
    const save = (/** @type {string} */ name) => page.screenshot({ path: join(folder, `${name}-${colorScheme}.png`) });

    await page.goto(`${home}/search?service=eshop`);
    const checkout = page.locator('.result', { hasText: 'notification' }).first().locator('.result-name');
    await checkout.waitFor();
    await save('search');

    await checkout.click();
    await page.locator('.edge').waitFor();
    await save('trace');

    await page.locator('.row', { has: page.getByText('From_eshop-topic', { exact: true }) }).click();
    await page.getByRole('complementary').waitFor();
    await save('span');
    await page.close();
  }
} finally {
  await browser.close();
}
console.log(`screenshots written to ${folder}`);
