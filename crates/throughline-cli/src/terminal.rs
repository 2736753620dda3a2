//! Writing for a terminal: colour where there is one, and nothing in a span's name can command it.

use std::borrow::Cow;
use std::io::IsTerminal;

/// How text is painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Not at all.
    Plain,
    /// With ANSI colours.
    Coloured,
}

impl Paint {
    /// As [`is_coloured`] has it.
    pub(crate) fn for_stdout() -> Self {
        if is_coloured(&std::io::stdout()) {
            Self::Coloured
        } else {
            Self::Plain
        }
    }

    /// What is less important.
    pub(crate) fn faint(self, text: &str) -> Cow<'_, str> {
        self.painted("2", text)
    }

    /// What went wrong.
    pub(crate) fn alarming(self, text: &str) -> Cow<'_, str> {
        self.painted("1;31", text)
    }

    /// A name, in a colour that is always the same for the same name.
    pub(crate) fn named(self, text: &str) -> Cow<'_, str> {
        let sum = text.bytes().fold(0usize, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(byte.into())
        });
        self.painted(
            NAME_COLOURS
                .get(sum % NAME_COLOURS.len())
                .copied()
                .unwrap_or("36"),
            text,
        )
    }

    fn painted<'a>(self, code: &str, text: &'a str) -> Cow<'a, str> {
        match self {
            Self::Plain => printable(text),
            Self::Coloured => Cow::Owned(format!("\u{1b}[{code}m{}\u{1b}[0m", printable(text))),
        }
    }
}

/// Whether colours are wanted: on a terminal, unless `NO_COLOR` is set to anything (no-color.org).
pub(crate) fn is_coloured(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The text with every control character replaced: names come from strangers, and a terminal obeys what it is sent.
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

/// Colours that can be read on light and dark.
const NAME_COLOURS: [&str; 6] = ["36", "35", "34", "33", "32", "96"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_command_the_terminal() {
        assert_eq!(
            printable("a\u{1b}[2Jb\u{9b}c\n"),
            "a\u{fffd}[2Jb\u{fffd}c\u{fffd}"
        );
    }

    #[test]
    fn plain_text_has_no_escapes() {
        assert_eq!(Paint::Plain.alarming("x"), "x");
        assert_eq!(Paint::Coloured.alarming("x"), "\u{1b}[1;31mx\u{1b}[0m");
    }
}
