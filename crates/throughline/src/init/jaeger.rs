//! The variables of the Jaeger client libraries, read where the standard ones are not set.

use throughline_model::context::Format;

use super::config::SamplerChoice;
use super::environment::Environment;

/// `JAEGER_PROPAGATION`: `jaeger`, `b3` (several headers, as those clients wrote it) and `w3c`, separated by commas.
pub(super) fn propagators(env: &mut Environment<'_>) -> Option<Vec<Format>> {
    const VARIABLE: &str = "JAEGER_PROPAGATION";
    let text = env.text(VARIABLE)?;
    let mut formats = Vec::new();
    for name in text.split(',').map(str::trim) {
        match name.to_ascii_lowercase().as_str() {
            "jaeger" => formats.push(Format::Jaeger),
            "b3" => formats.push(Format::B3Multi),
            "w3c" => formats.extend([Format::W3c, Format::Baggage]),
            _ => env.mistake(
                VARIABLE,
                name,
                "no such propagation; use jaeger, b3 or w3c, or set OTEL_PROPAGATORS",
            ),
        }
    }
    Some(formats)
}

/// `JAEGER_SAMPLER_TYPE` and `JAEGER_SAMPLER_PARAM`: `const` and `probabilistic`.
pub(super) fn sampler(env: &mut Environment<'_>) -> Option<SamplerChoice> {
    const VARIABLE: &str = "JAEGER_SAMPLER_TYPE";
    let name = env.text(VARIABLE)?;
    if !matches!(name.as_str(), "const" | "probabilistic") {
        env.mistake(
            VARIABLE,
            &name,
            "not supported; use const or probabilistic, or set OTEL_TRACES_SAMPLER",
        );
        return None;
    }
    let ratio = env.number(&["JAEGER_SAMPLER_PARAM"], 0.0..=1.0, 1.0);
    Some(SamplerChoice {
        parent_based: true,
        ratio,
    })
}

/// `JAEGER_TAGS`: `key=value`, where a value may be `${VARIABLE:default}`.
pub(super) fn tags(env: &mut Environment<'_>) -> Vec<(String, String)> {
    const VARIABLE: &str = "JAEGER_TAGS";
    let Some(text) = env.text(VARIABLE) else {
        return Vec::new();
    };
    let mut tags = Vec::new();
    for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
        match pair.split_once('=') {
            Some((key, value)) => tags.push((key.trim().to_owned(), resolved(env, value.trim()))),
            None => env.mistake(VARIABLE, pair, "not of the form key=value"),
        }
    }
    tags
}

/// `JAEGER_ENDPOINT` speaks Thrift, which is not sent from here.
pub(super) fn refuse_endpoint(env: &mut Environment<'_>) {
    const VARIABLE: &str = "JAEGER_ENDPOINT";
    if env.first(&["OTEL_TRACES_EXPORTER"]).is_none()
        && let Some(endpoint) = env.text(VARIABLE)
    {
        let problem = "Jaeger's Thrift is not spoken; set OTEL_EXPORTER_OTLP_ENDPOINT to the collector's OTLP port, 4318";
        env.mistake(VARIABLE, &endpoint, problem);
    }
}

fn resolved(env: &Environment<'_>, value: &str) -> String {
    let Some(reference) = value
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
    else {
        return value.to_owned();
    };
    let (variable, default) = reference.split_once(':').unwrap_or((reference, ""));
    env.text(variable).unwrap_or_else(|| default.to_owned())
}
