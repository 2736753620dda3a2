//! Turns samples into figures: ratios within a round, medians over the rounds, one line of JSON for
//! each case and target.

use serde_json::{Map, Value, json};

use crate::load::LoadOutcome;
use crate::target::HttpTarget;

/// Result of one measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HttpSample {
    pub(crate) outcome: LoadOutcome,
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) spans: u64,
}

/// Samples of all measured rounds.
#[derive(Debug, Default)]
pub(crate) struct HttpFigures {
    /// Case, index of the target, and samples by round.
    rows: Vec<(String, usize, Vec<HttpSample>)>,
}

// === impl HttpSample ===

#[expect(clippy::cast_precision_loss, reason = "a figure of a few digits")]
impl HttpSample {
    fn cpu_microseconds_per_request(&self) -> Option<f64> {
        Some(self.cpu_seconds? / self.outcome.requests as f64 * 1e6)
    }

    fn requests_per_cpu_second(&self) -> Option<f64> {
        self.cpu_microseconds_per_request()
            .map(|micros| 1e6 / micros)
    }

    fn spans_per_request(&self) -> f64 {
        self.spans as f64 / self.outcome.requests as f64
    }
}

// === impl HttpFigures ===

impl HttpFigures {
    pub(crate) fn add(&mut self, case: &str, target: usize, sample: HttpSample) {
        match self
            .rows
            .iter_mut()
            .find(|(own, place, _)| own == case && *place == target)
        {
            Some((_, _, samples)) => samples.push(sample),
            None => self.rows.push((case.to_owned(), target, vec![sample])),
        }
    }

    /// Returns one line for each case and target.
    pub(crate) fn lines(&self, targets: &[HttpTarget]) -> Vec<String> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by_key(|(case, target, _)| {
            (
                self.rows.iter().position(|(first, ..)| first == case),
                *target,
            )
        });
        let name = |place: usize| targets.get(place).map_or("", HttpTarget::name);
        let line = |(case, target, samples): &(String, usize, Vec<HttpSample>)| {
            let envoy = self
                .rows
                .iter()
                .find(|(own, place, _)| own == case && name(*place) == "envoy");
            let beside = envoy.map_or(&[][..], |(.., samples)| samples);
            let mut line = Map::new();
            line.insert("case".to_owned(), json!(case));
            line.insert("target".to_owned(), json!(name(*target)));
            line.extend(
                figures(samples, beside)
                    .into_iter()
                    .map(|(name, figure)| (name.to_owned(), json!(figure))),
            );
            let peak = targets.get(*target).and_then(HttpTarget::peak_megabytes);
            line.extend(peak.map(|peak| ("peak_mb".to_owned(), json!(peak))));
            line.insert("rounds".to_owned(), json!(samples.len()));
            Value::Object(line).to_string()
        };
        rows.into_iter().map(line).collect()
    }
}

/// Returns the available figures with their names. `beside` are Envoy's samples of the same rounds.
fn figures(samples: &[HttpSample], beside: &[HttpSample]) -> Vec<(&'static str, f64)> {
    let each =
        |figure: &dyn Fn(&HttpSample) -> Option<f64>| median(samples.iter().filter_map(figure));
    let ratio = |figure: &dyn Fn(&HttpSample) -> Option<f64>| {
        median(
            samples
                .iter()
                .zip(beside)
                .filter_map(|(own, other)| Some(figure(own)? / figure(other)?)),
        )
    };
    let p50 = |sample: &HttpSample| Some(sample.outcome.p50.as_secs_f64() * 1e6);
    let p99 = |sample: &HttpSample| Some(sample.outcome.p99.as_secs_f64() * 1e6);
    let all = [
        (
            "requests_per_s",
            each(&|sample| Some(sample.outcome.per_second)),
        ),
        (
            "requests_per_cpu_s",
            each(&HttpSample::requests_per_cpu_second),
        ),
        (
            "cpu_us_per_request",
            each(&HttpSample::cpu_microseconds_per_request),
        ),
        ("p50_us", each(&p50)),
        ("p99_us", each(&p99)),
        (
            "spans_per_request",
            each(&|sample| sample.cpu_seconds.map(|_| sample.spans_per_request())),
        ),
        (
            "requests_per_cpu_s_to_envoy",
            ratio(&HttpSample::requests_per_cpu_second),
        ),
        (
            "requests_per_s_to_envoy",
            ratio(&|sample| Some(sample.outcome.per_second)),
        ),
        ("p50_to_envoy", ratio(&p50)),
        ("p99_to_envoy", ratio(&p99)),
    ];
    all.into_iter()
        .filter_map(|(name, figure)| Some((name, (figure? * 1000.0).round() / 1000.0)))
        .collect()
}

fn median(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}
