//! Times as this API writes them: microseconds, in numbers that JavaScript keeps exactly.
//!
//! A moment is a whole number of microseconds since the Unix epoch (`1700000000000000` is below 2^53, its nanoseconds are not). What is
//! counted from a moment, and how long things took, may have three decimals, so that no nanosecond is lost.

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

/// Microseconds, of which three decimals may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, ToSchema)]
#[schema(value_type = f64, example = 1500.25)]
pub(crate) struct Micros(i128);

impl Micros {
    /// Of nanoseconds.
    pub(crate) const fn of(nanoseconds: u64) -> Self {
        Self(nanoseconds as i128)
    }

    /// A moment: nanoseconds since the Unix epoch, without what is below a microsecond.
    pub(crate) const fn moment(nanoseconds: u64) -> Self {
        Self::of(nanoseconds - nanoseconds % 1000)
    }

    /// From one moment to another, both in nanoseconds; below zero when the other is the earlier one.
    pub(crate) const fn between(from: u64, to: u64) -> Self {
        Self(to as i128 - from as i128)
    }
}

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % 1000 == 0
            && let Ok(whole) = i64::try_from(self.0 / 1000)
        {
            return serializer.serialize_i64(whole);
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "exact below 2^53 nanoseconds, which are 104 days"
        )]
        serializer.serialize_f64(self.0 as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_microseconds_have_no_point_and_nanoseconds_are_decimals() {
        let text = |micros: Micros| serde_json::to_string(&micros).unwrap();
        assert_eq!(
            text(Micros::moment(1_700_000_000_123_456_789)),
            "1700000000123456"
        );
        assert_eq!(text(Micros::of(30_000_999)), "30000.999");
        assert_eq!(text(Micros::of(1_000)), "1");
        assert_eq!(text(Micros::between(5_000, 3_500)), "-1.5");
    }
}
