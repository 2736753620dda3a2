//! TLS and tokens of the collector, from files that may change while it runs.
//!
//! The files hold secrets: no error quotes them.

use std::net::IpAddr;

use serde::Deserialize;
use throughline_collector::{AccessControl, AccessRules, AccessToken, CollectorTls, IngestToken};
use throughline_proxy::{DownstreamTls, TlsIdentity, TlsRoots};
use tokio::signal::unix::Signal;
use tokio::time::MissedTickBehavior;
use ureq::http::HeaderName;

use crate::args::up::UpArgs;
use crate::file_debouncer::{FileDebouncer, POLL_INTERVAL};

/// Fewest characters of a token: shorter ones can be guessed.
const MIN_TOKEN_CHARS: usize = 16;

/// The options with their files.
pub(super) struct AccessFiles {
    options: [(&'static str, Option<String>); 4],
}

/// The contents of the files, in the order of the options.
#[derive(PartialEq)]
pub(super) struct AccessFileContents([Option<Vec<u8>>; 4]);

/// The checked settings.
pub(super) struct AccessSettings {
    pub(super) tls: Option<DownstreamTls>,
    pub(super) rules: AccessRules,
}

/// Applies changed files to a running collector.
pub(super) struct AccessReloader {
    files: AccessFiles,
    tls: Option<CollectorTls>,
    access: AccessControl,
    hangup: Signal,
    debouncer: FileDebouncer<AccessFileContents>,
}

/// The file of tokens.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawAccess {
    ingest: Vec<RawIngestToken>,
    query: Vec<RawQueryToken>,
    query_header: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIngestToken {
    token: String,
    #[serde(default)]
    services: Vec<String>,
    max_spans_per_second: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawQueryToken {
    token: String,
}

// === impl AccessFiles ===

impl AccessFiles {
    pub(super) fn of(args: &UpArgs) -> Self {
        let file = |path: &Option<String>| path.clone().filter(|path| !path.is_empty());
        Self {
            options: [
                ("--tls-cert", file(&args.tls_cert)),
                ("--tls-key", file(&args.tls_key)),
                ("--tls-client-ca", file(&args.tls_client_ca)),
                ("--access", file(&args.access)),
            ],
        }
    }

    /// Reads all files.
    ///
    /// # Errors
    /// Every file that cannot be read.
    pub(super) fn read(&self) -> Result<AccessFileContents, Vec<String>> {
        let mut errors = Vec::new();
        let contents = self.options.each_ref().map(|(option, path)| {
            let path = path.as_ref()?;
            std::fs::read(path)
                .map_err(|error| errors.push(format!("{option} {path:?} cannot be read: {error}")))
                .ok()
        });
        if errors.is_empty() {
            Ok(AccessFileContents(contents))
        } else {
            Err(errors)
        }
    }

    fn is_empty(&self) -> bool {
        self.options.iter().all(|(_, path)| path.is_none())
    }
}

// === impl AccessFileContents ===

impl AccessFileContents {
    /// Parses the files.
    ///
    /// # Errors
    /// Every error, under the option of its file.
    pub(super) fn parse(&self) -> Result<AccessSettings, Vec<String>> {
        let [certificates, key, client_ca, tokens] = &self.0;
        let mut errors = Vec::new();
        let tls = match (certificates, key) {
            (Some(certificates), Some(key)) => {
                parse_tls(TlsIdentity { certificates, key }, client_ca.as_deref())
                    .map_err(|error| errors.push(error))
                    .ok()
            }
            (None, None) if client_ca.is_some() => {
                let text = "--tls-client-ca needs --tls-cert and --tls-key";
                errors.push(text.to_owned());
                None
            }
            (None, None) => None,
            (Some(_), None) => {
                errors.push("--tls-key is missing: a certificate and its key go together".into());
                None
            }
            (None, Some(_)) => {
                errors.push("--tls-cert is missing: a certificate and its key go together".into());
                None
            }
        };
        let rules = match tokens.as_deref().map(parse_rules) {
            None => AccessRules::default(),
            Some(Ok(rules)) => rules,
            Some(Err(more)) => {
                errors.extend(more);
                AccessRules::default()
            }
        };
        if errors.is_empty() {
            Ok(AccessSettings { tls, rules })
        } else {
            Err(errors)
        }
    }
}

fn parse_tls(identity: TlsIdentity<'_>, client_ca: Option<&[u8]>) -> Result<DownstreamTls, String> {
    // One step at a time, so that an error is reported under the option that causes it.
    let tls = DownstreamTls::new(identity).map_err(|error| format!("--tls-cert {error}"))?;
    let Some(client_ca) = client_ca else {
        return Ok(tls);
    };
    DownstreamTls::with_client_roots(identity, TlsRoots::Pem(client_ca))
        .map_err(|error| format!("--tls-client-ca {error}"))
}

/// Parses the file of tokens.
fn parse_rules(text: &[u8]) -> Result<AccessRules, Vec<String>> {
    let form = "write lists `ingest` and `query` of entries with a `token`, and `query_header`";
    let raw = std::str::from_utf8(text)
        .ok()
        // The error of the parser quotes the file, and so a token.
        .and_then(|text| serde_saphyr::from_str::<Option<RawAccess>>(text).ok());
    let Some(raw) = raw else {
        return Err(vec![format!("--access is not valid: {form}")]);
    };
    let raw = raw.unwrap_or_default();
    let mut errors = Vec::new();
    let tokens = raw.ingest.iter().map(|one| ("ingest", &one.token));
    let tokens = tokens.chain(raw.query.iter().map(|one| ("query", &one.token)));
    for (index, (list, token)) in tokens.enumerate() {
        // The characters of a header (RFC 6750, section 2.1, allows fewer).
        if token.len() < MIN_TOKEN_CHARS || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            errors.push(format!(
                "--access: token {} (of {list}) must have at least {MIN_TOKEN_CHARS} visible \
                 ASCII characters; `openssl rand -hex 32` makes one",
                index + 1
            ));
        }
    }
    let query_header = raw.query_header.as_deref().and_then(|name| {
        name.parse::<HeaderName>()
            .map_err(|_| {
                errors.push(format!(
                    "--access: query_header {name:?} is not a header name"
                ));
            })
            .ok()
    });
    if !errors.is_empty() {
        return Err(errors);
    }
    let ingest = raw.ingest.into_iter().map(|one| {
        let token = AccessToken::new(&one.token);
        IngestToken::new(token, one.services, one.max_spans_per_second)
    });
    let query = raw.query.iter().map(|one| AccessToken::new(&one.token));
    Ok(AccessRules {
        ingest: ingest.collect(),
        query: query.collect(),
        query_header,
    })
}

/// Returns a warning for each way in which others on the network may use the collector freely.
pub(super) fn exposure_warnings(
    host: IpAddr,
    tls: Option<&DownstreamTls>,
    has_client_ca: bool,
    access: &AccessControl,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if host.is_loopback() {
        return warnings;
    }
    if tls.is_none() {
        warnings.push(format!(
            "spans, traces and tokens cross the network of {host} without encryption; set \
             --tls-cert and --tls-key"
        ));
    }
    if !has_client_ca && !access.restricts_ingest() {
        warnings.push(format!(
            "everyone who reaches {host} can send spans; set tokens for `ingest` with --access, or \
             --tls-client-ca"
        ));
    }
    if !has_client_ca && !access.restricts_queries() {
        warnings.push(format!(
            "everyone who reaches {host} can read all traces; set tokens for `query` with \
             --access, or --tls-client-ca"
        ));
    }
    warnings
}

// === impl AccessReloader ===

impl AccessReloader {
    /// Returns the reloader; `None` when no option names a file.
    pub(super) fn new(
        files: AccessFiles,
        tls: Option<CollectorTls>,
        access: AccessControl,
        hangup: Signal,
    ) -> Option<Self> {
        if files.is_empty() {
            return None;
        }
        let debouncer = FileDebouncer::new(files.read().ok());
        Some(Self {
            files,
            tls,
            access,
            hangup,
            debouncer,
        })
    }

    /// Runs until the task is aborted.
    pub(super) async fn run(mut self) {
        let mut polls = tokio::time::interval(POLL_INTERVAL);
        // After a suspend one poll is enough.
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_forced = tokio::select! {
                _ = self.hangup.recv() => true,
                _ = polls.tick() => false,
            };
            // A missing file is being replaced; a signal reports it.
            let contents = match self.files.read() {
                Ok(contents) => contents,
                Err(errors) if is_forced => {
                    log_rejected(&errors);
                    continue;
                }
                Err(_) => continue,
            };
            let settled = AccessFileContents(contents.0.clone());
            if is_forced || self.debouncer.is_settled_change(settled) {
                self.apply(contents);
            }
        }
    }

    fn apply(&mut self, contents: AccessFileContents) {
        let parsed = contents.parse();
        self.debouncer.set_loaded(Some(contents));
        match parsed {
            Err(errors) => log_rejected(&errors),
            Ok(AccessSettings { tls, rules }) => {
                if let (Some(running), Some(tls)) = (&self.tls, tls) {
                    running.replace(tls.server_config());
                }
                self.access.replace(rules);
                tracing::info!("certificates and tokens reloaded");
            }
        }
    }
}

fn log_rejected(errors: &[String]) {
    let errors = errors.join("; ");
    tracing::error!("certificates and tokens not reloaded, keeping the current ones: {errors}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "a-secret-of-twenty-characters";

    fn errors(text: &str) -> Vec<String> {
        parse_rules(text.as_bytes()).map(drop).unwrap_err()
    }

    #[test]
    fn tokens_are_parsed_and_no_error_quotes_one() {
        let text = format!(
            "ingest:\n  - token: {SECRET}\n    services: [shop]\n    max_spans_per_second: 10\n\
             query:\n  - token: {SECRET}2\nquery_header: x-forwarded-user\n"
        );
        let rules = parse_rules(text.as_bytes()).unwrap();
        assert_eq!((rules.ingest.len(), rules.query.len()), (1, 1));
        assert!(rules.query_header.is_some());
        assert!(parse_rules(b"").is_ok_and(|rules| rules.ingest.is_empty()));
        for invalid in [
            format!("ingest:\n  - tokne: {SECRET}\n"),
            format!("query: {SECRET}\n"),
            format!("{SECRET}\n"),
            format!("query:\n  - token: {SECRET} {SECRET}\n"),
            format!("query:\n  - token: \"{SECRET}\n"),
        ] {
            let errors = errors(&invalid);
            assert!(!errors.is_empty(), "{invalid}");
            assert!(!errors.concat().contains(SECRET), "{errors:?}");
        }
        let short = errors("ingest:\n  - token: short-secret\nquery_header: \"a b\"\n");
        assert_eq!(short.len(), 2, "{short:?}");
        assert!(!short.concat().contains("short-secret"));
    }

    #[test]
    fn exposed_address_is_warned_about_until_it_is_protected() {
        let open = AccessControl::default();
        let count = |host: &str, has_client_ca, access: &AccessControl| {
            exposure_warnings(host.parse().unwrap(), None, has_client_ca, access).len()
        };
        assert_eq!(count("127.0.0.1", false, &open), 0);
        assert_eq!(count("0.0.0.0", false, &open), 3);
        assert_eq!(count("0.0.0.0", true, &open), 1);
        let text = format!("ingest: [{{token: {SECRET}}}]\nquery: [{{token: {SECRET}}}]\n");
        let rules = parse_rules(text.as_bytes()).unwrap();
        assert_eq!(count("0.0.0.0", false, &AccessControl::new(rules)), 1);
    }
}
