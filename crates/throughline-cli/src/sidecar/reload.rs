//! The file of options, read again when it changes or when SIGHUP comes: what can hold at once does, the rest is named.
//!
//! A file with mistakes changes nothing. The file is looked at every other second instead of being watched, because what replaces
//! it (an editor, a Kubernetes ConfigMap behind two symbolic links) does so in ways that a watch of the file does not see.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, to_value};
use throughline_proxy::Control;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use crate::sidecar::check;
use crate::sidecar::file::Told;
use crate::sidecar::options::{RELOADED, Sidecar};

/// Waits for changes, and applies them.
pub(crate) struct Reload {
    told: Told,
    arguments: Vec<OsString>,
    control: Control,
    hangup: Signal,
    /// The file as it was when it was read last.
    seen: Option<String>,
}

// === impl Reload ===

impl Reload {
    pub(crate) fn new(told: Told, arguments: Vec<OsString>, control: Control) -> anyhow::Result<Self> {
        let hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        let seen = told.file.clone();
        Ok(Self { told, arguments, control, hangup, seen })
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
        if self.text().is_some_and(|text| self.seen.as_ref() != Some(&text)) {
            self.reload();
        }
    }

    fn text(&self) -> Option<String> {
        std::fs::read_to_string(self.told.options.config.as_ref()?).ok()
    }

    fn reload(&mut self) {
        self.seen = self.text().or_else(|| self.seen.take());
        match self.read() {
            Err(mistakes) => {
                let mistakes = mistakes.join("; ");
                tracing::error!("the configuration stays as it is; what it would be now has mistakes: {mistakes}");
            }
            Ok(told) => {
                let changed = changed(&self.told.options, &told.options);
                let (at_once, later): (Vec<&str>, Vec<&str>) =
                    changed.iter().map(String::as_str).partition(|key| RELOADED.contains(key));
                tracing::info!(changed = at_once.join(", "), "read the configuration again");
                if !later.is_empty() {
                    tracing::warn!(changed = later.join(", "), "these hold after a restart only");
                }
                self.told = told;
            }
        }
    }

    /// What the sidecar would be told now; applied as far as it can be when all of it is right.
    fn read(&self) -> Result<Told, Vec<String>> {
        let told = Told::new(&self.arguments)?;
        check::plan(&told, &super::variable)?;
        self.control.apply(check::settings(&told, &super::variable)?);
        Ok(told)
    }
}

/// The keys whose values differ.
fn changed(old: &Sidecar, new: &Sidecar) -> Vec<String> {
    let (Ok(Value::Object(old)), Ok(Value::Object(new))) = (to_value(old), to_value(new)) else { return Vec::new() };
    old.into_iter().filter(|(key, value)| new.get(key) != Some(value)).map(|(key, _)| key).collect()
}

const PAUSE: Duration = Duration::from_secs(2);
