//! Variable-length integers, seven bits a byte, the lowest first; the signed ones in zigzag order.

/// Longest encoding of a 32-bit number, in bytes.
pub(crate) const MAX_U32: usize = 5;

/// Reads an unsigned number of 32 bits that stands at `at`, and steps behind it. [`None`], and no step, when it does not
/// end in time.
#[inline]
pub(crate) fn read_u32(bytes: &[u8], at: &mut usize) -> Option<u32> {
    if let Some(short) = read_short(bytes, at) {
        return Some(short);
    }
    let (value, length) = long_u32(bytes.get(*at..)?)?;
    *at += length;
    Some(value)
}

/// Reads a zigzag number of 32 bits.
#[inline]
pub(crate) fn read_i32(bytes: &[u8], at: &mut usize) -> Option<i32> {
    let value = read_u32(bytes, at)?;
    Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
}

/// Reads a zigzag number of 64 bits.
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

/// Reads a number of three bytes at most, which nearly all are.
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

/// An unsigned number of 32 bits at the front, and its length.
#[cold]
fn long_u32(bytes: &[u8]) -> Option<(u32, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(MAX_U32) {
        value |= u32::from(byte & 0x7f) << (7 * at);
        if *byte < 0x80 {
            // The fifth byte holds four bits.
            return (at < 4 || *byte < 0x10).then_some((value, at + 1));
        }
    }
    None
}

/// A zigzag number of 64 bits at the front, and its length.
#[cold]
fn long_i64(bytes: &[u8]) -> Option<(i64, usize)> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if *byte < 0x80 {
            // The tenth byte holds one bit.
            return (at < 9 || *byte < 2).then_some((
                (value >> 1).cast_signed() ^ -(value & 1).cast_signed(),
                at + 1,
            ));
        }
    }
    None
}

/// Writes an unsigned number.
#[inline]
pub(crate) fn write_u32(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(low(value) | 0x80);
        value >>= 7;
    }
    out.push(low(value));
}

/// Writes a zigzag number.
#[inline]
pub(crate) fn write_i32(value: i32, out: &mut Vec<u8>) {
    write_u32(zigzag(value), out);
}

/// Writes a zigzag number over the bytes at the front.
#[inline]
pub(crate) fn overwrite_i32(value: i32, bytes: &mut [u8]) {
    let mut left = zigzag(value);
    for byte in bytes {
        *byte = low(left) | if left >= 0x80 { 0x80 } else { 0 };
        left >>= 7;
        if left == 0 {
            return;
        }
    }
}

/// The length of an unsigned number.
#[inline]
pub(crate) const fn length_u32(value: u32) -> usize {
    (38 - (value | 1).leading_zeros() as usize) / 7
}

/// The length of a zigzag number.
#[inline]
pub(crate) const fn length_i32(value: i32) -> usize {
    length_u32(zigzag(value))
}

const fn zigzag(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)).cast_unsigned()
}

const fn low(value: u32) -> u8 {
    (value & 0x7f).to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_at_every_border_come_back_with_the_length_foretold() {
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
    fn numbers_that_do_not_end_or_do_not_fit_are_none_and_no_step() {
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
