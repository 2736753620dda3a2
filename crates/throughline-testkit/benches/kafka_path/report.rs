//! Turns samples into figures: ratios within a round, medians over the rounds, one line of JSON for
//! each case and target.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::target::KafkaTarget;

/// Result of one measurement.
#[derive(Debug, Clone, Default)]
pub(crate) struct KafkaSample {
    megabytes: Option<f64>,
    megabytes_per_second: Option<f64>,
    p50: Option<Duration>,
    p99: Option<Duration>,
    requests: usize,
    pub(crate) cpu_seconds: Option<f64>,
}

/// Samples of all measured rounds.
#[derive(Debug)]
pub(crate) struct KafkaFigures {
    /// Target names in report order.
    targets: Vec<String>,
    rows: Vec<FigureRow>,
}

#[derive(Debug)]
struct FigureRow {
    case: &'static str,
    target: String,
    peak_megabytes: Option<u64>,
    /// Samples by round.
    samples: Vec<KafkaSample>,
}

// === impl KafkaSample ===

impl KafkaSample {
    #[expect(clippy::cast_precision_loss, reason = "a figure of a few digits")]
    pub(crate) fn throughput(bytes: u64, elapsed: Duration) -> Self {
        let megabytes = bytes as f64 / 1e6;
        let rate = megabytes / elapsed.as_secs_f64();
        Self {
            megabytes: Some(megabytes),
            megabytes_per_second: Some(rate),
            ..Self::default()
        }
    }

    pub(crate) fn with_latency(self, mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied();
        Self {
            p50: at(50),
            p99: at(99),
            requests: latencies.len(),
            ..self
        }
    }

    fn cpu_seconds_per_gigabyte(&self) -> Option<f64> {
        Some(self.cpu_seconds? / self.megabytes? * 1e3)
    }

    #[expect(clippy::cast_precision_loss, reason = "a figure of a few digits")]
    fn cpu_microseconds_per_request(&self) -> Option<f64> {
        (self.requests > 0).then_some(self.cpu_seconds? / self.requests as f64 * 1e6)
    }
}

// === impl KafkaFigures ===

impl KafkaFigures {
    pub(crate) fn of(targets: &[KafkaTarget]) -> Self {
        Self {
            targets: targets.iter().map(|target| target.name.clone()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a sample. A warm-up sample has no round and is dropped.
    pub(crate) fn add(
        &mut self,
        round: Option<u32>,
        case: &'static str,
        target: &KafkaTarget,
        sample: KafkaSample,
    ) {
        if round.is_none() {
            return;
        }
        let found = self
            .rows
            .iter_mut()
            .position(|row| row.case == case && row.target == target.name);
        let place = found.unwrap_or_else(|| {
            self.rows.push(FigureRow {
                case,
                target: target.name.clone(),
                peak_megabytes: None,
                samples: Vec::new(),
            });
            self.rows.len() - 1
        });
        if let Some(row) = self.rows.get_mut(place) {
            row.samples.push(sample);
            row.peak_megabytes = target.peak_megabytes();
        }
    }

    /// Returns one line for each case and target.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut rows: Vec<&FigureRow> = self.rows.iter().collect();
        // Rounds begin with different targets, so the rows are not in report order.
        let place = |row: &FigureRow| self.targets.iter().position(|target| *target == row.target);
        rows.sort_by_key(|row| {
            (
                self.rows.iter().position(|first| first.case == row.case),
                place(row),
            )
        });
        rows.into_iter().map(|row| self.line(row)).collect()
    }

    fn line(&self, row: &FigureRow) -> String {
        let reference = |name: &str| {
            let mut rows = self.rows.iter();
            let found = rows.find(|other| other.case == row.case && other.target == name);
            found.map_or(&[][..], |found| &found.samples)
        };
        let (direct, envoy) = (reference("direct"), reference("envoy tcp_proxy"));
        let to = |others: &[KafkaSample],
                  figure: &dyn Fn(&KafkaSample, &KafkaSample) -> Option<f64>| {
            let pairs = row.samples.iter().zip(others);
            median(pairs.filter_map(|(own, other)| figure(own, other)))
        };
        let throughput = |own: &KafkaSample, other: &KafkaSample| {
            Some(own.megabytes_per_second? / other.megabytes_per_second?)
        };
        let each = |figure: &dyn Fn(&KafkaSample) -> Option<f64>| {
            median(row.samples.iter().filter_map(figure))
        };
        let figures = [
            ("mb_per_s", each(&|sample| sample.megabytes_per_second)),
            ("ratio_to_direct", to(direct, &throughput)),
            ("ratio_to_envoy", to(envoy, &throughput)),
            (
                "cpu_to_envoy",
                to(envoy, &|own, other| {
                    Some(own.cpu_seconds? / other.cpu_seconds?)
                }),
            ),
            ("cpu_s_per_gb", each(&KafkaSample::cpu_seconds_per_gigabyte)),
            (
                "cpu_s_per_gb_best",
                best(
                    &mut row
                        .samples
                        .iter()
                        .filter_map(KafkaSample::cpu_seconds_per_gigabyte),
                ),
            ),
            ("p50_us", each(&|sample| sample.p50.map(micros))),
            ("p99_us", each(&|sample| sample.p99.map(micros))),
            (
                "p99_us_best",
                best(
                    &mut row
                        .samples
                        .iter()
                        .filter_map(|sample| sample.p99.map(micros)),
                ),
            ),
            (
                "added_p50_us",
                to(direct, &|own, direct| {
                    Some(micros(own.p50?) - micros(direct.p50?))
                }),
            ),
            (
                "added_p99_us",
                to(direct, &|own, direct| {
                    Some(micros(own.p99?) - micros(direct.p99?))
                }),
            ),
            (
                "cpu_us_per_request",
                each(&KafkaSample::cpu_microseconds_per_request),
            ),
        ];
        row.line(&figures)
    }
}

// === impl FigureRow ===

impl FigureRow {
    /// Returns the row as a line of JSON with the figures that were measured.
    fn line(&self, figures: &[(&str, Option<f64>)]) -> String {
        let mut line = Map::new();
        line.insert("case".to_owned(), json!(self.case));
        line.insert("target".to_owned(), json!(self.target));
        for (name, figure) in figures {
            if let Some(figure) = figure {
                line.insert((*name).to_owned(), json!(rounded(*figure)));
            }
        }
        line.extend(
            self.peak_megabytes
                .map(|peak| ("peak_mb".to_owned(), json!(peak))),
        );
        line.insert("rounds".to_owned(), json!(self.samples.len()));
        Value::Object(line).to_string()
    }
}

fn best(figures: &mut dyn Iterator<Item = f64>) -> Option<f64> {
    figures.min_by(f64::total_cmp)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn median(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

/// Rounds to three decimals.
fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}
