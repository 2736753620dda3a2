//! References of `weave-service` (its module `reference` has the encoding).

/// The number of a request that no request caused.
pub(super) const BACKGROUND: u64 = (1 << 40) - 1;

/// Step of the request itself; those of the service are less.
const REQUEST_STEP: u64 = 7;

/// Returns the reference of a request.
pub(super) fn encode(request: u64) -> String {
    let mut value = request << 24 | REQUEST_STEP << 16;
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    format!("{:016x}", value ^ (value >> 31))
}

/// Returns the request of a reference.
pub(super) fn request(reference: &str) -> Option<u64> {
    let mut value = u64::from_str_radix(reference, 16).ok()?;
    value = (value ^ (value >> 31) ^ (value >> 62)).wrapping_mul(0x3196_42b2_d24d_8ec3);
    value = (value ^ (value >> 27) ^ (value >> 54)).wrapping_mul(0x96de_1b17_3f11_9089);
    Some((value ^ (value >> 30) ^ (value >> 60)) >> 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_is_read_back() {
        for number in [0, 17, 123_456, BACKGROUND] {
            assert_eq!(request(&encode(number)), Some(number));
        }
    }
}
