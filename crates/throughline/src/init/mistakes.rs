//! What is wrong with a configuration: all of it at once, each with its mend.

use std::fmt;

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The variable at fault.
    pub variable: String,
    /// What it held, unless that may be a secret.
    pub value: Option<String>,
    /// What is wrong and how to mend it.
    pub problem: String,
}

/// Everything that is wrong with the configuration; never empty. A binary prints it and exits with 64 (`EX_USAGE`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", listed(.0))]
pub struct Mistakes(Vec<Mistake>);

// === impl Mistakes ===

impl Mistakes {
    /// `Err` with the mistakes, if there are any.
    pub(crate) fn check(mistakes: Vec<Mistake>) -> Result<(), Self> {
        if mistakes.is_empty() {
            Ok(())
        } else {
            Err(Self(mistakes))
        }
    }

    /// What no check of ours foresaw: the exporter refused the configuration.
    pub(crate) fn unbuildable(reason: &str) -> Self {
        let variable = "OTEL_EXPORTER_OTLP_ENDPOINT".to_owned();
        Self(vec![Mistake {
            variable,
            value: None,
            problem: reason.to_owned(),
        }])
    }

    /// The mistakes, in the order in which they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Mistake> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Mistakes {
    type Item = &'a Mistake;
    type IntoIter = std::slice::Iter<'a, Mistake>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value:?}: {}", self.variable, self.problem),
            None => write!(f, "{}: {}", self.variable, self.problem),
        }
    }
}

fn listed(mistakes: &[Mistake]) -> String {
    let count = if mistakes.len() == 1 {
        "1 mistake".to_owned()
    } else {
        format!("{} mistakes", mistakes.len())
    };
    mistakes.iter().fold(
        format!("{count} in the telemetry configuration:"),
        |text, one| format!("{text}\n  {one}"),
    )
}
