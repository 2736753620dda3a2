/**
 * Measures the speed of the pages at scale in headless Chromium: one line of JSON per figure on
 * stdout, and a table on stderr. The figures exclude the collector's own time: they start when the
 * last byte of its response has arrived, and end when the browser has drawn.
 *
 * Fails when a figure misses its bound, unless MEASURE_ONLY is set.
 */
import { openBrowser, VIEWPORT } from './browser.mjs';
import { largeTrace } from './large.mjs';
import { fromEnvironment, sendTrace } from './otlp.mjs';

const home = fromEnvironment('THROUGHLINE_URL');
const SPANS = Number(process.env.MEASURE_SPANS ?? 100_000);
const TRACES = Number(process.env.MEASURE_TRACES ?? 500);
const SCROLL_MS = 4_000;

/** @type {{figure: string, value: number, unit: string, bound: number, ok: boolean}[]} */
const figures = [];

const browser = await openBrowser();
try {
  console.error(`sending a trace of ${SPANS} spans and ${TRACES} small ones`);
  const id = await sendTrace(largeTrace(SPANS), { ago: SPANS / 20 });
  await sendSmallTraces();
  await measureTrace(id);
  await measureSearch();
} finally {
  await browser.close();
}
report();

async function sendSmallTraces() {
  for (let i = 0; i < TRACES; i++) {
    const spans = largeTrace(8).map((span) => ({
      ...span,
      service: `measured-${Number(span.service?.slice(8)) % 6}`,
    }));
    await sendTrace(spans, { ago: 1_000 + i * 100 });
  }
}

/** @param {string} id */
async function measureTrace(id) {
  const page = await freshPage('.row');
  await page.goto(`${home}/trace/${id}`);
  await page.locator('.row').first().waitFor({ timeout: 60_000 });
  note(
    `open a trace of ${SPANS} spans, from the last byte to the rows drawn`,
    await sinceAnswer(page, '/api/throughline/traces/'),
    'ms',
    2_000,
  );

  const { fps, worst } = await page.evaluate(scroll, SCROLL_MS);
  note('scroll through it, frames a second', fps, 'fps', 50);
  note('scroll through it, longest frame', worst, 'ms', 120);
  for (const name of ['Collapse all', 'Expand all']) {
    note(`${name.toLowerCase()}, until drawn`, await clickUntilDrawn(page, name), 'ms', 500);
  }
  note('find a word in it, until drawn', await typeUntilDrawn(page), 'ms', 700);
  await page.close();
}

async function measureSearch() {
  const page = await freshPage('.result');
  await page.goto(`${home}/search?q=&limit=${TRACES === 500 ? 500 : 200}`);
  await page.locator('.result').first().waitFor({ timeout: 60_000 });
  const first = await sinceAnswer(page, '/api/throughline/search');
  await page.waitForFunction(
    (wanted) => document.querySelectorAll('.result').length >= wanted,
    Math.min(TRACES, 500),
  );
  const shown = await page.locator('.result').count();
  note(`show a search of ${shown} traces, from the last byte to the list drawn`, first, 'ms', 300);
  await page.close();
}

/**
 * A page that notes when the first element of a kind has been drawn.
 * @param {string} selector
 */
async function freshPage(selector) {
  const page = await browser.newPage({ viewport: VIEWPORT });
  await page.addInitScript((wanted) => {
    const watch = new MutationObserver(() => {
      if (!document.querySelector(wanted)) return;
      watch.disconnect();
      // The second frame begins when the first is drawn.
      requestAnimationFrame(() => requestAnimationFrame(() => performance.mark('drawn')));
    });
    watch.observe(document, { childList: true, subtree: true });
  }, selector);
  return page;
}

/**
 * @param {import('playwright-core').Page} page
 * @param {string} path
 */
async function sinceAnswer(page, path) {
  await page.waitForFunction(() => performance.getEntriesByName('drawn').length > 0);
  return page.evaluate((wanted) => {
    const answer = performance
      .getEntriesByType('resource')
      .find((entry) => entry.name.includes(wanted));
    const end = /** @type {PerformanceResourceTiming} */ (answer).responseEnd;
    return (
      /** @type {PerformanceEntry} */ (performance.getEntriesByName('drawn')[0]).startTime - end
    );
  }, path);
}

/**
 * Scrolls by a page's height every few frames, back and forth over the whole trace.
 * @param {number} duration
 */
function scroll(duration) {
  const box = /** @type {HTMLElement} */ (document.querySelector('.timeline-scroll'));
  return new Promise((/** @type {(found: {fps: number, worst: number}) => void} */ resolve) => {
    const start = performance.now();
    let frames = 0;
    let worst = 0;
    let before = start;
    const step = (/** @type {number} */ now) => {
      frames += 1;
      worst = Math.max(worst, now - before);
      before = now;
      box.scrollTop += 90;
      if (frames % 60 === 0)
        box.scrollTop +=
          (box.scrollHeight / 12) * (box.scrollTop > box.scrollHeight * 0.9 ? -10 : 1);
      if (now - start < duration) requestAnimationFrame(step);
      else resolve({ fps: (1000 * frames) / (now - start), worst });
    };
    requestAnimationFrame(step);
  });
}

/**
 * @param {import('playwright-core').Page} page
 * @param {string} name
 */
async function clickUntilDrawn(page, name) {
  return page.evaluate(async (wanted) => {
    const button = [...document.querySelectorAll('button')].find(
      (each) => each.textContent === wanted,
    );
    const start = performance.now();
    button?.click();
    await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
    return performance.now() - start;
  }, name);
}

/** @param {import('playwright-core').Page} page */
async function typeUntilDrawn(page) {
  const field = page.getByRole('searchbox', { name: 'Find in this trace' });
  await field.focus();
  const start = Date.now();
  await field.fill('c-42');
  await page.locator('.find-count').waitFor();
  return Date.now() - start;
}

/**
 * @param {string} figure
 * @param {number} value
 * @param {string} unit
 * @param {number} bound
 */
function note(figure, value, unit, bound) {
  const ok = unit === 'fps' ? value >= bound : value <= bound;
  const rounded = Math.round(value * 10) / 10;
  figures.push({ figure, value: rounded, unit, bound, ok });
  console.log(JSON.stringify({ figure, value: rounded, unit, bound, ok }));
}

function report() {
  const width = Math.max(...figures.map(({ figure }) => figure.length));
  for (const { figure, value, unit, bound, ok } of figures) {
    const bounds = `${unit === 'fps' ? '≥' : '≤'} ${bound} ${ok ? '' : 'MISSED'}`;
    console.error(
      `${figure.padEnd(width)} ${String(value).padStart(8)} ${unit.padEnd(3)} ${bounds}`,
    );
  }
  if (figures.some(({ ok }) => !ok) && !process.env.MEASURE_ONLY) process.exitCode = 1;
}
