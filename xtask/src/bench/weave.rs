//! `cargo xtask bench weave`: accuracy and speed of the weaver on spans with known parents.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use throughline_testkit::recording::{RecordingPlan, RecordingPrograms, SHAPES};
use throughline_testkit::{build, wait};

use super::report::{self, BenchLine};
use crate::runner::cargo;
use crate::{interrupt, requirements, ui};

/// Options of `cargo xtask bench weave`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Directory with sets (*.tsv.gz); can be repeated
    #[arg(
        long,
        value_name = "DIR",
        env = "THROUGHLINE_WEAVE_DATA",
        value_delimiter = ':'
    )]
    data: Vec<PathBuf>,
    /// Only sets whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Instead, record sets into this directory: bare services behind a sidecar, with true parents
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// With --record: seconds of load for each set
    #[arg(
        long,
        default_value_t = 20,
        value_name = "SECONDS",
        requires = "record"
    )]
    seconds: u64,
}

pub(super) fn run(options: &Options) -> Result<()> {
    match &options.record {
        Some(directory) => record(options, directory),
        None => measure(options),
    }
}

/// Records one set for each shape of service and number of requests in flight.
fn record(options: &Options, directory: &Path) -> Result<()> {
    interrupt::install_handlers()?;
    requirements::install_missing(&[requirements::JAVA, requirements::MAVEN])?;
    ui::build_if_stale()?;
    eprintln!("building the sidecar, the collector and the services");
    let built = build::build(&["throughline-cli", "weave-service"], &[])?;
    let binary = |name: &str| built.get(name).with_context(|| format!("no binary {name}"));
    let programs = RecordingPrograms {
        throughline: binary("throughline")?,
        service: binary("weave-service")?,
    };
    std::fs::create_dir_all(directory)?;
    for (shape, levels) in SHAPES {
        for in_flight in levels {
            let plan = RecordingPlan {
                shape,
                in_flight: *in_flight,
                duration: Duration::from_secs(options.seconds),
            };
            let name = plan.name();
            let is_wanted = options.only.as_ref().is_none_or(|only| name.contains(only));
            if !is_wanted || wait::is_interrupted() {
                continue;
            }
            let table = plan.record(programs, &mut |what| eprintln!("{what}"))?;
            let path = directory.join(format!("{name}.tsv.gz"));
            table.write(&path)?;
            println!("{}: {} spans", path.display(), table.rows());
        }
    }
    Ok(())
}

fn measure(options: &Options) -> Result<()> {
    eprintln!("building in the release profile");
    let mut bench = cargo(&[
        "bench",
        "--package",
        "throughline-weave",
        "--bench",
        "weave",
        "--",
    ]);
    for directory in &options.data {
        bench.arg(std::path::absolute(directory)?);
    }
    if let Some(only) = &options.only {
        bench.args(["--only", only]);
    }
    let rows = report::run(&mut bench, row)?;
    eprintln!(
        "\n{:<22} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>9} {:>8}",
        "set",
        "whole %",
        "edges",
        "proven",
        "cover",
        "right",
        "error",
        "live",
        "right",
        "spans/s",
        "p99 us"
    );
    eprintln!("{}", rows.join("\n"));
    Ok(())
}

fn row(line: &BenchLine) -> Option<String> {
    Some(format!(
        "{:<22} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>9} {:>8}",
        line.text("set")?,
        line.figure("whole_single_caller", 2),
        line.figure("edges_right", 2),
        line.figure("proven", 1),
        line.figure("cover_95", 1),
        line.figure("right_95", 2),
        line.figure("calibration_error", 3),
        line.figure("live_cover_99", 1),
        line.figure("live_right_99", 2),
        line.figure("spans_per_cpu_s", 0),
        line.figure("live_p99_us", 0),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_become_a_row_and_other_lines_do_not() {
        let line = r#"{"set":"hotel x1","whole_single_caller":98.5,"edges_right":99.5,"proven":95.9,
            "cover_95":99.6,"right_95":99.8,"calibration_error":0.0038,"live_cover_99":94.1,
            "live_right_99":99.9,"spans_per_cpu_s":99656,"live_p99_us":52.4}"#;
        let row = row(&BenchLine::parse(line).unwrap()).unwrap();
        let words: Vec<&str> = row.split_whitespace().collect();
        let expected = "hotel x1 98.50 99.50 95.9 99.6 99.80 0.004 94.1 99.90 99656 52";
        assert_eq!(words.join(" "), expected);
        assert!(BenchLine::parse("running 0 tests").is_none());
    }
}
