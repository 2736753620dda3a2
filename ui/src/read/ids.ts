/** IDs in files: in hex, with or without leading zeros, or in base64 as in protobuf's JSON. */

/** Returns an ID in hex of this many digits; all zeros if it is not one. */
export function idOf(value: unknown, digits: number): string {
  const written = typeof value === 'string' || typeof value === 'number' ? String(value) : '';
  const plain = written.replaceAll('-', '');
  if (/^[0-9a-fA-F]+$/.test(plain) && plain.length <= 32)
    return plain.toLowerCase().padStart(digits, '0').slice(-digits);
  try {
    const bytes = Array.from(atob(written.replaceAll('-', '+').replaceAll('_', '/')), (char) =>
      char.charCodeAt(0).toString(16).padStart(2, '0'),
    );
    if (bytes.length > 0 && bytes.length * 2 <= digits) return bytes.join('').padStart(digits, '0');
  } catch {
    // Not base64 either.
  }
  return ''.padStart(digits, '0');
}

export function isZero(id: string): boolean {
  return /^0*$/.test(id);
}
