//! Encodes record batches byte by byte, without the crate under test.

/// A header: key and value.
pub(crate) type RawHeader = (Vec<u8>, Option<Vec<u8>>);

/// A record to encode.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RawRecord {
    pub(crate) timestamp_delta: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<RawHeader>,
}

pub(crate) fn write_varint(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest > 0x7f {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn write_bytes(value: Option<&[u8]>, out: &mut Vec<u8>) {
    write_varint(value.map_or(-1, |value| value.len() as i64), out);
    out.extend_from_slice(value.unwrap_or_default());
}

/// Encodes records without compression.
pub(crate) fn records(records: &[RawRecord]) -> Vec<u8> {
    let mut out = Vec::new();
    for (delta, record) in records.iter().enumerate() {
        let mut body = vec![0];
        write_varint(record.timestamp_delta, &mut body);
        write_varint(delta as i64, &mut body);
        write_bytes(record.key.as_deref(), &mut body);
        write_bytes(record.value.as_deref(), &mut body);
        write_varint(record.headers.len() as i64, &mut body);
        for (key, value) in &record.headers {
            write_bytes(Some(key), &mut body);
            write_bytes(value.as_deref(), &mut body);
        }
        write_varint(body.len() as i64, &mut out);
        out.extend(body);
    }
    out
}

/// Encodes a batch with this payload of `count` records.
pub(crate) fn batch_with_payload(payload: &[u8], attributes: i16, count: i32) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(7i64.to_be_bytes());
    out.extend((49 + payload.len() as i32).to_be_bytes());
    out.extend(3i32.to_be_bytes());
    out.push(2);
    out.extend([0; 4]);
    out.extend(attributes.to_be_bytes());
    out.extend((count - 1).to_be_bytes());
    out.extend(1_700_000_000_000i64.to_be_bytes());
    out.extend(1_700_000_000_999i64.to_be_bytes());
    out.extend(42i64.to_be_bytes());
    out.extend(5i16.to_be_bytes());
    out.extend(11i32.to_be_bytes());
    out.extend(count.to_be_bytes());
    out.extend(payload);
    update_checksum(&mut out);
    out
}

/// Corrects the checksum.
pub(crate) fn update_checksum(batch: &mut [u8]) {
    if batch.len() >= 61 {
        let crc = castagnoli(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    }
}

/// Computes CRC-32C bit by bit.
fn castagnoli(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (0u32.wrapping_sub(crc & 1)));
        }
    }
    !crc
}
