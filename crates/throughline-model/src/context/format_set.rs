//! A set of propagation formats.

use super::Format;

/// A set of [`Format`]s, as small as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FormatSet(u32);

// === impl FormatSet ===

impl FormatSet {
    /// Adds a format. Returns whether it was missing.
    pub const fn insert(&mut self, format: Format) -> bool {
        let is_missing = !self.contains(format);
        self.0 |= Self::bit(format);
        is_missing
    }

    /// Returns whether the set has the format.
    #[must_use]
    pub const fn contains(self, format: Format) -> bool {
        self.0 & Self::bit(format) != 0
    }

    /// Returns whether the set has no format.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the formats of this set that another one lacks.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns the formats of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Iterates over the formats in the order of [`Format::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Format> {
        Format::ALL
            .iter()
            .copied()
            .filter(move |format| self.contains(*format))
    }

    const fn bit(format: Format) -> u32 {
        1 << format as u32
    }
}

impl FromIterator<Format> for FormatSet {
    fn from_iter<T: IntoIterator<Item = Format>>(formats: T) -> Self {
        let mut set = Self::default();
        for format in formats {
            set.insert(format);
        }
        set
    }
}

/// Formats the names of the formats, as in `OTEL_PROPAGATORS`.
impl std::fmt::Display for FormatSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, format) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{}", format.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_holds_what_was_inserted() {
        let mut set = FormatSet::default();
        assert!(set.is_empty());
        assert!(set.insert(Format::B3Multi) && !set.insert(Format::B3Multi));
        assert!(set.insert(Format::W3c));
        assert_eq!(set.to_string(), "tracecontext,b3multi");
        let all: FormatSet = Format::ALL.iter().copied().collect();
        assert!(Format::ALL.iter().all(|format| all.contains(*format)));
        let others = all.difference(set);
        assert!(!others.contains(Format::W3c) && others.contains(Format::Jaeger));
        assert_eq!(others.union(set), all);
    }
}
