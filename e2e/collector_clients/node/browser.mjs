/**
 * Opens a page in Chromium whose script sends a trace to a collector of another origin, and prints
 * the trace's ID; `refused` if the browser does not let it.
 *
 * Usage: browser.mjs PORT COLLECTOR_URL. The page is served at PORT of 127.0.0.1. `UI_MODULES` is
 * the folder with the packages that bundle the script and drive the browser.
 */
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const [port, collector] = process.argv.slice(2);
const require = createRequire(`${process.env.UI_MODULES}/x.js`);
const { build } = await import(require.resolve('vite'));
const { chromium } = require('playwright-core');

const [bundle] = [
  await build({
    configFile: false,
    logLevel: 'error',
    build: {
      write: false,
      lib: { entry: fileURLToPath(new URL('page.mjs', import.meta.url)), formats: ['es'] },
    },
  }),
].flat();
const script = bundle.output[0].code;
const server = createServer((request, response) => {
  const isScript = request.url === '/page.js';
  response.writeHead(200, { 'content-type': isScript ? 'text/javascript' : 'text/html' });
  response.end(isScript ? script : '<!doctype html><script type="module" src="/page.js"></script>');
});
await new Promise((resolve) => server.listen(Number(port), '127.0.0.1', resolve));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  chromiumSandbox: false,
  args: ['--disable-gpu', '--no-first-run', '--disable-background-networking'],
});
const page = await browser.newPage();
let isRefused = false;
page.on('console', (message) => {
  if (/blocked by CORS policy/.test(message.text())) isRefused = true;
});
await page.goto(`http://127.0.0.1:${port}/?collector=${encodeURIComponent(collector)}`);
const deadline = Date.now() + 30_000;
let outcome = '';
while (!outcome && Date.now() < deadline) {
  await new Promise((resolve) => setTimeout(resolve, 50));
  const title = await page.title();
  outcome = isRefused ? 'refused' : title;
}
console.log(outcome);
await browser.close();
server.close();
process.exit(outcome ? 0 : 1);
