/** Generates a large trace, always the same one: a deep and wide tree of a dozen services. */

/**
 * @param {number} count
 * @returns {import('./otlp.mjs').SpanSketch[]}
 */
export function largeTrace(count) {
  let seed = 7;
  const random = (/** @type {number} */ below) => {
    seed = (seed * 48_271) % 0x7fffffff;
    return seed % below;
  };
  const id = (/** @type {number} */ i) => (0xf0_0000_0000 + i).toString(16).padStart(16, '0');
  return Array.from({ length: count }, (_, i) => {
    const message = i > 50 && random(400) === 0;
    const parent = i === 0 ? undefined : Math.max(0, i - 1 - random(40));
    return {
      id: id(i),
      service: `service-${random(12)}`,
      name: i === 0 ? 'the root' : `${message ? 'process' : 'GET'} /step/${random(60)}`,
      at: /** @type {[number, number]} */ ([i / 20, i === 0 ? count / 20 : 1 + random(40)]),
      ...(parent !== undefined && { parent: id(parent) }),
      ...(message && { follows: { span: id(/** @type {number} */ (parent)) } }),
      kind: message ? 'consumer' : i % 2 === 0 ? 'server' : 'client',
      failed: random(500) === 0,
      attributes: {
        'http.route': `/step/${random(60)}`,
        'http.response.status_code': String(200 + random(3) * 100),
        'customer.id': `c-${random(5000)}`,
        ...(message && { 'messaging.destination.name': `topic-${random(5)}` }),
      },
    };
  });
}
