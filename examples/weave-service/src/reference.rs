//! References: the truth about messages, readable for the judge alone.
//!
//! A reference encodes the request and the step that it belongs to, mixed so that no bit of one
//! shows in another: two messages of a request have nothing in common. The mixing is the finalizer
//! of SplitMix64, which has an inverse.

/// The number of a request that no request caused: one of a timer.
pub(crate) const BACKGROUND: u64 = (1 << 40) - 1;

/// Returns the reference of a step of a request.
pub(crate) fn encode(request: u64, step: u8, attempt: u16) -> String {
    let plain = request << 24 | u64::from(step) << 16 | u64::from(attempt);
    format!("{:016x}", mix(plain))
}

/// Returns the request of a reference.
pub(crate) fn request(reference: &str) -> Option<u64> {
    let mixed = u64::from_str_radix(reference, 16).ok()?;
    Some(unmix(mixed) >> 24)
}

/// Returns the value of `reference=` in a query.
pub(crate) fn from_query(query: Option<&str>) -> Option<u64> {
    let mut pairs = query?.split('&');
    request(pairs.find_map(|pair| pair.strip_prefix("reference="))?)
}

const fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

const fn unmix(mut value: u64) -> u64 {
    value = (value ^ (value >> 31) ^ (value >> 62)).wrapping_mul(0x3196_42b2_d24d_8ec3);
    value = (value ^ (value >> 27) ^ (value >> 54)).wrapping_mul(0x96de_1b17_3f11_9089);
    value ^ (value >> 30) ^ (value >> 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_is_read_back() {
        for number in [0, 1, 17, 123_456, BACKGROUND] {
            assert_eq!(request(&encode(number, 3, 2)), Some(number));
        }
        assert_eq!(from_query(Some("a=b&reference=zz")), None);
    }
}
