//! `throughline up` with TLS and tokens, asked by curl; its files change while it runs.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;

const SEND: &str = "sender-0123456789";
const READ: &str = "reader-0123456789";

/// A running collector, which ends with the test.
struct Collector {
    process: Child,
    log: Option<ChildStderr>,
    query: u16,
    query_grpc: u16,
    otlp_http: u16,
}

// === impl Collector ===

impl Collector {
    fn start(folder: &Path, options: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_throughline"))
            .args([
                "up",
                "--json",
                "--log",
                "trace,h2=info",
                "--store",
                "memory",
            ])
            .args(["--otlp-grpc-port", "0", "--otlp-http-port", "0"])
            .args([
                "--zipkin-port",
                "0",
                "--query-port",
                "0",
                "--query-grpc-port",
                "0",
            ])
            .args(["--jaeger-http-port", "off", "--jaeger-sampling-port", "off"])
            .args(options)
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = process.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let addresses: Value = serde_json::from_str(&line).unwrap();
        let port = |name: &str| {
            let address: std::net::SocketAddr = addresses[name].as_str().unwrap().parse().unwrap();
            address.port()
        };
        // Agents of Jaeger send by UDP, without any token.
        assert_eq!(addresses["jaeger_compact"], Value::Null);
        Self {
            log: process.stderr.take(),
            query: port("query"),
            query_grpc: port("query_grpc"),
            otlp_http: port("otlp_http"),
            process,
        }
    }

    /// Stops the collector, and returns its log.
    fn stop(mut self) -> String {
        let mut log = String::new();
        self.process.kill().unwrap();
        let mut stderr = self.log.take().unwrap();
        stderr.read_to_string(&mut log).unwrap();
        log
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Writes a new authority, a server's certificate and a client's, under these names.
fn write_certificates(folder: &Path, prefix: &str) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // With the default name of all certificates OpenSSL takes those that it signs for its own.
    let name = &mut params.distinguished_name;
    name.push(rcgen::DnType::CommonName, [prefix, "authority"].concat());
    let ca_key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(params, ca_key);
    let write = |name: &str, text: String| {
        std::fs::write(folder.join([prefix, name].concat()), text).unwrap();
    };
    write("ca.pem", ca.pem());
    for name in ["localhost", "client"] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        write(&[name, ".pem"].concat(), certificate.pem());
        write(&[name, ".key"].concat(), key.serialize_pem());
    }
}

fn write_tokens(folder: &Path, send: &str, read: &str) {
    let text = format!("ingest:\n  - token: {send}\nquery:\n  - token: {read}\n");
    std::fs::write(folder.join("access.yaml"), text).unwrap();
}

/// Asks for the services and returns the status; 0 without a response.
fn curl(folder: &Path, collector: &Collector, options: &[&str]) -> u16 {
    let url = format!("https://localhost:{}/api/services", collector.query);
    status(folder, &url, options)
}

fn status(folder: &Path, url: &str, options: &[&str]) -> u16 {
    let output = Command::new("curl")
        .args(["--silent", "--output", "/dev/null", "--max-time", "20"])
        .args(["--noproxy", "*", "--write-out", "%{http_code}"])
        .args(options)
        .arg(url)
        .current_dir(folder)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().parse().unwrap()
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

fn throughline(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_throughline"));
    command.args(args).current_dir(folder).output().unwrap()
}

fn assert_commands_send_their_token(folder: &Path, collector: &Collector) {
    std::fs::write(folder.join("token"), format!("{READ}\n")).unwrap();
    let url = format!("https://localhost:{}", collector.query);
    let search = ["search", "--collector", &url, "--collector-ca", "ca.pem"];
    let found = throughline(folder, &[&search[..], &["--token-file", "token"]].concat());
    assert!(found.status.success(), "{found:?}");
    let refused = throughline(folder, &search);
    assert!(!refused.status.success());
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("401"),
        "{refused:?}"
    );
}

fn assert_grpc_has_tls_and_tokens(folder: &Path, collector: &Collector) {
    // An empty message without compression.
    std::fs::write(folder.join("message"), [0; 5]).unwrap();
    let path = "jaeger.storage.v2.TraceReader/GetServices";
    let url = format!("https://localhost:{}/{path}", collector.query_grpc);
    let call = |more: &[&str]| {
        let mut command = Command::new("curl");
        let body = [
            "--data-binary",
            "@message",
            "--header",
            "content-type: application/grpc",
        ];
        command
            .args([
                "--silent",
                "--output",
                "/dev/null",
                "--max-time",
                "20",
                "--noproxy",
                "*",
            ])
            .args([
                "--write-out",
                "%{http_version} %header{grpc-status}",
                "--http2",
            ])
            .args(["--cacert", "ca.pem"])
            .args(more);
        // A refusal does not wait for the message, and an older curl that is still sending it then
        // loses the response.
        if more.is_empty() {
            command.args([
                "--request",
                "POST",
                "--header",
                "content-type: application/grpc",
            ]);
        } else {
            command.args(body);
        }
        let output = command.arg(&url).current_dir(folder).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(call(&[]), "2 16", "UNAUTHENTICATED");
    let token = format!("authorization: Bearer {READ}");
    // The status of a success is in the trailers.
    assert_eq!(call(&["--header", &token]), "2 ");
    assert_eq!(call(&["--header", &token, "--cacert", "client.pem"]), "0 ");
}

#[test]
fn certificates_and_tokens_are_required_and_replaced_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_certificates(folder, "");
    write_tokens(folder, SEND, READ);
    let options = ["--tls-cert", "localhost.pem", "--tls-key", "localhost.key"];
    let options = [&options[..], &["--access", "access.yaml"]].concat();
    let collector = Collector::start(folder, &options);
    let read = format!("authorization: Bearer {READ}");
    let ca = ["--cacert", "ca.pem"];
    let with_token = [&ca[..], &["--header", &read]].concat();
    assert_eq!(curl(folder, &collector, &with_token), 200);
    assert_eq!(curl(folder, &collector, &ca), 401);
    let basic = format!("ann:{READ}");
    assert_eq!(
        curl(folder, &collector, &[&ca[..], &["--user", &basic]].concat()),
        200
    );
    // The certificate of an authority that curl does not know, and no TLS at all.
    assert_eq!(curl(folder, &collector, &["--header", &read]), 0);
    let plain = format!("http://localhost:{}/api/services", collector.query);
    assert_eq!(status(folder, &plain, &["--header", &read]), 0);
    let send = format!("authorization: Bearer {SEND}");
    let spans = format!("https://localhost:{}/v1/traces", collector.otlp_http);
    let body = ["--header", "content-type: application/json", "--data", "{}"];
    let sent = |token: &str| {
        let token = ["--header", token];
        status(folder, &spans, &[&ca[..], &token, &body].concat())
    };
    assert_eq!((sent(&send), sent(&read)), (200, 401));

    assert_commands_send_their_token(folder, &collector);
    assert_grpc_has_tls_and_tokens(folder, &collector);

    // A file that is not valid changes nothing; both files then change at once.
    std::fs::write(folder.join("access.yaml"), format!("query: {READ}\n")).unwrap();
    write_certificates(folder, "new-");
    for name in ["localhost.key", "localhost.pem"] {
        std::fs::rename(folder.join(["new-", name].concat()), folder.join(name)).unwrap();
    }
    assert_eq!(curl(folder, &collector, &with_token), 200);
    write_tokens(folder, SEND, "another-0123456789");
    let new_ca = ["--cacert", "new-ca.pem"];
    let new_token = ["--header", "authorization: Bearer another-0123456789"];
    until("the new certificate and token", || {
        curl(folder, &collector, &[&new_ca[..], &new_token].concat()) == 200
    });
    assert_eq!(
        curl(
            folder,
            &collector,
            &[&new_ca[..], &["--header", &read]].concat()
        ),
        401
    );
    assert_eq!(curl(folder, &collector, &with_token), 0);

    let log = collector.stop();
    assert!(log.contains("certificates and tokens reloaded"), "{log}");
    assert!(
        log.contains("request without a valid token rejected"),
        "{log}"
    );
    for secret in [SEND, READ, "another-0123456789", "PRIVATE KEY"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn client_needs_a_certificate_where_an_authority_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_certificates(folder, "");
    write_certificates(folder, "other-");
    let collector = Collector::start(
        folder,
        &[
            "--tls-cert",
            "localhost.pem",
            "--tls-key",
            "localhost.key",
            "--tls-client-ca",
            "ca.pem",
        ],
    );
    let with = |certificate: &[&str]| {
        let ca = ["--cacert", "ca.pem"];
        curl(folder, &collector, &[&ca[..], certificate].concat())
    };
    assert_eq!(with(&["--cert", "client.pem", "--key", "client.key"]), 200);
    assert_eq!(with(&[]), 0);
    assert_eq!(
        with(&["--cert", "other-client.pem", "--key", "other-client.key"]),
        0
    );
}

#[test]
fn all_errors_in_the_files_are_reported_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_certificates(folder, "");
    std::fs::write(folder.join("access.yaml"), "ingest: [{token: short}]\n").unwrap();
    let output = throughline(
        folder,
        &[
            "up",
            "--tls-cert",
            "client.key",
            "--tls-key",
            "client.key",
            "--access",
            "access.yaml",
            "--max-client-connections",
            "none",
        ],
    );
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{errors}");
    for option in ["--tls-cert", "--access", "--max-client-connections"] {
        assert!(errors.contains(option), "{option} in {errors}");
    }
    assert!(!errors.contains("short"), "{errors}");
    let missing = throughline(
        folder,
        &["up", "--tls-key", "client.key", "--access", "none"],
    );
    let errors = String::from_utf8(missing.stderr).unwrap();
    assert!(
        errors.contains("--access \"none\" cannot be read"),
        "{errors}"
    );
}
