//! Times in the notation of this API: microseconds, in numbers that JavaScript holds exactly.
//!
//! A point in time is a whole number of microseconds since the Unix epoch (`1700000000000000` is
//! below 2^53, its nanoseconds are not). Offsets and durations may have three decimals, so that
//! they are exact to the nanosecond.

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

/// Microseconds with up to three decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, ToSchema)]
#[schema(as = Micros, value_type = f64, example = 1500.25)]
pub(crate) struct Microseconds(
    // In nanoseconds.
    i128,
);

impl Microseconds {
    /// Converts a duration in nanoseconds.
    pub(crate) const fn of(nanoseconds: u64) -> Self {
        Self(nanoseconds as i128)
    }

    /// Converts a time in nanoseconds since the Unix epoch; drops the part below a microsecond.
    pub(crate) const fn since_epoch(nanoseconds: u64) -> Self {
        Self::of(nanoseconds - nanoseconds % 1000)
    }

    /// Returns the time between two points, both in nanoseconds; negative when `to` is earlier.
    pub(crate) const fn between(from: u64, to: u64) -> Self {
        Self(to as i128 - from as i128)
    }
}

impl Serialize for Microseconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A whole number is shorter without `.0`, and most senders measure microseconds.
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
        let text = |time: Microseconds| serde_json::to_string(&time).unwrap();
        assert_eq!(
            text(Microseconds::since_epoch(1_700_000_000_123_456_789)),
            "1700000000123456"
        );
        assert_eq!(text(Microseconds::of(30_000_999)), "30000.999");
        assert_eq!(text(Microseconds::of(1_000)), "1");
        assert_eq!(text(Microseconds::between(5_000, 3_500)), "-1.5");
    }
}
