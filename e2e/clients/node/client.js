// kafkajs as a client under test: produces, consumes; classic groups. Contract: ../README.md.
'use strict'

const fs = require('node:fs')
const zstd = require('@bokuweb/zstd-wasm')
const lz4 = require('lz4-napi')
const snappy = require('snappyjs')
const { CompressionCodecs, CompressionTypes, Kafka, Partitioners, logLevel } = require('kafkajs')

// kafkajs has gzip only; its documentation names this way to add codecs.
const codec = (compress, decompress) => () => ({
  compress: async encoder => Buffer.from(compress(encoder.buffer)),
  decompress: async buffer => Buffer.from(decompress(buffer)),
})

// Java clients use xerial framing: 16 bytes, then blocks with their lengths. librdkafka and
// franz-go write one raw block.
const XERIAL = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0])
const unsnap = buffer => {
  if (!buffer.subarray(0, 8).equals(XERIAL)) return snappy.uncompress(buffer)
  const blocks = []
  for (let at = 16; at < buffer.length; ) {
    const length = buffer.readInt32BE(at)
    blocks.push(Buffer.from(snappy.uncompress(buffer.subarray(at + 4, at + 4 + length))))
    at += 4 + length
  }
  return Buffer.concat(blocks)
}

CompressionCodecs[CompressionTypes.Snappy] = codec(snappy.compress, unsnap)
CompressionCodecs[CompressionTypes.LZ4] = codec(lz4.compressFrameSync, lz4.decompressFrameSync)
CompressionCodecs[CompressionTypes.ZSTD] = codec(zstd.compress, zstd.decompress)
const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}

const pause = milliseconds => new Promise(done => setTimeout(done, milliseconds))
const isNull = value => value === null || value === undefined
const decode = text => (isNull(text) ? null : Buffer.from(text, 'base64'))
const encode = bytes => (isNull(bytes) ? null : Buffer.from(bytes).toString('base64'))

const writer = path => {
  const file = path === undefined || path === '-' ? 1 : fs.openSync(path, 'w')
  return line => fs.writeSync(file, JSON.stringify(line) + '\n')
}

const connection = options => ({
  ...(options['client-id'] && { clientId: options['client-id'] }),
  brokers: options.bootstrap.split(','),
  logLevel: logLevel.WARN,
  retry: { initialRetryTime: 100, maxRetryTime: 1000, retries: 60 },
  ssl: (options.security ?? '').endsWith('ssl') && {
    ca: [fs.readFileSync(options.ca)],
    ...(options.cert && { cert: fs.readFileSync(options.cert), key: fs.readFileSync(options.key) }),
  },
  sasl: options.mechanism && {
    mechanism: options.mechanism.toLowerCase(),
    username: options.username,
    password: options.password,
  },
})

// kafkajs keeps headers in an object, which groups values of one name.
const record = line => {
  const { partition, timestamp, key, value, headers } = JSON.parse(line)
  const map = {}
  for (const [name, content] of headers ?? []) {
    const values = (map[decode(name).toString()] ??= [])
    values.push(decode(content))
  }
  return {
    ...(partition !== null && partition !== undefined && { partition }),
    ...(timestamp !== null && timestamp !== undefined && { timestamp: String(timestamp) }),
    key: decode(key),
    value: decode(value),
    headers: map,
  }
}

const produce = async options => {
  const records = fs.readFileSync(options.input, 'utf8').split('\n').filter(Boolean).map(record)
  const write = writer(options.output)
  const transactional = options.transactional
  const producer = new Kafka(connection(options)).producer({
    idempotent: options.idempotent === 'true' || transactional !== undefined,
    ...(transactional && { transactionalId: transactional, maxInFlightRequests: 1 }),
    createPartitioner: Partitioners.DefaultPartitioner,
  })
  await producer.connect()
  const size = Number(transactional ? options['transaction-size'] ?? 10 : options.batch ?? 10)
  const abortEvery = Number(options['abort-every'] ?? 0)
  const gateAt = Number(options['gate-at'] ?? Infinity)
  for (let begin = 0, number = 1; begin < records.length; begin += size, number++) {
    while (begin >= gateAt && !fs.existsSync(options.gate)) await pause(20)
    const messages = records.slice(begin, begin + size)
    const sender = transactional ? await producer.transaction() : producer
    const acks = options.acks === undefined || options.acks === 'all' ? -1 : Number(options.acks)
    const compression = CODECS[options.codec ?? 'none']
    const results = await sender.send({ topic: options.topic, acks, compression, messages })
    const committed = abortEvery === 0 || number % abortEvery !== 0
    if (transactional) await (committed ? sender.commit() : sender.abort())
    for (const line of lines(begin, messages, results, options.topic)) {
      write(transactional ? { ...line, committed } : line)
    }
    await pause(Number(options.pace ?? 0) * messages.length)
  }
  await producer.disconnect()
}

// kafkajs returns the first offset of each partition; offsets of its records are consecutive.
const lines = (begin, messages, results, topic) => {
  const first = ({ partition, baseOffset }) => [partition, BigInt(baseOffset ?? -1)]
  const next = new Map(results.map(first))
  return messages.map(({ partition }, at) => {
    const offset = next.get(partition) ?? -1n
    next.set(partition, offset < 0n ? offset : offset + 1n)
    return { index: begin + at, topic, partition, offset: Number(offset) }
  })
}

const consume = async options => {
  const write = writer(options.output)
  const count = Number(options.count ?? Infinity)
  const consumer = new Kafka(connection(options)).consumer({
    groupId: options.group,
    readUncommitted: options.isolation !== 'read_committed',
    metadataMaxAge: Number(options['metadata-age'] ?? 300000),
    maxWaitTimeInMs: 50,
    heartbeatInterval: 500,
  })
  await consumer.connect()
  await consumer.subscribe({ topics: options.topics.split(','), fromBeginning: true })
  const positions = options.distinct === 'true' ? new Set() : undefined
  let seen = 0
  let done
  const finished = new Promise(resolve => (done = resolve))
  // Each record is committed once it is written, so that none is read twice after a rebalance.
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ topic, partition, message }) => {
      if (seen === count) return
      write(consumed(topic, partition, message))
      const offset = String(BigInt(message.offset) + 1n)
      await consumer.commitOffsets([{ topic, partition, offset }])
      const position = `${topic}/${partition}/${message.offset}`
      if (!positions?.has(position)) seen++
      positions?.add(position)
      if (seen === count) done()
    },
  })
  const limit = setTimeout(done, Number(options.limit ?? 60) * 1000)
  await finished
  clearTimeout(limit)
  await consumer.disconnect()
}

const consumed = (topic, partition, { offset, timestamp, key, value, headers }) => ({
  topic,
  partition,
  offset: Number(offset),
  timestamp: Number(timestamp),
  key: encode(key),
  value: encode(value),
  headers: Object.entries(headers ?? {}).flatMap(([name, contents]) => {
    const values = Array.isArray(contents) ? contents : [contents]
    return values.map(content => [encode(Buffer.from(name)), encode(content)])
  }),
})

const main = async ([command, ...rest]) => {
  const options = {}
  for (let at = 0; at < rest.length; at += 2) options[rest[at].replace(/^--/, '')] = rest[at + 1]
  await zstd.init()
  await { produce, consume }[command](options)
}

main(process.argv.slice(2)).catch(error => {
  console.error(error)
  process.exitCode = 1
})
