//! JSON that is nearly JSON, made readable: invalid UTF-8, halves of surrogate pairs, raw control
//! characters, numbers beyond 64 bits, `NaN`, nesting without end.

use serde_json::Value;

use crate::error::Error;
use crate::limit::check_json;
use crate::repair::{RepairCounts, RepairKind};

/// Maximum nesting; `serde_json` gives up at 128.
const MAX_DEPTH: usize = 120;

/// The mark that some editors and libraries write in front of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads a body of JSON, of OTLP's or another format: one document or several, one after another.
/// A body that is nearly JSON is repaired, and the
/// repairs are counted.
///
/// # Errors
///
/// [`Error::Json`] and [`Error::TooMany`].
pub fn read_json(body: &[u8], repairs: &mut RepairCounts) -> Result<Vec<Value>, Error> {
    // Before serde builds anything: the check bounds the memory that the values will take.
    check_json(body)?;
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let documents = |body: &[u8]| -> Result<Vec<Value>, serde_json::Error> {
        serde_json::Deserializer::from_slice(body)
            .into_iter()
            .collect()
    };
    let documents = match documents(body) {
        Ok(documents) => documents,
        Err(_) => {
            let mut repair = TextRepair::new(body);
            repair.run();
            let documents = documents(&repair.out)?;
            repairs.add(RepairKind::Text, repair.repaired_texts);
            repairs.add(RepairKind::Field, repair.cut_values);
            documents
        }
    };
    if documents.is_empty() {
        return Err(Error::Json(serde::de::Error::custom("the body is empty")));
    }
    Ok(documents)
}

/// One pass over a body.
struct TextRepair<'a> {
    rest: &'a [u8],
    out: Vec<u8>,
    depth: usize,
    repaired_texts: u64,
    cut_values: u64,
}

// === impl TextRepair ===

impl<'a> TextRepair<'a> {
    fn new(body: &'a [u8]) -> Self {
        Self {
            rest: body,
            out: Vec::with_capacity(body.len()),
            depth: 0,
            repaired_texts: 0,
            cut_values: 0,
        }
    }

    fn run(&mut self) {
        while let Some(byte) = self.rest.first().copied() {
            match byte {
                b'"' => self.text(),
                b'-' | b'0'..=b'9' | b'N' | b'I' => self.number(),
                b'{' | b'[' if self.depth >= MAX_DEPTH => self.skip_nested(),
                b'{' | b'[' => {
                    self.depth += 1;
                    self.copy(1);
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.copy(1);
                }
                _ => self.copy(1),
            }
        }
    }

    /// Copies a number. One that JSON or a double cannot express becomes text, and the reader of
    /// the field decides.
    fn number(&mut self) {
        let is_part =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let length = self.rest.iter().take_while(|byte| is_part(byte)).count();
        let (token, _) = self.rest.split_at(length.max(1));
        let number = std::str::from_utf8(token)
            .ok()
            .and_then(|token| token.parse::<f64>().ok());
        let is_name = matches!(token, b"NaN" | b"Infinity" | b"-Infinity");
        if is_name || number.is_some_and(|number| !number.is_finite()) {
            self.out.push(b'"');
            self.out.extend_from_slice(token);
            self.out.push(b'"');
            self.skip(token.len());
        } else {
            self.copy(token.len());
        }
    }

    /// Leaves out a value that is nested too deeply.
    fn skip_nested(&mut self) {
        self.cut_values += 1;
        self.out.extend_from_slice(b"null");
        let mut depth = 0_usize;
        while let Some(byte) = self.rest.first().copied() {
            match byte {
                b'"' => {
                    // The text itself is left out too.
                    let (length, repaired) = (self.out.len(), self.repaired_texts);
                    self.text();
                    self.out.truncate(length);
                    self.repaired_texts = repaired;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.skip(1);
            if depth == 0 {
                return;
            }
        }
    }

    /// Copies a text with its quotes.
    fn text(&mut self) {
        self.copy(1);
        let mut is_repaired = false;
        loop {
            let is_plain = |byte: &u8| *byte >= b' ' && !matches!(byte, b'"' | b'\\');
            let length = self.rest.iter().take_while(|byte| is_plain(byte)).count();
            let (plain, rest) = self.rest.split_at(length);
            let lossy = String::from_utf8_lossy(plain);
            is_repaired |= matches!(lossy, std::borrow::Cow::Owned(_));
            self.out.extend_from_slice(lossy.as_bytes());
            self.rest = rest;
            match rest.first() {
                // A text without an end: serde reports it.
                None => break,
                Some(b'"') => {
                    self.copy(1);
                    break;
                }
                Some(b'\\') => is_repaired |= self.escape(),
                Some(control) => {
                    self.out
                        .extend_from_slice(format!("\\u{control:04x}").as_bytes());
                    self.skip(1);
                }
            }
        }
        self.repaired_texts += u64::from(is_repaired);
    }

    /// Copies an escape; returns whether it had to be repaired.
    fn escape(&mut self) -> bool {
        match self.rest.get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.copy(2);
                false
            }
            Some(b'u') => match unit(self.rest) {
                Some(0xd800..=0xdbff) => {
                    let low = self.rest.get(6..).and_then(unit);
                    if matches!(low, Some(0xdc00..=0xdfff)) {
                        self.copy(12);
                        false
                    } else {
                        self.replace(6)
                    }
                }
                Some(0xdc00..=0xdfff) => self.replace(6),
                Some(_) => {
                    self.copy(6);
                    false
                }
                None => self.replace(2),
            },
            Some(_) | None => self.replace(1),
        }
    }

    fn replace(&mut self, length: usize) -> bool {
        self.out.extend_from_slice(b"\\ufffd");
        self.skip(length);
        true
    }

    fn copy(&mut self, length: usize) {
        let (part, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.out.extend_from_slice(part);
        self.rest = rest;
    }

    fn skip(&mut self, length: usize) {
        self.rest = self.rest.get(length..).unwrap_or_default();
    }
}

/// Reads the UTF-16 unit of an escape such as `\u00e9`.
fn unit(escape: &[u8]) -> Option<u16> {
    let digits = escape.strip_prefix(b"\\u")?.get(..4)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
