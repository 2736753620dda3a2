//! `cargo xtask bench`: measurements in the release profile, each beside what it is measured against.

use anyhow::Result;

use crate::steps::{self, cargo};

/// What `cargo xtask bench` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Debug, clap::Subcommand)]
enum Subject {
    /// The SDK's producer and consumer against bare rdkafka: ns per record and their ratio
    Sdk,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    match options.subject {
        Subject::Sdk => {
            steps::run(&mut cargo(&["bench", "--package", "throughline", "--all-features", "--bench", "sdk"]))
        }
    }
}
