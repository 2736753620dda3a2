/**
 * Locations of the UI and navigation between them. The address bar holds the state of every page.
 *
 * Paths are relative to the folder that the UI is served from, so that it also works below a base
 * path.
 */
import { useSyncExternalStore } from 'react';

const LOCATION_CHANGED = 'throughline:moved';

export type PageLocation =
  | { readonly page: 'search'; readonly query: string }
  | { readonly page: 'trace'; readonly id: string; readonly query: string }
  | { readonly page: 'compare'; readonly a: string; readonly b: string }
  | { readonly page: 'map'; readonly query: string }
  | { readonly page: 'services'; readonly query: string }
  | { readonly page: 'unknown'; readonly path: string };

/** Parses an address; `folder` is the path of the UI's folder and ends with a slash. */
export function parseLocation(pathname: string, query: string, folder: string): PageLocation {
  const path = pathname.startsWith(folder)
    ? pathname.slice(folder.length)
    : pathname.replace(/^\//, '');
  if (path === '' || path === 'index.html' || /^search\/?$/.test(path))
    return { page: 'search', query };
  if (/^map\/?$/.test(path)) return { page: 'map', query };
  if (/^services\/?$/.test(path)) return { page: 'services', query };
  const [, id] = /^trace\/([^/]+)\/?$/.exec(path) ?? [];
  if (id) return { page: 'trace', id: decoded(id), query };
  const [, a, b] = /^compare\/([^/]+)\/([^/]+)\/?$/.exec(path) ?? [];
  return a && b ? { page: 'compare', a: decoded(a), b: decoded(b) } : { page: 'unknown', path };
}

export function tracePath(
  id: string,
  params?: Readonly<Record<string, string | undefined>>,
): string {
  const path = `trace/${encodeURIComponent(id)}`;
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params ?? {})) if (value) query.set(name, value);
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

export function comparePath(a: string, b: string): string {
  return `compare/${encodeURIComponent(a)}/${encodeURIComponent(b)}`;
}

/** Returns whether the page is embedded in another one, which hides everything but the content. */
export function isEmbedded(): boolean {
  const params = new URLSearchParams(location.search);
  return params.has('embed') || params.has('uiEmbed');
}

export function absoluteUrl(path: string): string {
  return new URL(path, baseUrl()).href;
}

/**
 * Returns the URL of the folder that contains `assets/`, where this script is. A `<base>` element
 * would do the same, but the content policy forbids it.
 */
function baseUrl(): URL {
  const script = import.meta.url;
  return import.meta.env.DEV ? new URL('/', script) : new URL('..', script);
}

export function navigate(path: string): void {
  history.pushState(null, '', withEmbedding(path));
  announceChange();
  window.scrollTo(0, 0);
}

/** Replaces the current address without adding a history entry. */
export function replaceLocation(path: string): void {
  history.replaceState(null, '', withEmbedding(path));
  announceChange();
}

/** Adds `embed` to an address while the page is embedded. */
function withEmbedding(path: string): string {
  const url = new URL(absoluteUrl(path));
  if (isEmbedded()) url.searchParams.set('embed', '1');
  return url.href;
}

export function usePageLocation(): PageLocation {
  const address = useSyncExternalStore(subscribe, () => location.pathname + location.search);
  const [pathname = '', query = ''] = splitQuery(address);
  return parseLocation(pathname, query, baseUrl().pathname);
}

function announceChange(): void {
  window.dispatchEvent(new Event(LOCATION_CHANGED));
}

function subscribe(changed: () => void): () => void {
  window.addEventListener(LOCATION_CHANGED, changed);
  window.addEventListener('popstate', changed);
  return () => {
    window.removeEventListener(LOCATION_CHANGED, changed);
    window.removeEventListener('popstate', changed);
  };
}

function splitQuery(address: string): [string, string] {
  const at = address.indexOf('?');
  return at < 0 ? [address, ''] : [address.slice(0, at), address.slice(at)];
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
