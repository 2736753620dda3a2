import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

/** The collector's query port, to which `npm run dev` sends API requests. */
const collector = process.env.THROUGHLINE_URL ?? 'http://127.0.0.1:16686';

export default defineConfig({
  plugins: [react()],
  // The collector rewrites these relative paths to where the page is served (`ui.rs`), so the base
  // path need not be known.
  base: './',
  server: { proxy: { '/api': collector, '/tempo': collector } },
  build: {
    target: ['chrome123', 'firefox121', 'safari17.5'],
    // The collector's content policy allows files of its own origin only, so nothing may be inlined
    // as a data: URL.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  test: { include: ['src/**/*.test.{ts,tsx}'] },
});
