//! Variable-length integers: seven bits per byte, least significant first; signed ones in zigzag
//! encoding.

/// The maximum length of an encoded 32-bit integer.
pub(crate) const MAX_U32_BYTES: usize = 5;

/// Reads an unsigned 32-bit integer at `at` and advances past it. Returns [`None`], without
/// advancing, when it is truncated or too long.
#[inline]
pub(crate) fn read_u32(bytes: &[u8], at: &mut usize) -> Option<u32> {
    if let Some(short) = read_short(bytes, at) {
        return Some(short);
    }
    let (value, length) = long_u32(bytes.get(*at..)?)?;
    *at += length;
    Some(value)
}

/// Reads a signed 32-bit integer, otherwise as [`read_u32`].
#[inline]
pub(crate) fn read_i32(bytes: &[u8], at: &mut usize) -> Option<i32> {
    let value = read_u32(bytes, at)?;
    Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
}

/// Reads a signed 64-bit integer, otherwise as [`read_u32`].
#[inline]
pub(crate) fn read_i64(bytes: &[u8], at: &mut usize) -> Option<i64> {
    if let Some(short) = read_short(bytes, at) {
        return Some(i64::from(
            (short >> 1).cast_signed() ^ -(short & 1).cast_signed(),
        ));
    }
    let (value, length) = long_i64(bytes.get(*at..)?)?;
    *at += length;
    Some(value)
}

/// Reads an integer of at most three bytes, as nearly all are.
#[inline]
fn read_short(bytes: &[u8], at: &mut usize) -> Option<u32> {
    let one = *bytes.get(*at)?;
    if one < 0x80 {
        *at += 1;
        return Some(u32::from(one));
    }
    let two = *bytes.get(*at + 1)?;
    if two < 0x80 {
        *at += 2;
        return Some(u32::from(one & 0x7f) | u32::from(two) << 7);
    }
    let three = *bytes.get(*at + 2)?;
    if three < 0x80 {
        *at += 3;
        return Some(u32::from(one & 0x7f) | u32::from(two & 0x7f) << 7 | u32::from(three) << 14);
    }
    None
}

/// Returns the unsigned 32-bit integer at the front and its length.
#[cold]
fn long_u32(bytes: &[u8]) -> Option<(u32, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(MAX_U32_BYTES) {
        value |= u32::from(byte & 0x7f) << (7 * at);
        if *byte < 0x80 {
            // The fifth byte has room for four of the 32 bits.
            return (at < 4 || *byte < 0x10).then_some((value, at + 1));
        }
    }
    None
}

/// Returns the signed 64-bit integer at the front and its length.
#[cold]
fn long_i64(bytes: &[u8]) -> Option<(i64, usize)> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if *byte < 0x80 {
            // The tenth byte has room for one of the 64 bits.
            return (at < 9 || *byte < 2).then_some((
                (value >> 1).cast_signed() ^ -(value & 1).cast_signed(),
                at + 1,
            ));
        }
    }
    None
}

/// Writes an unsigned integer.
#[inline]
pub(crate) fn write_u32(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(low_bits(value) | 0x80);
        value >>= 7;
    }
    out.push(low_bits(value));
}

/// Writes a signed integer.
#[inline]
pub(crate) fn write_i32(value: i32, out: &mut Vec<u8>) {
    write_u32(zigzag(value), out);
}

/// Overwrites the start of `bytes` with a signed integer.
#[inline]
pub(crate) fn overwrite_i32(value: i32, bytes: &mut [u8]) {
    let mut rest = zigzag(value);
    for byte in bytes {
        *byte = low_bits(rest) | if rest >= 0x80 { 0x80 } else { 0 };
        rest >>= 7;
        if rest == 0 {
            return;
        }
    }
}

/// Returns the encoded length of an unsigned integer.
#[inline]
pub(crate) const fn length_u32(value: u32) -> usize {
    (38 - (value | 1).leading_zeros() as usize) / 7
}

/// Returns the encoded length of a signed integer.
#[inline]
pub(crate) const fn length_i32(value: i32) -> usize {
    length_u32(zigzag(value))
}

const fn zigzag(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)).cast_unsigned()
}

const fn low_bits(value: u32) -> u8 {
    (value & 0x7f).to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_at_every_length_boundary_round_trip() {
        let powers = (1..32).map(|bit| 1u32 << bit);
        for value in powers
            .flat_map(|power| [power - 1, power, power + 1])
            .chain([0, u32::MAX])
        {
            let mut out = Vec::new();
            write_u32(value, &mut out);
            assert_eq!(long_u32(&out), Some((value, length_u32(value))), "{value}");
            let signed = value.cast_signed();
            out.clear();
            write_i32(signed, &mut out);
            assert_eq!(out.len(), length_i32(signed), "{signed}");
            let mut over = vec![0xaa; out.len()];
            overwrite_i32(signed, &mut over);
            assert_eq!(over, out, "{signed}");
            assert_eq!(
                long_i64(&out),
                Some((i64::from(signed), out.len())),
                "{signed}"
            );
            for before in [0, 3] {
                let bytes = [vec![0xff; before], out.clone(), vec![9]].concat();
                let mut ends = [before; 3];
                assert_eq!(
                    read_u32(&bytes, &mut ends[0]),
                    Some(zigzag(signed)),
                    "{signed}"
                );
                assert_eq!(read_i32(&bytes, &mut ends[1]), Some(signed), "{signed}");
                assert_eq!(
                    read_i64(&bytes, &mut ends[2]),
                    Some(i64::from(signed)),
                    "{signed}"
                );
                assert_eq!(ends, [before + out.len(); 3], "{signed}");
            }
        }
    }

    #[test]
    fn truncated_and_oversized_integers_are_rejected_without_advancing() {
        for bytes in [
            &[][..],
            &[0x80],
            &[0xff, 0xff, 0xff, 0xff, 0x1f],
            &[0x80; 10],
        ] {
            let mut at = 0;
            assert_eq!((read_u32(bytes, &mut at), at), (None, 0), "{bytes:x?}");
        }
        let mut at = 0;
        let lowest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!((read_i64(&lowest, &mut at), at), (Some(i64::MIN), 10));
        let wider = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        for bytes in [&wider[..], &[0x80; 11]] {
            let mut at = 0;
            assert_eq!((read_i64(bytes, &mut at), at), (None, 0), "{bytes:x?}");
        }
        let mut behind = 9;
        assert_eq!(read_u32(&[1], &mut behind), None);
    }
}
