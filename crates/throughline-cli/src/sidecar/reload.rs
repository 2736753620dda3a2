//! Reload of the configuration file, when it changes or on SIGHUP: reloadable options take effect,
//! and the log names the ones that need a restart.
//!
//! An invalid file changes nothing. The file is polled every second rather than watched, because
//! editors and Kubernetes ConfigMaps (two symbolic links) replace it in ways that a watch on the
//! file does not see. A change counts once two polls agree: half of a file may be valid and mean
//! something else.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, to_value};
use throughline_proxy::ProxyControl;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use crate::args::sidecar::{RELOADABLE, SidecarArgs};
use crate::daemon::environment_variable;
use crate::sidecar::config::{self, TracingSettings};
use crate::sidecar::raw_config::RawConfig;

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Watches the configuration file and applies its changes.
pub(crate) struct ConfigReloader {
    current: RawConfig,
    arguments: Vec<OsString>,
    control: ProxyControl,
    hangup: Signal,
    file: FileDebouncer,
}

/// Detects changes of a file once their write is complete.
#[derive(Debug, Default)]
struct FileDebouncer {
    /// Text at the last load.
    loaded: Option<String>,
    /// Text at the last poll, if it differed.
    candidate: Option<String>,
}

// === impl ConfigReloader ===

impl ConfigReloader {
    pub(crate) fn new(
        current: RawConfig,
        arguments: Vec<OsString>,
        control: ProxyControl,
    ) -> anyhow::Result<Self> {
        let hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        let file = FileDebouncer {
            loaded: current.file.clone(),
            candidate: None,
        };
        Ok(Self {
            current,
            arguments,
            control,
            hangup,
            file,
        })
    }

    /// Runs until the task is aborted.
    pub(crate) async fn run(mut self) {
        let mut polls = tokio::time::interval(POLL_INTERVAL);
        // After a suspend one poll is enough.
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = self.hangup.recv() => self.reload(),
                _ = polls.tick() => self.poll_file(),
            }
        }
    }

    /// Reloads the file if it has changed. A missing file is ignored: it is being replaced.
    fn poll_file(&mut self) {
        if let Some(text) = self.read_file()
            && self.file.is_settled_change(text)
        {
            self.reload();
        }
    }

    fn read_file(&self) -> Option<String> {
        std::fs::read_to_string(self.current.options.config.as_ref()?).ok()
    }

    fn reload(&mut self) {
        self.file = FileDebouncer {
            // An invalid file counts as loaded too, so that its errors are logged once.
            loaded: self.read_file().or_else(|| self.file.loaded.take()),
            candidate: None,
        };
        match self.load_and_apply() {
            Err(errors) => {
                let errors = errors.join("; ");
                tracing::error!("configuration reload rejected, keeping the current one: {errors}");
            }
            Ok(config) => {
                let changed = changed_keys(&self.current.options, &config.options);
                let (applied, pending): (Vec<&str>, Vec<&str>) = changed
                    .iter()
                    .map(String::as_str)
                    .partition(|key| RELOADABLE.contains(key));
                tracing::info!(changed = applied.join(", "), "configuration reloaded");
                if !pending.is_empty() {
                    tracing::warn!(
                        changed = pending.join(", "),
                        "configuration changes need a restart"
                    );
                }
                // Warnings that were logged before would only repeat.
                let known = &self.current.warnings;
                for warning in config.warnings.iter().filter(|it| !known.contains(it)) {
                    tracing::warn!("{warning}");
                }
                self.current = config;
            }
        }
    }

    /// Loads the configuration, and applies its reloadable part if all of it is valid.
    fn load_and_apply(&self) -> Result<RawConfig, Vec<String>> {
        let raw = RawConfig::load(&self.arguments, &environment_variable)?;
        // Options that need a restart are validated too: the next start must not fail on them.
        config::parse(&raw, &environment_variable)?;
        let TracingSettings { kafka, http } =
            config::parse_tracing_settings(&raw, &environment_variable)?;
        self.control.apply(kafka);
        self.control.apply_http(http);
        Ok(raw)
    }
}

// === impl FileDebouncer ===

impl FileDebouncer {
    /// Whether the text differs from the loaded one and is the same as at the last poll.
    fn is_settled_change(&mut self, text: String) -> bool {
        // Changed and changed back between two polls.
        if self.loaded.as_ref() == Some(&text) {
            self.candidate = None;
            return false;
        }
        let is_settled = self.candidate.as_ref() == Some(&text);
        self.candidate = Some(text);
        is_settled
    }
}

/// Returns the keys whose values differ.
fn changed_keys(old: &SidecarArgs, new: &SidecarArgs) -> Vec<String> {
    let (Ok(Value::Object(old)), Ok(Value::Object(new))) = (to_value(old), to_value(new)) else {
        return Vec::new();
    };
    old.into_iter()
        .filter(|(key, value)| new.get(key) != Some(value))
        .map(|(key, _)| key)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_that_is_being_written_is_not_loaded() {
        let mut file = FileDebouncer {
            loaded: Some("inject: false\n".to_owned()),
            candidate: None,
        };
        // An editor truncates the file, then writes it in two pieces; the empty one would turn
        // injection on.
        let polls = [
            "inject: false\n",
            "",
            "inject: false\nsa",
            "inject: false\nsample: 0.1\n",
        ];
        let mut settled = polls.iter();
        assert!(!settled.any(|text| file.is_settled_change((*text).to_owned())));
        assert!(file.is_settled_change(polls[3].to_owned()));
        let mut file = FileDebouncer {
            loaded: Some("a".to_owned()),
            candidate: None,
        };
        let settled = ["b", "a", "b"].map(|text| file.is_settled_change(text.to_owned()));
        assert_eq!(settled, [false; 3], "only consecutive polls agree");
    }
}
