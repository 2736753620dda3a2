//! The demo's trace outlives the collector.

use e2e::{TraceSet, modes};
use serde_json::{Value, json};
use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::collector::{CollectorInstance, CollectorPorts};
use throughline_testkit::demo::{Config, Demo, SPANS_TIMEOUT};
use throughline_testkit::eshop::DemoMode;

#[test]
fn the_demos_trace_is_still_there_after_a_restart() {
    let mut progress = |step: &str| eprintln!("{step}");
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let args = ["--store", "disk", "--data", data, "--min-free", "0"];
    let binaries = ProjectBinaries::build().unwrap();
    let config = Config {
        collector_args: args.map(str::to_owned).to_vec(),
        ..Config::new(DemoMode::Linked)
    };
    let demo = Demo::start(binaries, &config, &mut progress).unwrap();
    let traces = demo.checkout_and_wait(SPANS_TIMEOUT).unwrap();
    modes::assert_linked(&TraceSet::from_json(&json!({ "data": traces })));
    let ids = traces.iter().map(|trace| trace.get("traceID").unwrap());
    let ids: Vec<String> = ids.map(|id| id.as_str().unwrap().to_owned()).collect();
    let read = |collector: &CollectorInstance| -> Vec<Option<Value>> {
        let traces = ids.iter().map(|id| collector.trace(id).unwrap());
        traces.collect()
    };
    // The services leave first: nothing more arrives.
    demo.eshop().stop().unwrap();
    let before = read(demo.collector());
    assert!(before.iter().all(Option::is_some));
    demo.collector().process().kill();
    let restarted =
        CollectorInstance::start_on(&binaries.throughline, CollectorPorts::default(), &args);
    let restarted = restarted.unwrap();
    assert_eq!(read(&restarted), before);
    modes::assert_linked(&TraceSet::from_json(&json!({
        "data": read(&restarted).into_iter().flatten().collect::<Vec<Value>>(),
    })));
}
