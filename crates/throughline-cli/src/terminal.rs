//! Terminal output: colors where a terminal shows them, and control characters of names escaped.

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

    /// Returns where a call went, dimmed, to follow its name; empty if that is unknown.
    pub(crate) fn destination(self, text: &str) -> Cow<'_, str> {
        if text.is_empty() {
            return Cow::Borrowed("");
        }
        Cow::Owned(self.dim(&format!(" \u{2192} {text}")).into_owned())
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

/// Escapes the characters that a terminal obeys rather than shows: control characters, and those
/// that change the direction or the lines of a text. Names come from untrusted senders.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_obeyed(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // Marks, embeddings, overrides and isolates of direction (Unicode, UAX #9).
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{206f}'
            // Line and paragraph separators, and the byte order mark, which has no width.
            | '\u{2028}' | '\u{2029}' | '\u{feff}'
            // Characters that no font shows (Unicode, tags).
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_direction_characters_are_escaped() {
        assert_eq!(
            printable("a\u{1b}[2Jb\u{9b}c\n\0\t"),
            "a\\u{1b}[2Jb\\u{9b}c\\n\\u{0}\\t"
        );
        assert_eq!(printable("\u{202e}gpj.exe"), "\\u{202e}gpj.exe");
        for character in "\u{61c}\u{200f}\u{2066}\u{2069}\u{2028}\u{feff}\u{e0041}".chars() {
            let text = character.to_string();
            assert_eq!(
                printable(&text),
                format!("\\u{{{:x}}}", u32::from(character))
            );
        }
    }

    #[test]
    fn other_scripts_and_emoji_are_shown() {
        for text in [
            "caf\u{e9}",
            "\u{5e9}\u{5dc}\u{5d5}\u{5dd}",
            "\u{1f468}\u{200d}\u{1f33e}",
        ] {
            assert_eq!(printable(text), text);
        }
    }

    #[test]
    fn plain_mode_writes_no_escape_sequences() {
        assert_eq!(ColorMode::Plain.error("x"), "x");
        assert_eq!(ColorMode::Ansi.error("x"), "\u{1b}[1;31mx\u{1b}[0m");
    }
}
