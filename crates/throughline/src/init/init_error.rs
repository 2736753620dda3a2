//! The error of a strict initialization: all invalid variables at once, each with its remedy.

use std::fmt::Write as _;

use throughline_model::environment::VariableError;

/// The invalid variables of the telemetry configuration; never empty. A binary prints it and exits
/// with 64 (`EX_USAGE`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", message(.0))]
pub struct InitError(Vec<VariableError>);

// === impl InitError ===

impl InitError {
    /// Returns an error when any variable is invalid.
    pub(crate) fn check(errors: Vec<VariableError>) -> Result<(), Self> {
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Self(errors))
        }
    }

    /// Returns the invalid variables, in the order in which they were read.
    pub fn iter(&self) -> std::slice::Iter<'_, VariableError> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a InitError {
    type Item = &'a VariableError;
    type IntoIter = std::slice::Iter<'a, VariableError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

fn message(errors: &[VariableError]) -> String {
    let mut text = if errors.len() == 1 {
        "1 error in the telemetry configuration:".to_owned()
    } else {
        format!("{} errors in the telemetry configuration:", errors.len())
    };
    for error in errors {
        // Writing into a String cannot fail.
        write!(text, "\n  {error}").ok();
    }
    text
}
