import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

/** Where `npm run dev` sends API calls: a running collector's query port. */
const collector = process.env.THROUGHLINE_URL ?? 'http://127.0.0.1:16686';

export default defineConfig({
  plugins: [react()],
  // The collector makes these lead up from wherever the page is served (`ui.rs`), so no base path need be known.
  base: './',
  server: { proxy: { '/api': collector } },
  build: {
    target: ['chrome123', 'firefox121', 'safari17.5'],
    // The collector's content policy allows files of its own origin only, so nothing is inlined as data:.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  test: { include: ['src/**/*.test.{ts,tsx}'] },
});
