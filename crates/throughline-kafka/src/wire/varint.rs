//! Variable-length integers, seven bits a byte, the lowest first; the signed ones in zigzag order.

/// Longest encoding of a 32-bit number, in bytes.
pub(crate) const MAX_U32: usize = 5;

/// Reads an unsigned number of 32 bits from the front: its value and its length. [`None`] when it does not end in time.
#[cold]
fn read_u32(bytes: &[u8]) -> Option<(u32, usize)> {
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

/// Reads a zigzag number of 64 bits from the front: its value and its length.
#[cold]
fn read_i64(bytes: &[u8]) -> Option<(i64, usize)> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if *byte < 0x80 {
            // The tenth byte holds one bit.
            return (at < 9 || *byte < 2).then_some(((value >> 1).cast_signed() ^ -(value & 1).cast_signed(), at + 1));
        }
    }
    None
}

/// Takes an unsigned number of 32 bits off the front. [`None`], and nothing is taken, when it does not end in time.
#[inline]
pub(crate) fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    if let Some(short) = take_short(rest) {
        return Some(short);
    }
    let (value, length) = read_u32(rest)?;
    *rest = rest.get(length..)?;
    Some(value)
}

/// Takes a zigzag number of 32 bits off the front.
#[inline]
pub(crate) fn take_i32(rest: &mut &[u8]) -> Option<i32> {
    let value = take_u32(rest)?;
    Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
}

/// Takes a zigzag number of 64 bits off the front.
#[inline]
pub(crate) fn take_i64(rest: &mut &[u8]) -> Option<i64> {
    if let Some(short) = take_short(rest) {
        return Some(i64::from((short >> 1).cast_signed() ^ -(short & 1).cast_signed()));
    }
    let (value, length) = read_i64(rest)?;
    *rest = rest.get(length..)?;
    Some(value)
}

/// Takes a number of three bytes at most, which nearly all are.
#[inline]
fn take_short(rest: &mut &[u8]) -> Option<u32> {
    match **rest {
        [one, ref tail @ ..] if one < 0x80 => {
            *rest = tail;
            Some(u32::from(one))
        }
        [one, two, ref tail @ ..] if two < 0x80 => {
            *rest = tail;
            Some(u32::from(one & 0x7f) | u32::from(two) << 7)
        }
        [one, two, three, ref tail @ ..] if three < 0x80 => {
            *rest = tail;
            Some(u32::from(one & 0x7f) | u32::from(two & 0x7f) << 7 | u32::from(three) << 14)
        }
        _ => None,
    }
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
        for value in powers.flat_map(|power| [power - 1, power, power + 1]).chain([0, u32::MAX]) {
            let mut out = Vec::new();
            write_u32(value, &mut out);
            assert_eq!(read_u32(&out), Some((value, length_u32(value))), "{value}");
            let signed = value.cast_signed();
            out.clear();
            write_i32(signed, &mut out);
            assert_eq!(out.len(), length_i32(signed), "{signed}");
            assert_eq!(read_i64(&out), Some((i64::from(signed), out.len())), "{signed}");
            out.push(9);
            let rests = [&mut out.as_slice(), &mut out.as_slice(), &mut out.as_slice()];
            assert_eq!(take_u32(rests[0]), Some(zigzag(signed)), "{signed}");
            assert_eq!(take_i32(rests[1]), Some(signed), "{signed}");
            assert_eq!(take_i64(rests[2]), Some(i64::from(signed)), "{signed}");
            assert_eq!(rests.map(|rest| rest.to_vec()), [[9], [9], [9]], "{signed}");
        }
    }

    #[test]
    fn numbers_that_do_not_end_or_do_not_fit_are_none() {
        assert_eq!(read_u32(&[]), None);
        assert_eq!(read_u32(&[0x80]), None);
        assert_eq!(read_u32(&[0xff, 0xff, 0xff, 0xff, 0x1f]), None);
        assert_eq!(read_u32(&[0x80; 10]), None);
        assert_eq!(read_i64(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), Some((i64::MIN, 10)));
        assert_eq!(read_i64(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]), None);
        assert_eq!(read_i64(&[0x80; 11]), None);
    }
}
