//! Reload of the configuration file, when it changes or on SIGHUP: reloadable options take effect,
//! and the log names the ones that need a restart.
//!
//! An invalid file changes nothing.

use std::ffi::OsString;

use anyhow::Context as _;
use serde_json::{Value, to_value};
use throughline_proxy::ProxyControl;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use crate::args::sidecar::{RELOADABLE, SidecarArgs};
use crate::daemon::environment_variable;
use crate::file_debouncer::{FileDebouncer, POLL_INTERVAL};
use crate::sidecar::config::{self, TracingSettings};
use crate::sidecar::raw_config::RawConfig;

/// Watches the configuration file and applies its changes.
pub(crate) struct ConfigReloader {
    current: RawConfig,
    arguments: Vec<OsString>,
    control: ProxyControl,
    hangup: Signal,
    file: FileDebouncer<String>,
}

// === impl ConfigReloader ===

impl ConfigReloader {
    pub(crate) fn new(
        current: RawConfig,
        arguments: Vec<OsString>,
        control: ProxyControl,
    ) -> anyhow::Result<Self> {
        let hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        let file = FileDebouncer::new(current.file.clone());
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
        // An invalid file counts as loaded too, so that its errors are logged once.
        self.file.set_loaded(self.read_file());
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
