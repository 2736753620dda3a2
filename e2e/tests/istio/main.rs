//! `deploy/istio` by Istio's own code: the control plane applies it to the eshop, a stock Envoy
//! accepts the listeners that come out, and the injector mounts the module before Envoy starts.
//!
//! Runs with `THROUGHLINE_FULL=1`: building Istio's control plane takes some ten minutes.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![expect(clippy::print_stderr, reason = "shows the progress of long builds")]

#[expect(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "../support/mod.rs"]
mod support;

mod kafka_tls;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use throughline_testkit::build::{envoy_module, repository_root};
use throughline_testkit::{clients, envoy};

#[test]
fn istio_applies_the_filters_and_envoy_accepts_them() {
    if !is_full() {
        return;
    }
    let output = tempfile::tempdir().unwrap();
    run_istio(output.path(), "");
    let read = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(output.path().join(name)).unwrap()).unwrap()
    };
    let bootstrap = bootstrap(read("listeners.json"), read("clusters.json"));
    let (is_valid, text) = validate(output.path(), &bootstrap);
    assert!(is_valid, "{text}");
    // The module itself reads its configuration.
    let misspelt = bootstrap.to_string().replace("message_key", "message_keys");
    let misspelt = serde_json::from_str(&misspelt).unwrap();
    let (is_valid, text) = validate(output.path(), &misspelt);
    assert!(!is_valid && text.contains("message_keys"), "{text}");
}

fn is_full() -> bool {
    let is_full = std::env::var("THROUGHLINE_FULL").is_ok_and(|full| full == "1");
    if !is_full {
        eprintln!("skipped: it runs with THROUGHLINE_FULL=1");
    }
    is_full
}

/// Runs all tests of `e2e/istio`; the listeners and clusters go into `folder`. `kafka` is the
/// network of the brokers with TLS, empty for that of the file.
fn run_istio(folder: &Path, kafka: &str) {
    // The first caller builds it for minutes.
    static BUILD: Mutex<()> = Mutex::new(());
    let build = BUILD.lock().unwrap_or_else(PoisonError::into_inner);
    let tests = clients::istio_tests(&mut |what| eprintln!("{what}")).unwrap();
    drop(build);
    let output = Command::new(tests)
        .arg("-test.v")
        .env("ISTIO_OUTPUT", folder)
        .env("KAFKA_NETWORK", kafka)
        .current_dir(repository_root().join("e2e/istio"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    for test in [
        "TestBrokersWithTLSAreSeenWithoutIt",
        "TestEnvoyFilterReachesListeners",
        "TestGatewayRoutesCheckout",
        "TestImageVolumeIsThereBeforeTheProxy",
        "TestInitContainerCopiesBeforeTheProxy",
    ] {
        assert!(text.contains(&format!("--- PASS: {test}")), "{text}");
    }
}

/// Returns the configuration of an Envoy of the mesh. Filters that only Istio's build of Envoy has
/// are left out.
fn bootstrap(mut listeners: Value, mut clusters: Value) -> Value {
    drop_istio_filters(&mut listeners);
    drop_istio_filters(&mut clusters);
    let mut clusters = clusters.as_array().cloned().unwrap();
    for name in ["xds-grpc", "sds-grpc"] {
        clusters.push(json!({
            "name": name,
            "type": "STATIC",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/\
                        envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": { "http2_protocol_options": {} },
                },
            },
            "load_assignment": { "cluster_name": name, "endpoints": [] },
        }));
    }
    let service = json!({ "envoy_grpc": { "cluster_name": "xds-grpc" } });
    json!({
        "node": {
            "id": "sidecar~10.0.0.1~eshop.eshop~eshop.svc.cluster.local",
            "cluster": "eshop.eshop",
        },
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [service],
            },
        },
        "static_resources": { "listeners": listeners, "clusters": clusters },
    })
}

fn drop_istio_filters(value: &mut Value) {
    if let Some(items) = value.as_array_mut() {
        let is_istio = |item: &Value| {
            let name = item.get("name").and_then(Value::as_str);
            item.get("typedConfig").is_some() && name.is_some_and(|name| name.starts_with("istio"))
        };
        items.retain(|item| !is_istio(item));
        items.iter_mut().for_each(drop_istio_filters);
    } else if let Some(fields) = value.as_object_mut() {
        fields.values_mut().for_each(drop_istio_filters);
    }
}

/// Runs `envoy --mode validate`; returns whether it accepts the configuration, and its output.
fn validate(folder: &Path, bootstrap: &Value) -> (bool, String) {
    let file = folder.join("envoy.json");
    fs::write(&file, bootstrap.to_string()).unwrap();
    let module = envoy_module().unwrap();
    let output = Command::new(envoy::program().unwrap())
        .args(["--mode", "validate", "-l", "warning", "-c"])
        .arg(&file)
        .env(
            "ENVOY_DYNAMIC_MODULES_SEARCH_PATH",
            module.parent().unwrap(),
        )
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let text = text(&output.stdout) + &text(&output.stderr);
    (output.status.success(), text)
}
