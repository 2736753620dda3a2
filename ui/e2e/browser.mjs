/** Opens a real Chromium in which the page reaches no network but the collector. */
import { chromium } from 'playwright-core';

const FLAGS = [
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export async function openBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    // Tests often run as root in containers, where Chromium's sandbox cannot start.
    chromiumSandbox: false,
    args: FLAGS,
  });
}

export const VIEWPORT = { width: 1280, height: 800 };
