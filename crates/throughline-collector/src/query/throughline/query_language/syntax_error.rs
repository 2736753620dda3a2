//! The error of a query line.

/// An invalid query line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// Cause and remedy.
    pub(crate) message: String,
    /// Position in the line, in characters from 0.
    pub(crate) position: usize,
}

impl SyntaxError {
    pub(super) fn at(position: usize, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            position,
        }
    }
}
