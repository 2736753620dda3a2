//! Accuracy and speed of the engine:
//! `cargo bench -p throughline-weave --bench weave -- [DIR].. [--only NAME] [--live]`.
//!
//! Each set is a table of spans with their true parents, from DIR, or generated if none is given.
//! The engine gets the events of each process, never trace or parent; the judge compares. One JSON
//! line per set, and per set with the starts of its traces compressed twice, four and eight times.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "a measurement may fail by panicking"
)]

mod dataset;
mod judge;
mod one_thread;
mod synthetic;

use std::collections::HashMap;
use std::path::Path;

use dataset::SpanTable;
use throughline_weave::ProcessPlan;

/// Compressions of the starts of traces.
const COMPRESSIONS: [i64; 4] = [1, 2, 4, 8];

fn main() {
    let (mut directories, mut only, mut is_live_only) = (Vec::new(), String::new(), false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--only" => only = arguments.next().unwrap_or_default(),
            // Skips the decisions over the whole recording.
            "--live" => is_live_only = true,
            // Cargo adds it.
            "--bench" => {}
            _ => directories.push(argument),
        }
    }
    if directories.is_empty() {
        for table in synthetic::tables()
            .iter()
            .filter(|table| table.name.contains(&only))
        {
            println!(
                "{}",
                judge::measure(table, 1, &mut HashMap::new(), is_live_only)
            );
        }
        return;
    }
    for directory in &directories {
        for path in dataset::files(Path::new(directory)).expect("the directory is readable") {
            if !path.to_string_lossy().contains(&only) {
                continue;
            }
            let table = SpanTable::read(&path).expect("the file is a table of spans");
            // Compression breaks the queues of consumers, so it says nothing about them.
            let compressions = if table.has_records() {
                1
            } else {
                COMPRESSIONS.len()
            };
            let mut plans: HashMap<String, ProcessPlan> = HashMap::new();
            for factor in &COMPRESSIONS[..compressions] {
                println!(
                    "{}",
                    judge::measure(&table, *factor, &mut plans, is_live_only)
                );
            }
        }
    }
}
