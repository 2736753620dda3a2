//! Durations as people and Jaeger's clients write them (Go's `time.ParseDuration`): `1.5s`,
//! `100ms`, `2h45m`, `500us`.

/// Parses a duration in Go's notation into nanoseconds; `None` when it is malformed, negative, or
/// longer than 584 years.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    // The only number that Go takes without a unit.
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total: f64 = 0.0;
    while !rest.is_empty() {
        // A number may have a fraction; a second point makes `parse` below fail.
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .filter(|digits| *digits > 0)?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let unit = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit)?;
        total += number.parse::<f64>().ok()? * nanoseconds_of(unit)?;
        rest = tail;
    }
    #[expect(clippy::cast_precision_loss, reason = "the bound need not be exact")]
    let fits = !text.is_empty() && total < u64::MAX as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked above, and never negative"
    )]
    fits.then_some(total.round() as u64)
}

/// Returns the length of a unit.
fn nanoseconds_of(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1.0,
        // Micro sign and Greek mu look alike, and Go takes both.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        _ => return None,
    })
}

/// Formats nanoseconds for people, with three digits: `1.23ms`, `17s`, `0s`.
#[must_use]
pub fn format(nanoseconds: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let number = nanoseconds as f64;
    let (number, unit) = match nanoseconds {
        0 => return "0s".to_owned(),
        // The bounds are where rounding to three digits reaches the next unit.
        1..1_000 => (number, "ns"),
        1_000..999_500 => (number / 1e3, "us"),
        999_500..999_500_000 => (number / 1e6, "ms"),
        _ => (number / 1e9, "s"),
    };
    // The bounds are where rounding adds a digit before the point.
    let decimals = if number < 9.995 {
        2
    } else {
        usize::from(number < 99.95)
    };
    let text = format!("{number:.decimals$}");
    let text = if decimals == 0 {
        text.as_str()
    } else {
        text.trim_end_matches('0').trim_end_matches('.')
    };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_parsed() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("1.2s", 1_200_000_000),
            ("100ms", 100_000_000),
            ("500us", 500_000),
            ("500\u{b5}s", 500_000),
            ("1h2m3s", 3_723_000_000_000),
            ("7ns", 7),
        ] {
            assert_eq!(parse(text), Some(nanoseconds), "{text:?}");
        }
    }

    #[test]
    fn malformed_durations_are_rejected() {
        for text in [
            "",
            "1",
            "s",
            "-1s",
            "1 s",
            "1.2.3s",
            "1d",
            "99999999999h",
            "+1s",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn durations_have_three_digits() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (7, "7ns"),
            (1_500, "1.5us"),
            (999_900, "1ms"),
            (12_340_000, "12.3ms"),
            (123_400_000, "123ms"),
            (100_000_000, "100ms"),
            (61_000_000_000, "61s"),
        ] {
            assert_eq!(format(nanoseconds), text);
        }
    }
}
