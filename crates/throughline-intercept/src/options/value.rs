//! Values of common types. An error is the rest of a sentence that begins with the option's name.

use std::fmt::Display;
use std::str::FromStr;

use throughline_model::byte_size;

/// Finds a word among those that are supported.
///
/// # Errors
/// The supported words.
pub fn parse_word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(text.trim()));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("{text:?} is not supported; use {}", known.join(" or "))
    })
}

/// Parses a number from 0 to 1.
///
/// # Errors
/// The range, and an example.
pub fn parse_ratio(text: &str) -> Result<f64, String> {
    let ratio = text.trim().parse::<f64>().ok();
    let ratio = ratio.filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| {
        format!("{text:?} is not a number from 0 to 1; 0.1 records a tenth of the traces")
    })
}

/// Parses a number from 1 to `max`. With 0, nothing would be accepted or recorded.
///
/// # Errors
/// The range.
pub fn parse_number<N>(text: &str, max: N) -> Result<N, String>
where
    N: FromStr + PartialOrd + Display + From<u8> + Copy,
{
    let number = text.trim().parse::<N>().ok();
    let number = number.filter(|number| *number >= N::from(1) && *number <= max);
    number.ok_or_else(|| format!("{text:?} is not a number from 1 to {max}"))
}

/// Parses a size in bytes, which is not 0.
///
/// # Errors
/// How to write one.
pub fn parse_byte_size(text: &str) -> Result<usize, String> {
    match byte_size::parse(text) {
        Some(0) => Err("must not be 0; write it as 64MiB or 1GiB".to_owned()),
        Some(size) => Ok(size),
        None => Err(format!("{text:?} is not a size; write it as 64MiB or 1GiB")),
    }
}
