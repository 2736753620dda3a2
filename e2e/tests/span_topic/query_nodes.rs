//! Two members that store, and two nodes that answer queries about both.

use serde_json::Value;
use throughline_testkit::collector::CollectorInstance;
use throughline_testkit::kafka::TopicSpec;
use throughline_testkit::wait;

use crate::fixture::{
    GroupMember, TIMEOUT, edge, is_whole_pair, query_node, start_kafka, wait_for_whole_pairs,
};
use crate::span_load::SpanLoad;

#[test]
fn query_nodes_show_whole_traces_of_all_members_through_the_death_of_each() {
    let kafka = start_kafka(&[TopicSpec::new("otlp_spans", 8)]);
    let bootstrap = kafka.bootstrap();
    let folder = tempfile::tempdir().unwrap();
    let member = |name: &str| {
        let data = folder.path().join(name);
        GroupMember::start_in(bootstrap, &data, &["--seal-interval", "1s"])
    };
    let (mut first, second) = (member("member-1"), member("member-2"));
    wait::until(TIMEOUT, || {
        (first.partitions() > 0 && second.partitions() > 0).then_some(())
    })
    .expect("a shared topic");
    let nodes = [query_node(folder.path()), query_node(folder.path())];
    let edge = edge(bootstrap, &[]);
    let load = SpanLoad::start_pairs(edge.addresses().otlp_http);
    load.wait_for(30);
    // The spans that it has not sealed are in its log, and are shown once it is there again.
    first.kill();
    assert_eq!(nodes[0].get("/api/services").unwrap().status, 200);
    load.wait_for(30);
    first.restart();
    // A node has nothing that another one could not read again.
    let [node, stopped] = nodes;
    stopped.process().kill();
    let nodes = [node, query_node(folder.path())];
    load.wait_for(30);
    let acknowledged = load.stop();
    for node in &nodes {
        wait_for_whole_pairs(node, &acknowledged);
        assert!(node.addresses().otlp_http.port() == 0, "it receives spans");
        wait_for_freshness(node);
    }
    // Some traces have spans in both members: neither of them shows these whole.
    let halves = |member: &GroupMember| {
        let traces = member.traces().into_values();
        traces.filter(|spans| !is_whole_pair(spans)).count()
    };
    assert!(halves(&first) > 0 && halves(&second) > 0);
}

/// Waits until a query node states the start of its newest trace, whose spans start together.
fn wait_for_freshness(node: &CollectorInstance) {
    let get = |path: &str| -> Value {
        let reply = node.get(path).unwrap();
        serde_json::from_str(&reply.body).unwrap()
    };
    wait::until(TIMEOUT, || {
        let freshness = get("/api/throughline/freshness")["query_node"].take();
        assert_eq!(freshness["failing"], false);
        let newest = get("/api/throughline/search?limit=1")["traces"][0]["start"].take();
        (newest.is_u64() && freshness["latest_start"] == newest).then_some(())
    })
    .unwrap_or_else(|| panic!("{}", get("/api/throughline/freshness")));
}
