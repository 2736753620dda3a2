//! Understands what the sidecar was told: all of it, or every mistake in it, before a socket is bound.

mod correlate;
mod http;
mod net;
mod settings;
mod tls;

use std::time::Duration;

use throughline_export::{ExportProtocol, OtlpEndpoint};
use throughline_intercept::kafka::Capacity;
use throughline_model::duration;
use throughline_proxy::{Config, ConnectionLimits};
use tracing_subscriber::EnvFilter;

pub(crate) use self::settings::{Traced, settings};
use crate::sidecar::file::Told;

/// What the sidecar is to do.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) proxy: Config,
    pub(crate) export: throughline_export::Config,
    pub(crate) filter: EnvFilter,
}

/// What is being understood, and what was wrong with it so far.
pub(crate) struct Check<'a> {
    told: &'a Told,
    environment: &'a dyn Fn(&str) -> Option<String>,
    mistakes: Vec<String>,
}

/// Understands everything.
///
/// # Errors
/// All mistakes, each with its mend.
pub(crate) fn plan(
    told: &Told,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Plan, Vec<String>> {
    let mut check = Check {
        told,
        environment,
        mistakes: Vec::new(),
    };
    let listeners = check.listeners();
    let admin = check.admin(&listeners);
    let (broker_tls, client_tls) = (check.broker_tls(), check.client_tls());
    let options = &told.options;
    let limits = ConnectionLimits {
        max_connections: check.number("connections", &options.connections, 1_000_000),
        connect_timeout: check.duration("connect_timeout", &options.connect_timeout),
        drain_timeout: check.duration("drain", &options.drain),
    };
    let capacity = Capacity {
        max_held_bytes: check.size("memory", &options.memory),
        max_spans_per_second: check.number(
            "max_spans_per_second",
            &options.max_spans_per_second,
            10_000_000,
        ),
        ..Capacity::default()
    };
    let settings = check.settings();
    let export = check.export();
    let filter = crate::daemon::log_filter(&told.name("log"), &options.log);
    let filter = filter
        .map_err(|mistake| check.mistakes.push(mistake))
        .unwrap_or_default();
    let http = check.http(&settings, limits.connect_timeout);
    let proxy = Config {
        listeners,
        broker_tls,
        client_tls,
        admin,
        limits,
        capacity,
        settings,
        http,
    };
    if check.mistakes.is_empty() {
        Ok(Plan {
            proxy,
            export,
            filter,
        })
    } else {
        Err(check.mistakes)
    }
}

// === impl Check ===

impl<'a> Check<'a> {
    fn mistake(&mut self, key: &str, text: &str) {
        let name = self.told.name(key);
        self.mistakes.push(format!("{name} {text}"));
    }

    /// A variable that is not ours. An empty one is as good as none.
    fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    fn duration(&mut self, key: &str, text: &str) -> Duration {
        let read = duration::parse(text)
            .map(Duration::from_nanos)
            .filter(|time| *time <= DAY);
        read.unwrap_or_else(|| {
            self.mistake(
                key,
                &format!("{text:?} is no duration up to a day; write it as 500ms, 30s or 5m"),
            );
            Duration::ZERO
        })
    }

    fn size(&mut self, key: &str, text: &str) -> usize {
        crate::size::parse(text).unwrap_or_else(|| {
            self.mistake(
                key,
                &format!("{text:?} is no size; write it as 64MiB or 1GiB"),
            );
            0
        })
    }

    /// A number from 1 to `most`.
    fn number<N>(&mut self, key: &str, text: &str, most: N) -> N
    where
        N: std::str::FromStr + PartialOrd + std::fmt::Display + From<u8>,
    {
        match text.parse::<N>() {
            Ok(number) if number >= N::from(1) && number <= most => number,
            _ => {
                self.mistake(key, &format!("{text:?} is no number from 1 to {most}"));
                most
            }
        }
    }

    /// One of several words.
    fn word<T: Copy>(&mut self, key: &str, text: &str, words: &[(&str, T)], otherwise: T) -> T {
        let found = words
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(text.trim()));
        found.map_or_else(
            || {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                self.mistake(
                    key,
                    &format!("{text:?} is not known; use {}", known.join(" or ")),
                );
                otherwise
            },
            |(_, value)| *value,
        )
    }

    fn boolean(&mut self, key: &str, text: &str) -> bool {
        self.word(key, text, &[("true", true), ("false", false)], false)
    }

    fn export(&mut self) -> throughline_export::Config {
        let mut config = match throughline_export::Config::from_environment(self.environment) {
            Ok(config) => config,
            Err(mistakes) => {
                self.mistakes
                    .extend(mistakes.iter().map(ToString::to_string));
                throughline_export::Config::to(OtlpEndpoint::local(ExportProtocol::default()))
            }
        };
        if let Some(url) = self.told.options.collector.as_deref() {
            match OtlpEndpoint::collector(url, config.endpoint.protocol()) {
                Ok(endpoint) => config.endpoint = endpoint,
                // Not shown: it may hold a password.
                Err(error) => self.mistake("collector", &format!("is {error}")),
            }
        }
        config
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests;
