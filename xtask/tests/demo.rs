//! The demo leaves no process behind, and names the process that crashed.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use throughline_testkit::process::{ChildProcess, ProcessSpec};
use throughline_testkit::wait;

/// The first start may have to compile.
const START_TIMEOUT: Duration = Duration::from_secs(1200);
const EXIT_TIMEOUT: Duration = Duration::from_secs(60);

/// A child of the demo, found in proc(5).
#[derive(Debug)]
struct DemoProcess {
    id: i32,
    command: String,
}

#[test]
fn ctrl_c_stops_every_process() {
    let (demo, parts) = start();
    signal(demo.id().try_into().unwrap(), Signal::INT);
    let status = demo.wait(EXIT_TIMEOUT).unwrap();
    assert!(status.success(), "{status}\n{}", demo.log().join("\n"));
    assert_gone(&parts);
}

#[test]
fn crash_is_reported_with_its_last_lines_and_stops_the_rest() {
    let (demo, parts) = start();
    let billing = parts
        .iter()
        .find(|part| part.command.contains("eshop billing"))
        .unwrap();
    signal(billing.id, Signal::KILL);
    let status = demo.wait(EXIT_TIMEOUT).unwrap();
    let log = demo.log().join("\n");
    assert_eq!(status.code(), Some(1), "{log}");
    let (_, last_lines) = log
        .split_once("billing ended by itself (signal: 9 (SIGKILL)). Last output lines:")
        .unwrap();
    assert!(
        last_lines.contains("listening on http://127.0.0.1:"),
        "{log}"
    );
    assert_gone(&parts);
}

#[test]
fn killed_demo_leaves_no_process() {
    let (demo, parts) = start();
    demo.kill();
    assert_gone(&parts);
}

/// Starts the demo, waits for its traces, and returns its broker, collector and six services.
fn start() -> (ChildProcess, Vec<DemoProcess>) {
    let demo = ProcessSpec::new("demo", env!("CARGO_BIN_EXE_xtask"))
        .args(["demo", "--json"])
        .spawn()
        .unwrap();
    let traces = |line: &str| line.starts_with("{\"data\":[{").then_some(());
    demo.wait_for_line("the traces of a checkout", START_TIMEOUT, traces)
        .unwrap();
    let parts = children(demo.id());
    assert_eq!(parts.len(), 8, "{parts:#?}");
    (demo, parts)
}

fn children(parent: u32) -> Vec<DemoProcess> {
    let ids = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    ids.filter(|id| parent_of(*id) == Some(parent))
        .map(|id| {
            let command = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            DemoProcess {
                id,
                command: String::from_utf8_lossy(&command).replace('\0', " "),
            }
        })
        .collect()
}

/// Returns the parent of a running process: the second field of `/proc/ID/stat` after the name in
/// parentheses. A zombie has ended.
fn parent_of(id: i32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if fields.next()? == "Z" {
        None
    } else {
        fields.next()?.parse().ok()
    }
}

fn assert_gone(parts: &[DemoProcess]) {
    let left = || {
        parts
            .iter()
            .filter(|part| parent_of(part.id).is_some())
            .collect::<Vec<_>>()
    };
    let gone = wait::until(EXIT_TIMEOUT, || left().is_empty().then_some(()));
    assert!(gone.is_some(), "left behind: {:#?}", left());
}

fn signal(id: i32, signal: Signal) {
    kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
}
