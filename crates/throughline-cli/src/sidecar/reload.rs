//! The file of options, read again when it changes or when SIGHUP comes: what can hold at once does, the rest is named.
//!
//! A file with mistakes changes nothing. The file is looked at every second instead of being watched, because what replaces
//! it (an editor, a Kubernetes ConfigMap behind two symbolic links) does so in ways that a watch of the file does not see. What is
//! seen counts when two looks agree: half of a file may be right by itself, and say something else than all of it.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, to_value};
use throughline_proxy::ProxyControl;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use crate::sidecar::check::{self, Traced};
use crate::sidecar::file::Told;
use crate::sidecar::options::{RELOADED, Sidecar};

/// Waits for changes, and applies them.
pub(crate) struct Reload {
    told: Told,
    arguments: Vec<OsString>,
    control: ProxyControl,
    hangup: Signal,
    seen: Seen,
}

/// What has been seen of the file.
#[derive(Debug, Default)]
struct Seen {
    /// As it was when it was read last.
    read: Option<String>,
    /// As it was at the last look, when that was something else.
    new: Option<String>,
}

// === impl Reload ===

impl Reload {
    pub(crate) fn new(
        told: Told,
        arguments: Vec<OsString>,
        control: ProxyControl,
    ) -> anyhow::Result<Self> {
        let hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        let seen = Seen {
            read: told.file.clone(),
            new: None,
        };
        Ok(Self {
            told,
            arguments,
            control,
            hangup,
            seen,
        })
    }

    /// Never ends.
    pub(crate) async fn run(mut self) {
        let mut looks = tokio::time::interval(PAUSE);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = self.hangup.recv() => self.reload(),
                _ = looks.tick() => self.look(),
            }
        }
    }

    /// Reads the file again if it has changed. One that is gone is about to come back.
    fn look(&mut self) {
        if let Some(text) = self.text()
            && self.seen.is_settled(text)
        {
            self.reload();
        }
    }

    fn text(&self) -> Option<String> {
        std::fs::read_to_string(self.told.options.config.as_ref()?).ok()
    }

    fn reload(&mut self) {
        self.seen = Seen {
            read: self.text().or_else(|| self.seen.read.take()),
            new: None,
        };
        match self.read() {
            Err(mistakes) => {
                let mistakes = mistakes.join("; ");
                tracing::error!(
                    "the configuration stays as it is; what it would be now has mistakes: {mistakes}"
                );
            }
            Ok(told) => {
                let changed = changed(&self.told.options, &told.options);
                let (at_once, later): (Vec<&str>, Vec<&str>) = changed
                    .iter()
                    .map(String::as_str)
                    .partition(|key| RELOADED.contains(key));
                tracing::info!(changed = at_once.join(", "), "read the configuration again");
                if !later.is_empty() {
                    tracing::warn!(
                        changed = later.join(", "),
                        "these hold after a restart only"
                    );
                }
                self.told = told;
            }
        }
    }

    /// What the sidecar would be told now; applied as far as it can be when all of it is right.
    fn read(&self) -> Result<Told, Vec<String>> {
        let told = Told::new(&self.arguments)?;
        check::plan(&told, &super::variable)?;
        let Traced { kafka, http } = check::settings(&told, &super::variable)?;
        self.control.apply(kafka);
        self.control.apply_http(http);
        Ok(told)
    }
}

// === impl Seen ===

impl Seen {
    /// Whether the file is another one than was read, and nobody is about to write it.
    fn is_settled(&mut self, text: String) -> bool {
        if self.read.as_ref() == Some(&text) {
            self.new = None;
            return false;
        }
        let is_settled = self.new.as_ref() == Some(&text);
        self.new = Some(text);
        is_settled
    }
}

/// The keys whose values differ.
fn changed(old: &Sidecar, new: &Sidecar) -> Vec<String> {
    let (Ok(Value::Object(old)), Ok(Value::Object(new))) = (to_value(old), to_value(new)) else {
        return Vec::new();
    };
    old.into_iter()
        .filter(|(key, value)| new.get(key) != Some(value))
        .map(|(key, _)| key)
        .collect()
}

const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_being_written_is_not_read() {
        let mut seen = Seen {
            read: Some("inject: false\n".to_owned()),
            new: None,
        };
        // An editor empties the file, then writes it in two pieces; the empty one would turn injection on.
        let looks = [
            "inject: false\n",
            "",
            "inject: false\nsa",
            "inject: false\nsample: 0.1\n",
        ];
        assert!(!looks.iter().any(|look| seen.is_settled((*look).to_owned())));
        assert!(seen.is_settled(looks[3].to_owned()));
        let mut seen = Seen {
            read: Some("a".to_owned()),
            new: None,
        };
        let looks = ["b", "a", "b"].map(|look| seen.is_settled(look.to_owned()));
        assert_eq!(looks, [false; 3], "only looks that follow each other agree");
    }
}
