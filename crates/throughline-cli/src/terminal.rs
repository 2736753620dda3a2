//! Terminal output: colors where a terminal shows them, and no control characters from span names.

use std::borrow::Cow;
use std::io::IsTerminal;

/// SGR color codes that are legible on light and dark backgrounds.
const NAME_COLORS: [&str; 6] = ["36", "35", "34", "33", "32", "96"];

/// Whether text is colored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColorMode {
    /// Text without escape sequences.
    Plain,
    /// Text with ANSI colors.
    Ansi,
}

// === impl ColorMode ===

impl ColorMode {
    /// Returns the mode for stdout; see [`is_color_enabled`].
    pub(crate) fn for_stdout() -> Self {
        if is_color_enabled(&std::io::stdout()) {
            Self::Ansi
        } else {
            Self::Plain
        }
    }

    /// Dims secondary text.
    pub(crate) fn dim(self, text: &str) -> Cow<'_, str> {
        self.styled("2", text)
    }

    /// Highlights an error.
    pub(crate) fn error(self, text: &str) -> Cow<'_, str> {
        self.styled("1;31", text)
    }

    /// Colors a name; the same name always gets the same color.
    pub(crate) fn name(self, text: &str) -> Cow<'_, str> {
        // A hash that stays the same across runs and versions, unlike the one of HashMap.
        let sum = text.bytes().fold(0usize, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(byte.into())
        });
        let color = NAME_COLORS.get(sum % NAME_COLORS.len());
        self.styled(color.copied().unwrap_or("36"), text)
    }

    fn styled<'a>(self, code: &str, text: &'a str) -> Cow<'a, str> {
        match self {
            Self::Plain => printable(text),
            Self::Ansi => Cow::Owned(format!("\u{1b}[{code}m{}\u{1b}[0m", printable(text))),
        }
    }
}

/// Whether a stream gets colors: on a terminal, unless `NO_COLOR` is set (no-color.org).
pub(crate) fn is_color_enabled(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Replaces every control character: span names come from untrusted senders, and a terminal obeys
/// the escape sequences in them.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        Cow::Owned(
            text.chars()
                .map(|c| if c.is_control() { '\u{fffd}' } else { c })
                .collect(),
        )
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_of_a_name_are_replaced() {
        assert_eq!(
            printable("a\u{1b}[2Jb\u{9b}c\n"),
            "a\u{fffd}[2Jb\u{fffd}c\u{fffd}"
        );
    }

    #[test]
    fn plain_mode_writes_no_escape_sequences() {
        assert_eq!(ColorMode::Plain.error("x"), "x");
        assert_eq!(ColorMode::Ansi.error("x"), "\u{1b}[1;31mx\u{1b}[0m");
    }
}
