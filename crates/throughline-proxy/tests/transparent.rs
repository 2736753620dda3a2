//! Redirected connections, in a network of their own: this program starts itself again in a new network namespace, sets up
//! iptables there, and plays broker and proxy, while bash as another user plays the client.
//!
//! Needs root, iptables and bash. Where these are missing it says so and is no proof; CI has them, and fails without.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod support;

use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::{Log, Running, Spans, config, echo, request, within};
use throughline_intercept::http::Direction;
use throughline_model::Span;
use throughline_proxy::{ListenerConfig, ListenerRoute};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Nobody.
const CLIENT: u32 = 65534;
const INSIDE: &str = "THROUGHLINE_TEST_INSIDE_NAMESPACE";

#[test]
fn a_redirected_connection_reaches_its_broker_over_ipv4_and_ipv6() {
    in_namespace(
        "a_redirected_connection_reaches_its_broker_over_ipv4_and_ipv6",
        || async {
            for (ip, iptables) in [("127.0.0.1", "iptables"), ("::1", "ip6tables")] {
                let ip: IpAddr = ip.parse().unwrap();
                let broker = TcpListener::bind((ip, 0)).await.unwrap();
                let address = broker.local_addr().unwrap();
                let proxy = Running::start(config(vec![transparent(ip)])).await;
                redirect(
                    iptables,
                    address,
                    &["-m", "owner", "--uid-owner", &CLIENT.to_string()],
                    &proxy,
                );
                let broker = tokio::spawn(async move {
                    let (stream, _) = broker.accept().await.unwrap();
                    echo(stream).await;
                });
                let answer = ask_as_another_user(address).await;
                assert!(answer.ends_with(b"hello"), "{answer:?}");
                within(broker).await.unwrap();
                let size = request(1, b"hello").len();
                let line = format!(
                    "throughline_kafka_bytes_total{{side=\"broker\",direction=\"sent\"}} {size}"
                );
                proxy.until_metric(&line).await;
            }
        },
    );
}

#[test]
fn a_connection_of_our_own_that_comes_back_is_closed_and_told_of() {
    in_namespace(
        "a_connection_of_our_own_that_comes_back_is_closed_and_told_of",
        || async {
            let (log, _guard) = Log::new();
            let ip: IpAddr = [127, 0, 0, 1].into();
            let broker = TcpListener::bind((ip, 0)).await.unwrap();
            let proxy = Running::start(config(vec![transparent(ip)])).await;
            // Nobody is exempt, not even we.
            redirect("iptables", broker.local_addr().unwrap(), &[], &proxy);
            assert_eq!(ask_as_another_user(broker.local_addr().unwrap()).await, b"");
            let (_, text) = proxy.get("/metrics").await;
            let loops = text.lines().find_map(|line| {
                line.strip_prefix("throughline_kafka_connections_failed_total{reason=\"loop\"} ")
            });
            assert_ne!(loops, Some("0"), "{text}");
            let connections = text
                .lines()
                .find_map(|line| line.strip_prefix("throughline_kafka_connections_total "));
            assert!(connections.unwrap().parse::<u32>().unwrap() < 10, "{text}");
            assert!(
                log.text().contains("came back to us") && log.text().contains("uid-owner"),
                "{}",
                log.text()
            );
        },
    );
}

#[test]
fn a_connection_that_nobody_redirected_is_closed_and_told_of() {
    in_namespace(
        "a_connection_that_nobody_redirected_is_closed_and_told_of",
        || async {
            let (log, _guard) = Log::new();
            let proxy = Running::start(config(vec![transparent([127, 0, 0, 1].into())])).await;
            support::read_end(&mut proxy.connect().await).await;
            proxy
                .until_metric(
                    "throughline_kafka_connections_failed_total{reason=\"not_redirected\"} 1",
                )
                .await;
            // Also where the system tracks connections for the sake of others.
            redirect("iptables", "127.0.0.1:9".parse().unwrap(), &[], &proxy);
            support::read_end(&mut proxy.connect().await).await;
            proxy
                .until_metric(
                    "throughline_kafka_connections_failed_total{reason=\"not_redirected\"} 2",
                )
                .await;
            assert!(
                log.text().contains("straight to the transparent port"),
                "{}",
                log.text()
            );
        },
    );
}

#[test]
fn a_redirected_request_is_traced_and_reaches_whom_it_was_for_over_ipv4_and_ipv6() {
    in_namespace(
        "a_redirected_request_is_traced_and_reaches_whom_it_was_for_over_ipv4_and_ipv6",
        || async {
            for (ip, iptables) in [("127.0.0.1", "iptables"), ("::1", "ip6tables")] {
                let gate = Gate::start(ip, iptables).await;
                let server = gate.serve(|request| {
                    format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{request}",
                        request.len()
                    )
                });
                let answer =
                gate.say("GET /stock?order=17 HTTP/1.1\r\nhost: inventory:8080\r\nconnection: close\r\n\r\n").await;
                assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
                let span = gate.span().await;
                let context = format!("traceparent: 00-{}-{}-01", span.trace_id, span.span_id);
                assert!(
                    answer.contains("GET /stock?order=17 HTTP/1.1") && answer.contains(&context),
                    "{answer}"
                );
                assert!(
                    answer.contains("host: inventory:8080"),
                    "the name stays: {answer}"
                );
                assert_eq!(
                    says(&span, "url.full"),
                    "http://inventory:8080/stock?order=17"
                );
                assert_eq!(says(&span, "network.peer.address"), ip);
                gate.saw("http1").await;
                drop(server);
            }
        },
    );
}

#[test]
fn a_server_that_speaks_first_is_heard_at_once() {
    in_namespace("a_server_that_speaks_first_is_heard_at_once", || async {
        let gate = Gate::start("127.0.0.1", "iptables").await;
        let listener = Arc::clone(&gate.server);
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"220 hello\r\n").await.unwrap();
            let mut word = [0; 4];
            stream.read_exact(&mut word).await.unwrap();
            stream.write_all(&word).await.unwrap();
        });
        // The client says nothing before it has read the whole greeting.
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{} && head -c 11 <&3 && printf QUIT >&3 && cat <&3",
            gate.port()
        );
        assert_eq!(text(&as_another_user(&script).await), "220 hello\r\nQUIT");
        gate.saw("other").await;
    });
}

#[test]
fn what_is_not_known_passes_byte_by_byte() {
    in_namespace("what_is_not_known_passes_byte_by_byte", || async {
        let gate = Gate::start("127.0.0.1", "iptables").await;
        for words in ["EHLO here\r\n", "SET key 1\r\n", "CONNECT a:1 HTTP/1.1\r\n"] {
            let server = gate.serve(|words| format!("<{words}>"));
            assert_eq!(gate.say(words).await, format!("<{words}>"));
            drop(server);
        }
        gate.saw_times("other", 3).await;
        assert!(gate.spans.0.lock().unwrap().is_empty());
    });
}

#[test]
fn a_redirected_request_of_http2_is_traced() {
    in_namespace("a_redirected_request_of_http2_is_traced", || async {
        let gate = Gate::start("127.0.0.1", "iptables").await;
        let listener = Arc::clone(&gate.server);
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = service_fn(async |_: Request<Incoming>| {
                Ok::<_, std::convert::Infallible>(Response::new("here".to_owned()))
            });
            let builder = http2::Builder::new(TokioExecutor::new());
            drop(builder.serve_connection(TokioIo::new(stream), answer).await);
        });
        // The preface, no settings, and GET / of `a` in HPACK's static table (RFC 7541, appendix A), which ends the stream.
        let hello: &[u8] =
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a";
        let words: String = hello.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        let read =
            r#"while [[ $got != *here ]] && IFS= read -r -d '' -n1 byte <&3; do got+=$byte; done"#;
        let open = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{} && printf '{words}' >&3",
            gate.port()
        );
        let script = format!("export LC_ALL=C; {open} && {read}; echo ${{got: -4}}");
        assert_eq!(text(&as_another_user(&script).await).trim(), "here");
        let span = gate.span().await;
        assert_eq!(
            (
                says(&span, "url.full").as_str(),
                says(&span, "network.protocol.version").as_str()
            ),
            ("http://a/", "2")
        );
        gate.saw("http2").await;
    });
}

#[test]
fn a_client_that_says_too_little_to_be_understood_is_passed_on_all_the_same() {
    in_namespace(
        "a_client_that_says_too_little_to_be_understood_is_passed_on_all_the_same",
        || async {
            let gate = Gate::start("127.0.0.1", "iptables").await;
            for words in ["PING", "\0\x01\0\0\0\x06\0\x03\0\0\0\x05"] {
                let server = gate.serve(|words| format!("<{words}>"));
                assert_eq!(gate.say(words).await, format!("<{words}>"));
                drop(server);
            }
            gate.saw_times("other", 2).await;
        },
    );
}

#[test]
fn a_request_to_a_proxy_of_others_keeps_its_form() {
    in_namespace("a_request_to_a_proxy_of_others_keeps_its_form", || async {
        let gate = Gate::start("127.0.0.1", "iptables").await;
        let server = gate.serve(|request| {
            format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{request}",
                request.len()
            )
        });
        let request =
            "GET http://far.example/x HTTP/1.1\r\nhost: far.example\r\nconnection: close\r\n\r\n";
        let answer = gate.say(request).await;
        assert!(
            answer.contains("\r\n\r\nGET http://far.example/x HTTP/1.1\r\n"),
            "{answer}"
        );
        assert_eq!(says(&gate.span().await, "url.full"), "http://far.example/x");
        drop(server);
    });
}

#[test]
fn who_asks_where_nobody_is_hears_of_it_in_http_and_otherwise_by_the_end() {
    in_namespace(
        "who_asks_where_nobody_is_hears_of_it_in_http_and_otherwise_by_the_end",
        || async {
            let mut gate = Gate::start("127.0.0.1", "iptables").await;
            let port = gate.leave().await;
            let say = |words: &str| {
                format!("exec 3<>/dev/tcp/127.0.0.1/{port} && printf '{words}' >&3 && cat <&3")
            };
            let answer = as_another_user(&say(
                "GET / HTTP/1.1\\r\\nhost: a\\r\\nconnection: close\\r\\n\\r\\n",
            ))
            .await;
            let answer = text(&answer);
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            assert_eq!(says(&gate.span().await, "error.type"), "connect");
            assert_eq!(as_another_user(&say("EHLO here\\r\\n")).await, b"");
        },
    );
}

/// A proxy for what is redirected, and the port of a server to which connections are.
struct Gate {
    proxy: Running,
    spans: Arc<Spans>,
    server: Arc<TcpListener>,
}

impl Gate {
    async fn start(ip: &str, iptables: &str) -> Self {
        let ip: IpAddr = ip.parse().unwrap();
        let server = Arc::new(TcpListener::bind((ip, 0)).await.unwrap());
        let spans = Arc::new(Spans::default());
        let sink: Arc<Spans> = Arc::clone(&spans);
        let proxy = Running::start_with(config(vec![transparent(ip)]), sink).await;
        let who = ["-m", "owner", "--uid-owner", &CLIENT.to_string()];
        redirect(iptables, server.local_addr().unwrap(), &who, &proxy);
        Self {
            proxy,
            spans,
            server,
        }
    }

    fn port(&self) -> u16 {
        self.server.local_addr().unwrap().port()
    }

    /// Nobody listens any more at the port that connections are redirected from.
    async fn leave(&mut self) -> u16 {
        let port = self.port();
        self.server = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        port
    }

    /// Answers one connection, for what it says first, and ends it.
    fn serve(&self, answer: fn(&str) -> String) -> JoinHandle<()> {
        let listener = Arc::clone(&self.server);
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut said = vec![0; 4096];
            let count = stream.read(&mut said).await.unwrap();
            stream
                .write_all(answer(&text(&said[..count])).as_bytes())
                .await
                .unwrap();
        })
    }

    /// What comes back, to the end.
    async fn say(&self, words: &str) -> String {
        let (ip, port) = (self.server.local_addr().unwrap().ip(), self.port());
        let words: String = words.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
        let script = format!("exec 3<>/dev/tcp/{ip}/{port} && printf '{words}' >&3 && cat <&3");
        text(&as_another_user(&script).await)
    }

    async fn span(&self) -> Span {
        let begin = tokio::time::Instant::now();
        loop {
            if let [span] = &self.spans.0.lock().unwrap()[..] {
                return span.clone();
            }
            assert!(begin.elapsed() < support::LIMIT, "no span");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    async fn saw(&self, protocol: &str) {
        self.saw_times(protocol, 1).await;
    }

    async fn saw_times(&self, protocol: &str, times: u32) {
        let labels = format!("{{direction=\"outbound\",protocol=\"{protocol}\"}}");
        self.proxy
            .until_metric(&format!(
                "throughline_redirected_connections_total{labels} {times}"
            ))
            .await;
    }
}

fn says(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|pair| pair.key == key);
    found
        .and_then(|pair| pair.value.as_str())
        .unwrap_or_default()
        .to_owned()
}

fn transparent(ip: IpAddr) -> ListenerConfig {
    ListenerConfig {
        address: SocketAddr::new(ip, 0),
        route: ListenerRoute::Redirected(Direction::Outbound),
    }
}

fn redirect(iptables: &str, broker: SocketAddr, who: &[&str], proxy: &Running) {
    let (broker, to) = (
        broker.port().to_string(),
        proxy.addresses.listeners[0].port().to_string(),
    );
    let mut rule = vec![
        "-w", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", &broker,
    ];
    rule.extend(who);
    rule.extend(["-j", "REDIRECT", "--to-ports", &to]);
    run(Command::new(iptables).args(rule));
}

/// What comes back for one request to this broker until the connection ends or all of it is there.
async fn ask_as_another_user(broker: SocketAddr) -> Vec<u8> {
    let asked: String = request(1, b"hello")
        .iter()
        .map(|byte| format!("\\x{byte:02x}"))
        .collect();
    // The answer is a length, the correlation id and five bytes.
    let script = format!(
        "exec 3<>/dev/tcp/{}/{} && printf '{asked}' >&3 && head -c 13 <&3",
        broker.ip(),
        broker.port()
    );
    as_another_user(&script).await
}

/// What this script prints.
async fn as_another_user(script: &str) -> Vec<u8> {
    let mut bash = Command::new("bash");
    bash.args(["-c", script]).uid(CLIENT).current_dir("/");
    let output = within(tokio::task::spawn_blocking(move || bash.output().unwrap()))
        .await
        .unwrap();
    output.stdout
}

/// Runs this test in a network of its own.
fn in_namespace<F: Future<Output = ()>>(test: &str, inside: impl FnOnce() -> F) {
    if std::env::var_os(INSIDE).is_some() {
        run(Command::new("ip").args(["link", "set", "lo", "up"]));
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(inside());
        return;
    }
    if let Some(missing) = missing() {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI must be able to test redirection: {missing}"
        );
        println!("skipped, and nothing is proved: {missing}");
        return;
    }
    let mut again = Command::new("unshare");
    again
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1");
    let output = again.output().unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    assert!(
        text(&output.stdout).contains("1 passed"),
        "{}",
        text(&output.stdout)
    );
}

/// What stands in the way of a network of our own.
fn missing() -> Option<String> {
    let works = |program: &str, arguments: &[&str]| {
        Command::new(program)
            .args(arguments)
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if !works("unshare", &["--net", "true"]) {
        return Some("a network namespace needs root".to_owned());
    }
    let tools = [
        ("iptables", "--version"),
        ("ip6tables", "--version"),
        ("ip", "-Version"),
        ("bash", "--version"),
    ];
    let absent = tools
        .iter()
        .find(|(tool, version)| !works(tool, &[version]));
    absent.map(|(tool, _)| {
        format!("there is no {tool}; on Debian: apt-get install iptables iproute2")
    })
}

fn run(command: &mut Command) {
    let Output { status, stderr, .. } = command.output().unwrap();
    assert!(status.success(), "{command:?}: {}", text(&stderr));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
