/**
 * Link templates of the reader: from an attribute to an external page.
 *
 * One template per line: `http.route https://logs.example/?q={value}`. The placeholders `{value}`,
 * `{key}`, `{traceId}`, `{spanId}` and `{service}` are URL-encoded. Only `http:` and `https:` are
 * allowed.
 */

export interface LinkTemplate {
  readonly key: string;
  readonly url: string;
}

export interface TemplateValues {
  readonly value: string;
  readonly key: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly service: string;
}

export type ParsedTemplates =
  | { readonly ok: true; readonly templates: readonly LinkTemplate[] }
  | { readonly ok: false; readonly message: string };

export function parseTemplates(text: string): ParsedTemplates {
  const templates: LinkTemplate[] = [];
  for (const [i, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue;
    const [, key, url] = /^\s*(\S+)\s+(\S+)\s*$/.exec(line) ?? [];
    if (!key || !url || !isWebAddress(url)) {
      return {
        ok: false,
        message: `Line ${i + 1}: enter an attribute name, a space, and an http:// or https:// URL.`,
      };
    }
    templates.push({ key, url });
  }
  return { ok: true, templates };
}

export function linksFor(templates: readonly LinkTemplate[], places: TemplateValues): string[] {
  return templates
    .filter((template) => template.key === places.key)
    .map(({ url }) =>
      url.replace(/\{(value|key|traceId|spanId|service)\}/g, (_, name: keyof TemplateValues) =>
        encodeURIComponent(places[name]),
      ),
    )
    .filter(isWebAddress);
}

function isWebAddress(url: string): boolean {
  try {
    return ['http:', 'https:'].includes(new URL(url.replace(/\{\w+\}/g, 'x')).protocol);
  } catch {
    return false;
  }
}
