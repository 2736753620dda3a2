/** Access to parsed JSON whose shape is not known: what is missing or of another type is empty. */

export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Returns the first of the fields that exists. */
export function field(object: unknown, ...names: readonly string[]): unknown {
  if (!isObject(object)) return undefined;
  for (const name of names) if (Object.hasOwn(object, name)) return object[name];
  return undefined;
}

export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

export function text(value: unknown): string {
  if (typeof value === 'string') return value;
  return value === undefined || value === null ? '' : (JSON.stringify(value) ?? '');
}
