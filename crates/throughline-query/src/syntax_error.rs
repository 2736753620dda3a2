//! The error of a query line.

/// An invalid query line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// Cause and remedy.
    pub message: String,
    /// Position in the line, in characters from 0.
    pub position: usize,
}

impl SyntaxError {
    pub(crate) fn at(position: usize, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            position,
        }
    }
}
