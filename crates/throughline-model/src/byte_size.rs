//! Sizes in bytes as people write them: `512MiB`, `2GiB`, `1048576`.

/// Parses a size, or returns [`None`] when it is malformed or overflows. `M` and `MB` mean `MiB`,
/// as is usual for memory.
#[must_use]
pub fn parse(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(1 << shift)
}

/// Writes a size in its largest unit without a fraction, as [`parse`] reads it.
#[must_use]
pub fn format(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = units
        .iter()
        .find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    whole.map_or_else(
        || bytes.to_string(),
        |(shift, unit)| format!("{}{unit}", bytes >> shift),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_with_and_without_a_unit() {
        for (text, bytes) in [
            ("1048576", 1 << 20),
            ("512MiB", 512 << 20),
            ("2 GiB", 2 << 30),
            ("64k", 64 << 10),
        ] {
            assert_eq!(parse(text), Some(bytes), "{text:?}");
        }
    }

    #[test]
    fn formatted_sizes_parse_to_the_same() {
        for text in ["10GiB", "1536MiB", "64KiB", "1000", "0"] {
            let bytes = parse(text).map(|bytes| bytes as u64);
            assert_eq!(bytes.map(format).as_deref(), Some(text));
        }
    }

    #[test]
    fn malformed_sizes_are_rejected() {
        for text in [
            "",
            "MiB",
            "-1",
            "1.5GiB",
            "1TiB",
            "1 2",
            "99999999999999999999",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
