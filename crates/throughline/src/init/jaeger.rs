//! The variables of the Jaeger client libraries, for services without the standard ones.

use throughline_model::context::Format;
use throughline_model::environment::EnvironmentReader;

use super::sampler_choice::SamplerChoice;

/// Reads `JAEGER_PROPAGATION`: `jaeger`, `b3` (several headers, as those clients wrote it) and
/// `w3c`, separated by commas.
pub(super) fn read_propagators(env: &mut EnvironmentReader<'_>) -> Option<Vec<Format>> {
    const VARIABLE: &str = "JAEGER_PROPAGATION";
    let text = env.text(VARIABLE)?;
    let mut formats = Vec::new();
    for name in text.split(',').map(str::trim) {
        match name.to_ascii_lowercase().as_str() {
            "jaeger" => formats.push(Format::Jaeger),
            "b3" => formats.push(Format::B3Multi),
            // Jaeger's `w3c` covers baggage as well.
            "w3c" => formats.extend([Format::W3c, Format::Baggage]),
            _ => env.report(
                VARIABLE,
                name,
                "unknown propagation; use jaeger, b3 or w3c, or set OTEL_PROPAGATORS",
            ),
        }
    }
    Some(formats)
}

/// Reads `JAEGER_SAMPLER_TYPE` and `JAEGER_SAMPLER_PARAM`: `const` and `probabilistic`.
pub(super) fn read_sampler(env: &mut EnvironmentReader<'_>) -> Option<SamplerChoice> {
    const VARIABLE: &str = "JAEGER_SAMPLER_TYPE";
    let name = env.text(VARIABLE)?;
    if !matches!(name.as_str(), "const" | "probabilistic") {
        // Adaptive samplers ask a Jaeger agent, which this crate does not.
        env.report(
            VARIABLE,
            &name,
            "not built in, ignored; use const or probabilistic, or set OTEL_TRACES_SAMPLER",
        );
        return None;
    }
    let ratio = env.number(&["JAEGER_SAMPLER_PARAM"], 0.0..=1.0, 1.0);
    Some(SamplerChoice {
        parent_based: true,
        ratio,
    })
}

/// Reads `JAEGER_TAGS`: `key=value`, where a value may be `${VARIABLE:default}`.
pub(super) fn read_tags(env: &mut EnvironmentReader<'_>) -> Vec<(String, String)> {
    const VARIABLE: &str = "JAEGER_TAGS";
    let Some(text) = env.text(VARIABLE) else {
        return Vec::new();
    };
    let mut tags = Vec::new();
    for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
        match pair.split_once('=') {
            Some((key, value)) => {
                tags.push((key.trim().to_owned(), expand_reference(env, value.trim())));
            }
            None => env.report(VARIABLE, pair, "not of the form key=value"),
        }
    }
    tags
}

/// Reports `JAEGER_ENDPOINT`, which expects Thrift: ignoring it would lose all spans in silence.
pub(super) fn reject_endpoint(env: &mut EnvironmentReader<'_>) {
    const VARIABLE: &str = "JAEGER_ENDPOINT";
    // A service that sets the standard variable has migrated, and left the old one in place.
    let is_migrated = env.first(&["OTEL_TRACES_EXPORTER"]).is_some();
    if let Some(endpoint) = env.text(VARIABLE).filter(|_| !is_migrated) {
        let problem = "Jaeger's Thrift is not supported; set OTEL_EXPORTER_OTLP_ENDPOINT to the \
                       collector's OTLP port, 4318";
        env.report(VARIABLE, &endpoint, problem);
    }
}

/// Replaces `${VARIABLE:default}` by the value of the variable, else by the default.
fn expand_reference(env: &EnvironmentReader<'_>, value: &str) -> String {
    let Some(reference) = value
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
    else {
        return value.to_owned();
    };
    let (variable, default) = reference.split_once(':').unwrap_or((reference, ""));
    env.text(variable).unwrap_or_else(|| default.to_owned())
}
